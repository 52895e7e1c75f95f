"""What the policy answers to helpful and safety prompts, for a judge to compare or label.

A prompt that is sampled is a line on the disk: a killed attempt does not repeat it.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from stages.config import RewardModelsConfig
from stages.contract.indexed_records import IndexedRecords
from stages.data.inputs import open_prompts
from stages.engines.sampling import Completion, Sampler
from stages.engines.sampling.check import make_checked_sampler
from stages.engines.sampling.dealing import Dealing
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import barrier, gather_objects
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker


class Completions:
    """The policy's completions of a domain's prompts, each drawn once."""

    def __init__(self, worker: Worker, config: RewardModelsConfig, tokenizer: Any):
        self.worker, self.config = worker, config
        self.encoder = Encoder.of(config.data, tokenizer)
        self.source = open_prompts(
            worker, config.data, self.encoder, worker.model_dir("policy"), config.max_completion_tokens
        )
        self.sampler: Sampler | None = None  # made when it is first needed

    def of(self, domain: str, num_prompts: int, n: int, temperature: float) -> list[tuple[Prompt, list[str]]]:
        """The first prompts of a domain with their completions. Collective.

        Args:
            domain: of the prompts; also the name of their records in state/.
            num_prompts: prompts wanted.
            n: completions of each.
            temperature: of the draws.

        Returns:
            Each prompt with the texts of its n completions, the same on every rank.
        """
        worker = self.worker
        records = IndexedRecords(worker.dir / "state", domain, worker.attempt, worker.rank)
        if records.num_damaged:
            worker.say(f"{records.num_damaged} damaged lines of {domain} prompts in state/: these are sampled again")
        barrier()  # all ranks have read what there was before anyone writes
        missing = [index for index in range(num_prompts) if index not in records]
        if missing:
            worker.progress("rollout", 0, 0, f"sampling {len(missing)} {domain} prompts")
            dealing = Dealing(worker.rank, worker.world_size, self.config.rollout.tensor_parallel)
            drawn = [index for index in dealing.drawn(range(num_prompts)) if index not in records]
            self._sample(drawn, set(dealing.owned(range(num_prompts))), domain, n, temperature, records)
            records.add(gather_objects([records.rows[index] for index in missing if index in records]))
        worker.count_tokens(domain, sampled=sum(records.rows[index].get("tokens", 0) for index in range(num_prompts)))
        return [(self.source.get(index, domain), records.rows[index]["completions"]) for index in range(num_prompts)]

    def _sample(
        self, indices: list[int], owned: set[int], domain: str, n: int, temperature: float, records: IndexedRecords
    ) -> None:
        """Samples these prompts; each that this rank owns is recorded as soon as its completions are drawn."""
        worker, config = self.worker, self.config
        if self.sampler is None:
            self.sampler = make_checked_sampler(
                config.rollout,
                worker.model_dir("policy"),
                config.data.max_prompt_tokens,
                config.max_completion_tokens,
                config.deepspeed.precision,
                stop_ids=self.encoder.stop_ids,
            )
        prompts = [self.source.get(index, domain) for index in indices]
        prompt_ids = self.encoder.prompts([prompt.text for prompt in prompts])
        seeds = [
            seed_for(worker.seed, worker.stage, domain, index, prompt.id) for index, prompt in zip(indices, prompts)
        ]

        def record(place: int, completions: list[Completion]) -> None:
            texts = [self.encoder.opening + text for text in self.encoder.decode([c.token_ids for c in completions])]
            num_tokens = sum(len(c.token_ids) for c in completions)
            records.append({"index": indices[place], "completions": texts, "tokens": num_tokens})

        with ThreadPoolExecutor(1, thread_name_prefix="records") as writing:
            written: list[Future] = []

            def on_group(place: int, completions: list[Completion]) -> None:
                if indices[place] in owned:
                    written.append(writing.submit(record, place, completions))

            self.sampler.sample(
                prompt_ids,
                seeds,
                n,
                temperature,
                config.max_completion_tokens,
                on_group,
            )
            for one in written:
                one.result()

    def close(self) -> None:
        """Frees the sampler's memory."""
        if self.sampler is not None:
            self.sampler.close()
