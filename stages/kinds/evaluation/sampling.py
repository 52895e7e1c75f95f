"""Sampling one model on one set: every sample is a request of its own, recorded when it is finished, so that a kill
repeats none of them.

Sample j of a problem draws with the seed of (seed, "evaluate", set, problem) + j: the same tokens whatever the number
of processes and attempts. The samples that are missing are shared out to the processes in turn.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.contract.records import RecordLog, RecordReader
from stages.engines.sampling import Completion, Sampler
from stages.kinds.evaluation.grading import Grader
from stages.kinds.evaluation.measure import Sample
from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.prompting.prompt import Prompt
from stages.prompting.templates import apply_template, decode, encode_prompt
from stages.runtime.distributed import barrier
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.text.completion import opening_of

TELL_S = 0.1  # seconds between two words on the progress


class Stopped(Exception):
    """A stop was asked for in the middle of sampling; what is finished is recorded."""


@dataclass(frozen=True)
class Encoded:
    """A prompt as this model sees it, and what it has already written of the completion: an opening <think>, or
    nothing.
    """

    ids: list[int]
    opening: str


class Prompter:
    """Templates and tokenizes the prompts of one model; a text once."""

    def __init__(self, tokenizer, default_template: str, trained_template: str | None = None):
        self.tokenizer, self.default_template, self.trained_template = tokenizer, default_template, trained_template
        self.known: dict[tuple[str, str], Encoded] = {}
        self.end_of_thought = tokenizer("</think>", add_special_tokens=False)["input_ids"]

    def encode(self, prompt: Prompt, one: ProblemSet) -> Encoded:
        template = self.template(one)
        key = (template, prompt.text)
        if key not in self.known:
            text = apply_template(prompt.text, template, self.tokenizer)
            self.known[key] = Encoded(encode_prompt(text, template, self.tokenizer), opening_of(text))
        return self.known[key]

    def template(self, one: ProblemSet) -> str:
        """What the suite says; else what the model was trained with; else what its tokenizer has (not for the run's own
        prompts); else data.template.
        """
        if one.suite.template not in ("auto", "data"):
            return one.suite.template
        has_its_own = one.suite.template == "auto" and getattr(self.tokenizer, "chat_template", None)
        return self.trained_template or ("chat" if has_its_own else self.default_template)

    def longest(self, one: ProblemSet) -> int:
        """Tokens of the longest prompt of a set."""
        return max(len(self.encode(prompt, one).ids) for problem in one.problems for prompt in problem.prompts)

    def thinking_tokens(self, ids: list[int], text: str) -> int | None:
        """Tokens up to and with </think>; all of them where the thought has no end; None where there is no thought."""
        end = self.end_of_thought
        for start in range(len(ids) - len(end) + 1):
            if ids[start] == end[0] and ids[start : start + len(end)] == end:
                return start + len(end)
        if "</think>" in text:  # merged with its neighbours by the tokenizer
            return len(self.tokenizer(text.split("</think>")[0], add_special_tokens=False)["input_ids"])
        return len(ids) if "<think>" in text else None


class SetSampler:
    """Samples and grades what is missing of a set; `directory` holds the records of all ranks and attempts."""

    def __init__(self, worker: Worker, one: ProblemSet, prompter: Prompter, directory: Path, shards: int, shard: int):
        self.worker, self.set, self.prompter, self.directory = worker, one, prompter, directory
        self.shards, self.shard = shards, shard
        self.by_id = {problem.id: problem for problem in one.problems}
        grades, samples = RecordReader(directory, "grades.*"), RecordReader(directory, "samples.*")
        graded = {(row["problem"], row["sample"]) for row in grades}
        self.ungraded = [sample for sample in self._recorded(samples) if (sample.problem, sample.number) not in graded]
        num_damaged = grades.num_damaged + samples.num_damaged
        if num_damaged:
            worker.say(f"{num_damaged} damaged lines of {one.name} in state/: what they held is done again")
        sampled = graded | {(sample.problem, sample.number) for sample in self.ungraded}
        self.missing = [
            (problem, number)
            for problem in one.problems
            for number in range(one.num_samples)
            if (problem.id, number) not in sampled
        ]
        barrier()  # all ranks have looked before one of them writes

    def run(self, engine: Sampler, on_samples: Callable[[int], None]) -> dict[str, float]:
        """Raises Stopped where the worker is asked to stop. `on_samples(number)` tells of finished samples, often.
        Returns what it took: time/sample seconds of the engine, time/sample_cpu and time/grade_cpu processor seconds of
        this process and of its grading thread, perf/tokens_per_s of all processes.
        """
        is_writer = (
            self.worker.rank % (self.worker.world_size // self.shards) == 0
        )  # of the ranks that hold one model together
        rank = self.worker.rank
        samples = RecordLog(self.directory / f"samples.{rank}.jsonl")
        started, cpu_started, tokens, untold, told = time.time(), time.process_time(), 0, 0, 0.0
        grader = Grader(RecordLog(self.directory / f"grades.{rank}.jsonl"), samples, self.set.suite.needs_format)
        mine = self.missing[self.shard :: self.shards]
        prompts = [self.prompter.encode(problem.prompts[number], self.set) for problem, number in mine]

        def on_group(i: int, completions: list[Completion]) -> None:
            nonlocal tokens, untold, told
            tokens += len(completions[0].token_ids)
            sample = self._sample(*mine[i], prompts[i], completions[0])
            if is_writer:
                samples.append(
                    {
                        "problem": sample.problem,
                        "sample": sample.number,
                        "completion": sample.completion,
                        "tokens": sample.tokens,
                        "thinking_tokens": sample.thinking_tokens,
                        "truncated": sample.is_truncated,
                    }
                )
                grader.put(sample)
            untold += 1
            if (now := time.monotonic()) - told > TELL_S:
                on_samples(untold)
                untold, told = 0, now
            if self.worker.stop_requested:
                raise Stopped

        try:
            for sample in self.ungraded[self.shard :: self.shards] if is_writer else []:
                grader.put(sample)
            seeds = [
                seed_for(self.worker.seed, "evaluate", self.set.name, problem.id) + number for problem, number in mine
            ]
            suite = self.set.suite
            engine.sample(
                [prompt.ids for prompt in prompts],
                seeds,
                1,
                suite.temperature,
                suite.max_completion_tokens,
                on_group,
                top_p=suite.top_p,
                with_logprobs=False,
            )
            on_samples(untold)
            seconds, cpu_s = time.time() - started, time.process_time() - cpu_started
        finally:
            grader.finish()
        return {
            "time/sample": seconds,
            "time/sample_cpu": cpu_s,
            "time/grade_wait": time.time() - started - seconds,
            "time/grade_cpu": grader.cpu_s,
            "perf/tokens_per_s": tokens / max(seconds, 1e-6) * self.shards,
        }

    def _recorded(self, records: RecordReader) -> Iterator[Sample]:
        for row in records:
            prompt = self.by_id[row["problem"]].prompts[row["sample"]]
            yield Sample(
                row["problem"],
                row["sample"],
                prompt,
                row["completion"],
                row["tokens"],
                row["thinking_tokens"],
                row["truncated"],
            )

    def _sample(self, problem: Problem, number: int, prompt: Encoded, completion: Completion) -> Sample:
        text = prompt.opening + decode([completion.token_ids], self.prompter.tokenizer)[0]
        thought = self.prompter.thinking_tokens(completion.token_ids, text)
        return Sample(
            problem.id,
            number,
            problem.prompts[number],
            text,
            len(completion.token_ids),
            thought,
            completion.is_truncated,
        )
