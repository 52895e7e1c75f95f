"""Builds SFT data from a policy's samples: `cold_start_data` [V2 B.3.2] and `rejection_data` [V2 B.3.3].

    1. sample several completions of each prompt, some prompts with worked examples in front (few_shot)
    2. keep the completions that are correct, well-formed, in one language and not repetitive
    3. judge and refine them, and keep a few distinct ones of each prompt
    4. have people review them (human_review)
    5. add general prompt-completion pairs (rejection sampling)

The ranks share the prompts. Each prompt becomes a line on the disk when it is sampled and another one when it is
finished, so that no attempt repeats it. The prompts are drawn in chunks: the worked examples of a prompt come from
earlier chunks, and so are the same however often the stage was killed.
"""

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from stages.config import CollectConfig
from stages.contract import files
from stages.contract.indexed_records import IndexedRecords
from stages.data.inputs import open_prompts
from stages.engines.sampling import Completion
from stages.engines.sampling.check import make_checked_sampler
from stages.engines.sampling.dealing import Dealing
from stages.engines.training import init_distributed
from stages.judges import require_judge
from stages.kinds.collect import review
from stages.kinds.collect.card import card_of, domain_table, write_card
from stages.kinds.collect.filters import REASONS, rejections, what_dropped_most
from stages.kinds.collect.general import general_rows
from stages.kinds.collect.judging import finished
from stages.modeling.model import load_tokenizer
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import barrier, gather_objects
from stages.runtime.errors import InputError, Interrupted, user_errors
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.text.completion import without_opening
from stages.training.alarms import Alarm, report_once
from stages.training.rollouts import Rollout

FEW = 0.05  # a smaller share of completions that pass is said


def run(worker: Worker) -> None:
    """Collects the data of one stage, chunk by chunk."""
    config: CollectConfig = worker.config
    init_distributed()
    collector = Collector(worker, config)
    worker.startup_done()
    chunks = chunks_of(config)
    worker.cut_logs(collector.num_logged(chunks), last_sample_step=0)
    barrier()  # all ranks have read what there was before anyone writes
    for number, chunk in enumerate(chunks, start=1):
        collector.finish_chunk(number, chunk)
        worker.progress("sample", number, len(chunks), f"kept {collector.total['kept']} of {collector.total.total()}")
        if number < len(chunks) and worker.should_stop():
            raise Interrupted(f"stopped after {number} of {len(chunks)} chunks; run the same command to continue")
    finish(worker, config, collector)


def chunks_of(config: CollectConfig) -> list[range]:
    """The numbers of the prompts that are drawn in each call of the sampler."""
    return [
        range(first, min(first + config.chunk_prompts, config.num_prompts))
        for first in range(0, config.num_prompts, config.chunk_prompts)
    ]


