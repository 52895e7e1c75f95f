"""How well the policy solves the same few held-out prompts in the course of its training.

Every `hacking.every` steps it answers them from the same seeds; accuracy, length and repetition go to metrics.jsonl as
watch/*. `stages/kinds/grpo/hacking.py` compares them with the learned rewards.
"""

import statistics
from pathlib import Path

from stages.config import GrpoConfig
from stages.contract import files
from stages.data.prompt_sources import make_source
from stages.kinds.grpo.groups import GroupSampler
from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.runtime.distributed import gather_objects
from stages.runtime.step_logs import rounded
from stages.runtime.worker import Worker
from stages.text.repetition import repeated_ngram_share
from stages.training.rollouts import Rollout


def held_out_prompts(worker: Worker, config: GrpoConfig) -> list[Prompt]:
    """The first `hacking.num_prompts` held-out reasoning prompts; none where nothing is measured.

    Of the tiny world they are from its dev split, so that the test set decides nothing; of your own data they are the
    held-out rows.
    """
    if not config.hacking.every:
        return []
    source = make_source(config.data, worker.seed, worker.stage, "dev" if config.data.name == "tiny_world" else "test")
    count = min(config.hacking.num_prompts, source.count()) if hasattr(source, "count") else config.hacking.num_prompts
    return [source.get(index) for index in range(count)]


def held_out_metrics(rollouts: list[Rollout]) -> dict[str, float]:
    """watch/*: mean accuracy, tokens and share of repeated n-grams of held-out completions, and their number.

    Collective: each rank measures the completions that it owns. The means are exact sums, in any order.
    """
    grades = grade_many([(r.completion, r.prompt) for r in rollouts])
    measured = gather_objects(
        [(grade.value, len(r.completion_ids), repeated_ngram_share(r.completion)) for grade, r in zip(grades, rollouts)]
    )
    accuracies, tokens, repetitions = zip(*measured)
    return {
        "watch/accuracy": statistics.fmean(accuracies),
        "watch/tokens": statistics.fmean(tokens),
        "watch/repetition": statistics.fmean(repetitions),
        "watch/samples": len(measured),
    }


class MeasurementFiles:
    """watch/step_000012.json: the measurement before step 12.

    It is on disk before the rollouts of its step are, so that a replay of those has it.
    """

    def __init__(self, directory: Path):
        self.directory = directory

    def path(self, step: int) -> Path:
        """The file of the measurement after `step` optimizer steps."""
        return self.directory / f"step_{step:06d}.json"

    def read(self, step: int) -> dict[str, float] | None:
        """The measurement after `step` optimizer steps; None where there is none, or a damaged one."""
        try:
            return files.read_json(self.path(step))
        except (OSError, ValueError):  # not measured yet, or spoiled: it is measured again
            return None

    def write(self, step: int, values: dict[str, float]) -> None:
        """Keeps a measurement."""
        files.write_json(self.path(step), values)

    def drop_after(self, step: int) -> None:
        """Forgets measurements of weights that a rollback gave up."""
        for path in self.directory.glob("step_*.json"):
            if int(path.stem.split("_")[1]) > step:
                path.unlink()


class HeldOutMeasurement:
    """Measures the policy of a stage on its held-out prompts, and keeps what was measured."""

    def __init__(self, worker: Worker, config: GrpoConfig):
        self.worker, self.config = worker, config
        self.prompts = held_out_prompts(worker, config)
        self.files = MeasurementFiles(worker.dir / "watch")

    def is_due(self, step: int) -> bool:
        """Whether the rollout that starts after `step` optimizer steps begins with a measurement."""
        config = self.config
        begins = config.num_steps - config.preference_last_steps if config.preference_last_steps else 0
        return bool(config.hacking.every) and step % config.hacking.every == 0 and step >= begins and bool(self.prompts)

    def read(self, step: int) -> dict[str, float] | None:
        """The metrics that an earlier attempt measured after `step` optimizer steps, or None."""
        return self.files.read(step)

    def measure(self, sampler: GroupSampler, step: int) -> dict[str, float]:
        """Samples, grades and keeps a measurement. Collective.

        Args:
            sampler: has the weights that are measured.
            step: optimizer steps done.

        Returns:
            The watch/* metrics, rounded as they are logged.
        """
        rollouts = sampler.held_out(self.prompts, self.config.hacking.samples_per_prompt, step)
        values = {name: rounded(value) for name, value in held_out_metrics(rollouts).items()}
        if self.worker.is_main:
            self.files.write(step, values)
        return values

    def drop_after(self, step: int) -> None:
        """Forgets what was measured after `step` optimizer steps."""
        self.files.drop_after(step)
