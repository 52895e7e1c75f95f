"""Samples one model on one set; every sample is a request of its own and recorded as soon as it is finished.

A kill therefore repeats no finished sample. Sample j of a problem draws with the seed of (seed, "evaluate", set,
problem) + j, and so has the same tokens whatever the number of processes and attempts. The processes share the samples
that are missing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.contract.records import RecordLog, RecordReader
from stages.engines.sampling import Completion, Sampler
from stages.engines.sampling.dealing import Dealing
from stages.kinds.evaluation.grading import Grader
from stages.kinds.evaluation.measure import FinishedSample
from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.prompting.control_tokens import UnencodableText
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt
from stages.rewards.unanswered import asks_for_form
from stages.runtime.distributed import barrier
from stages.runtime.errors import InputError, user_errors
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker

TELL_S = 0.1  # seconds between two reports of progress


class Stopped(Exception):
    """A stop was asked for in the middle of sampling; all finished samples are recorded."""


@dataclass(frozen=True)
class Encoded:
    """A prompt as this model sees it."""

    ids: list[int]
    opening: str  # what the template has already written of the completion: <think>, or nothing
    encoder: Encoder  # which made the ids, and decodes the completions


class Prompter:
    """Puts the prompts of one model into its template and tokenizes them, each text once."""

    def __init__(
        self,
        tokenizer,
        default_template: str,
        trained_template: str | None = None,
        system: str = "",
        examples: str | None = None,
    ):
        """Takes a model's tokenizer and its templates.

        Args:
            tokenizer: Of the model.
            default_template: data.template, which is for models from outside.
            trained_template: The template that the model was trained with, where a stage of ours made it.
            system: The system prompt that belongs to data.template.
            examples: The worked examples that belong to it.
        """
        self.tokenizer, self.default_template, self.trained_template = tokenizer, default_template, trained_template
        self.system, self.examples = system, examples
        self.known: dict[tuple[str, str], Encoded] = {}
        self.encoders: dict[str, Encoder] = {}

    @cached_property
    def end_of_thought(self) -> list[int]:
        """The ids of </think>."""
        return Encoder(self.tokenizer, "plain").completions(["</think>"])[0]

    def encode(self, prompt: Prompt, one: ProblemSet) -> Encoded:
        """The prompt as this model sees it in this set."""
        key = (self.template(one), prompt.text)
        if key not in self.known:
            self._learn([prompt], one)
        return self.known[key]

    def encoder(self, one: ProblemSet) -> Encoder:
        """What encodes the prompts of a set."""
        template = self.template(one)
        if template not in self.encoders:
            is_default = template == self.default_template and not self.trained_template
            instructions = (self.system, self.examples or "") if is_default else ()
            self.encoders[template] = Encoder(self.tokenizer, template, *instructions)
        return self.encoders[template]

    def _learn(self, prompts: list[Prompt], one: ProblemSet) -> None:
        """Encodes prompts together. Raises InputError where one of them cannot be encoded."""
        template, encoder = self.template(one), self.encoder(one)
        texts = list(dict.fromkeys(prompt.text for prompt in prompts if (template, prompt.text) not in self.known))
        try:
            with user_errors():
                rows = encoder.prompts(texts)
        except UnencodableText as error:
            refused = next(prompt.id for prompt in prompts if prompt.text == texts[error.place])
            raise InputError(f"{one.name}: the prompt {refused} cannot be used: {error}") from error
        opening = encoder.opening
        self.known |= {(template, text): Encoded(row, opening, encoder) for text, row in zip(texts, rows)}

    def template(self, one: ProblemSet) -> str:
        """The template of a set's prompts.

        It is the suite's; else the one that the model was trained with; else, but not for the run's own prompts, the
        chat template of its tokenizer; else data.template.
        """
        if one.suite.template not in ("auto", "data"):
            return one.suite.template
        has_its_own = one.suite.template == "auto" and getattr(self.tokenizer, "chat_template", None)
        return self.trained_template or ("chat" if has_its_own else self.default_template)

    def asks_for_form(self, prompt: Prompt, one: ProblemSet) -> bool:
        """Whether the prompt as this model sees it asks for <answer> tags or a box."""
        return asks_for_form(self.tokenizer.decode(self.encode(prompt, one).ids))

    def longest(self, one: ProblemSet) -> int:
        """The length of the longest prompt of a set, tokens."""
        prompts = [prompt for problem in one.problems for prompt in problem.prompts]
        self._learn(prompts, one)
        return max(len(self.encode(prompt, one).ids) for prompt in prompts)

    def thinking_tokens(self, ids: list[int], text: str) -> int | None:
        """Tokens up to and including </think>: all where the thought has no end, None where there is no thought."""
        end = self.end_of_thought
        for start in range(len(ids) - len(end) + 1):
            if ids[start] == end[0] and ids[start : start + len(end)] == end:
                return start + len(end)
        if "</think>" in text:  # merged with its neighbours by the tokenizer
            return len(Encoder(self.tokenizer, "plain").completions([text.split("</think>")[0]])[0])
        return len(ids) if "<think>" in text else None


class SetSampler:
    """Samples and grades what is missing of a set.

    `directory` holds the records of all ranks and attempts; `dealing`, connected, says what this process takes.
    """

    def __init__(self, worker: Worker, one: ProblemSet, prompter: Prompter, directory: Path, dealing: Dealing):
        self.worker, self.set, self.prompter, self.directory = worker, one, prompter, directory
        self.dealing = dealing
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
        """Samples this process's share of what is missing.

        Args:
            engine: The sampler with the model's weights.
            on_samples: Called often with the number of samples that have finished since the last call.

        Returns:
            What it took: seconds of the engine (time/sample) and of waiting for grades (time/grade_wait), processor
            seconds of this process (time/sample_cpu) and of its grading thread (time/grade_cpu), and the tokens per
            second of all processes (perf/tokens_per_s).

        Raises:
            Stopped: The worker is asked to stop.
        """
        is_writer, rank = self.dealing.is_first, self.worker.rank
        samples = RecordLog(self.directory / f"samples.{rank}.jsonl")
        started, cpu_started = time.time(), time.process_time()
        tokens = unreported = 0
        reported_at = 0.0
        grader = Grader(RecordLog(self.directory / f"grades.{rank}.jsonl"), samples, self.set.suite.needs_format)
        mine = self.dealing.drawn(self.missing)
        prompts = [self.prompter.encode(problem.prompts[number], self.set) for problem, number in mine]

        def on_group(i: int, completions: list[Completion]) -> None:
            nonlocal tokens, unreported, reported_at
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
            unreported += 1
            if (now := time.monotonic()) - reported_at > TELL_S:
                on_samples(unreported)
                unreported, reported_at = 0, now
            if self.dealing.any(self.worker.stop_requested):  # the ranks of one engine end it at the same completion
                raise Stopped

        try:
            for sample in self.dealing.drawn(self.ungraded) if is_writer else []:
                grader.put(sample)
            seeds = [
                seed_for(self.worker.seed, "evaluate", self.set.name, problem.id) + number for problem, number in mine
            ]
            suite = self.set.suite
            engine.stop_ids = self.prompter.encoder(self.set).stop_ids
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
            on_samples(unreported)
            seconds, cpu_s = time.time() - started, time.process_time() - cpu_started
        finally:
            grader.finish()
        return {
            "time/sample": seconds,
            "time/sample_cpu": cpu_s,
            "time/grade_wait": time.time() - started - seconds,
            "time/grade_cpu": grader.cpu_s,
            "perf/tokens_per_s": tokens / max(seconds, 1e-6) * self.dealing.num_samplers,
        }

    def _recorded(self, records: RecordReader) -> Iterator[FinishedSample]:
        """The samples that earlier attempts have recorded."""
        for row in records:
            prompt = self.by_id[row["problem"]].prompts[row["sample"]]
            yield FinishedSample(
                row["problem"],
                row["sample"],
                prompt,
                row["completion"],
                row["tokens"],
                row["thinking_tokens"],
                row["truncated"],
            )

    def _sample(self, problem: Problem, number: int, prompt: Encoded, completion: Completion) -> FinishedSample:
        """The finished sample of a completion."""
        text = prompt.opening + prompt.encoder.decode([completion.token_ids])[0]
        thought = self.prompter.thinking_tokens(completion.token_ids.tolist(), text)
        return FinishedSample(
            problem.id,
            number,
            problem.prompts[number],
            text,
            len(completion.token_ids),
            thought,
            completion.is_truncated,
        )