class Collector:
    """Takes the prompts of a stage from sampling to the completions that are kept of each."""

    def __init__(self, worker: Worker, config: CollectConfig):
        self.worker, self.config = worker, config
        self.dealing = Dealing(worker.rank, worker.world_size, config.rollout.tensor_parallel)
        policy_dir = worker.model_dir("policy")
        self.tokenizer = load_tokenizer(policy_dir)
        self.encoder = Encoder.of(config.data, self.tokenizer)
        self.longest_prompt = config.data.max_prompt_tokens + config.few_shot * (
            config.data.max_prompt_tokens + config.max_kept_tokens
        )
        self.source = open_prompts(
            worker,
            config.data,
            self.encoder,
            policy_dir,
            self.longest_prompt - config.data.max_prompt_tokens + config.max_completion_tokens,
        )
        if config.refine == "judge" or (config.num_general and config.general == "judge"):
            require_judge(self.source.get(0))  # a judge that cannot be asked is found before any engine starts
        # What this policy's template writes of each completion; another model's template may write something else.
        self.opening = self.encoder.opening
        state = worker.dir / "state"
        self.sampled, self.done, self.general = (
            IndexedRecords(state, name, worker.attempt, worker.rank) for name in ("sampled", "done", "general")
        )
        damaged = sum(records.num_damaged for records in (self.sampled, self.done, self.general))
        if damaged:
            worker.say(f"{damaged} damaged lines in state/: these prompts are done again")
        self.sampled.forget(self.done.rows)
        self.total: Counter[str] = Counter()  # completions by reason, over the finished chunks
        self.examples: list[tuple[Prompt, str]] = []  # the completions kept in finished chunks, in order
        self.logged = 0  # chunks, from the first, that an earlier attempt finished and logged
        self.sampler = None
        if any(index not in self.done for index in range(config.num_prompts)):
            self.sampler = make_checked_sampler(
                config.rollout,
                policy_dir,
                self.longest_prompt,
                config.max_completion_tokens,
                config.precision,
                stop_ids=self.encoder.stop_ids,
            )

    def num_logged(self, chunks: list[range]) -> int:
        """Counts the chunks, from the first, that are finished and in the log."""
        logged = {row["step"] for row in files.read_jsonl(self.worker.dir / "metrics.jsonl")}
        self.logged = 0
        for number, chunk in enumerate(chunks, start=1):
            if number not in logged or any(index not in self.done for index in chunk):
                break
            self.logged = number
        return self.logged

    def finish_chunk(self, number: int, chunk: range) -> None:
        """Samples, judges and records the prompts of a chunk that are not done; then every rank has all rows of it."""
        worker, started = self.worker, time.time()
        mine = [index for index in self.dealing.owned(chunk) if index not in self.done]
        self._sample([i for i in self.dealing.drawn(chunk) if i not in self.done and i not in self.sampled], set(mine))
        prompts = [self.source.get(index) for index in mine]
        batch = [(prompt, self.sampled.rows[index]) for index, prompt in zip(mine, prompts)]
        for row in finished(batch, self.config, (worker.seed, worker.stage)) if batch else []:
            self.done.append(row)
        self.sampled.forget(mine)
        self.done.add(gather_objects([self.done.rows[index] for index in mine]))
        rows = [self.done.rows[index] for index in chunk]
        counts = sum((Counter(row["counts"]) for row in rows), Counter())
        self.total += counts
        self.examples += [(self.source.get(row["index"]), item["completion"]) for row in rows for item in row["kept"]]
        if number > self.logged:
            tokens, seconds = sum(row["tokens"] for row in rows), time.time() - started
            worker.log_step(
                number,
                {
                    **{f"data/{name}": counts[name] for name in REASONS},
                    "perf/tokens_per_s": tokens / seconds,
                    "time/rollout": seconds,
                    "tokens/sampled": tokens,
                },
            )
            worker.say(f"prompts {chunk[0]}..{chunk[-1]}: {dict(counts)} in {seconds:.1f} s")

    def _sample(self, indices: list[int], owned: set[int]) -> None:
        """Samples prompts; each that this rank owns is filtered and recorded while others are still being sampled."""
        if not indices:
            return
        config, worker = self.config, self.worker
        prompts = [self.source.get(index) for index in indices]
        prompt_ids = [self._encode(index, prompt) for index, prompt in zip(indices, prompts)]
        seeds = [seed_for(worker.seed, worker.stage, index, prompt.id) for index, prompt in zip(indices, prompts)]
        with ThreadPoolExecutor(1, thread_name_prefix="filters") as filters:
            filtering: list[Future[None]] = []

            def on_group(place: int, completions: list[Completion]) -> None:
                if indices[place] in owned:
                    filtering.append(filters.submit(self._record, indices[place], prompts[place], completions))

            assert self.sampler is not None  # made where any prompt is not done
            self.sampler.sample(
                prompt_ids,
                seeds,
                config.samples_per_prompt,
                config.rollout.temperature,
                config.max_completion_tokens,
                on_group,
            )
            for recorded in filtering:
                recorded.result()

    def _record(self, index: int, prompt: Prompt, completions: list[Completion]) -> None:
        """Filters the completions of a prompt and writes its row: how many were rejected why, and those that passed."""
        texts = self.encoder.decode([c.token_ids for c in completions])
        none = np.empty(0)  # nobody trains on these
        rollouts = [
            Rollout(prompt, index, none, c.token_ids, none, c.is_truncated, self.opening + text, opening=self.opening)
            for c, text in zip(completions, texts)
        ]
        reasons = rejections(rollouts, self.config)
        self.sampled.append(
            {
                "index": index,
                "num_samples": len(rollouts),
                "counts": dict(sorted(Counter(filter(None, reasons)).items())),
                "passed": [
                    {"completion": r.completion, "num_tokens": len(r.completion_ids)}
                    for r, why in zip(rollouts, reasons)
                    if why is None
                ],
                "tokens": sum(len(r.completion_ids) for r in rollouts),
            }
        )

    def _encode(self, index: int, prompt: Prompt) -> list[int]:
        """Encodes a prompt; a share of them gets `few_shot` worked examples of its language in front [V1 2.3.1]."""
        rng = rng_for(self.worker.seed, self.worker.stage, "shots", index)
        fitting = [example for example in self.examples if example[0].language == prompt.language]
        if rng.random() < self.config.few_shot_share and len(fitting) >= self.config.few_shot > 0:
            chosen = rng.sample(fitting, self.config.few_shot)
            shots = [(shot.text, completion) for shot, completion in chosen]
            while shots:
                ids = self.encoder.prompt(prompt.text, shots)
                if len(ids) <= self.longest_prompt:
                    return ids
                shots.pop()  # what stands between the turns does not fit with the longest prompts and completions
        return self.encoder.prompt(prompt.text)

    def written(self, completion: str) -> str:
        """The part of a completion that the policy writes: all after its template's opening."""
        return without_opening(completion, self.opening)

    def template(self, prompt: Prompt) -> str:
        """The prompt as the policy sees it."""
        return self.encoder.text(prompt.text)


def finish(worker: Worker, config: CollectConfig, collector: Collector) -> None:
    """Writes data/train.parquet and the data card.

    `keep_total` of the kept completions are drawn and reviewed, and the general pairs are added.

    Raises:
        InputError: no completion passed the filters, or the review dropped all of them.
        Interrupted: the review is not there yet.
    """
    counts, examples, total = collector.total, list(collector.examples), collector.total.total()
    seen_most, remedy = what_dropped_most(counts, worker.stage, config)
    if not examples:
        raise InputError(f"none of {total} completions passed the filters: {seen_most}: {remedy}")
    if len(examples) < FEW * total:
        few = f"only {len(examples)} of {total} completions passed the filters: {seen_most}"
        report_once(worker, [Alarm("few_kept", len(chunks_of(config)), few, remedy)])
    rng_for(worker.seed, worker.stage, "draw").shuffle(examples)
    examples = examples[: config.keep_total or None]
    examples, seen = _reviewed(worker, examples) if config.human_review else (examples, None)
    rows = [
        {
            "prompt_id": prompt.id,
            "prompt": collector.template(prompt),
            "completion": collector.written(completion),
            "kind": prompt.kind,
            "language": prompt.language,
            "text": prompt.text,
            "opening": collector.opening,
            "source": "sampled",
        }
        for prompt, completion in examples
    ]
    with user_errors():
        general = general_rows(worker, config, collector.source, collector.general, collector.encoder, gather_objects)
    rows += [{**row, "opening": "", "source": "general"} for row in general]
    if worker.is_main:
        write(worker, config, collector, rows, seen)
    worker.metrics |= {
        **{f"data/{name}": counts[name] for name in REASONS},
        "data/samples": len(rows),
        "data/reasoning": len(examples),
        "data/general": len(general),
        "data/kept_frac": (counts["kept"] + counts["spare"]) / total,
    }
    worker.say(f"{len(examples)} reasoning and {len(general)} general samples from {total} completions: {dict(counts)}")


def _reviewed(worker: Worker, examples: list[tuple[Prompt, str]]) -> tuple[list[tuple[Prompt, str]], dict]:
    """The examples as people left them, and what the data card says of the review."""
    if worker.is_main:
        review.export(worker.dir, examples)
    barrier()  # the export is there before any rank looks for the review
    completions, seen = review.reviewed(worker.dir, examples)
    kept = [(prompt, completion) for (prompt, _), completion in zip(examples, completions) if completion is not None]
    if not kept:
        raise InputError(f"{worker.dir / 'review' / 'reviewed.jsonl'} drops every example: nothing is left to train on")
    return kept, seen


def write(worker: Worker, config: CollectConfig, collector: Collector, rows: list[dict], seen: dict | None) -> None:
    """Rank 0 writes train.parquet, the data card, the reviewed file where there is one, and some samples for people."""
    from datasets import Dataset

    data = worker.dir / "data"
    data.mkdir(exist_ok=True)
    Dataset.from_list(rows).to_parquet(str(data / "train.parquet"))
    num_tokens: list[int] = []
    for first in range(0, len(rows), 1000):
        completions = [row["completion"] for row in rows[first : first + 1000]]
        num_tokens += [len(ids) for ids in collector.encoder.completions(completions)]
    done = [collector.done.rows[index] for index in range(config.num_prompts)]
    write_card(worker.dir, card_of(worker.stage, config, done, domain_table(rows, num_tokens), seen))
    if seen:
        files.write_atomic(data / seen["file"], (worker.dir / "review" / seen["file"]).read_bytes())
    worker.log_samples(
        [
            {
                "step": 1,
                "prompt_id": r["prompt_id"],
                "kind": r["kind"],
                "language": r["language"],
                "prompt": r["prompt"],
                "completion": r["completion"],
            }
            for r in rows[:8] + rows[-8:]
        ]
    )
