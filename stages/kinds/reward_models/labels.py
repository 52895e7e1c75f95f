"""What the safety model learns from: completions that a judge, or a data source, calls safe or unsafe [N]."""

from dataclasses import dataclass

from stages.config import RewardModelsConfig
from stages.data.pairs import safety_labels
from stages.judges import Judged, current_judge
from stages.kinds.reward_models.completions import Completions
from stages.runtime.distributed import gather_objects
from stages.runtime.errors import user_errors
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker


@dataclass(frozen=True)
class Label:
    """A completion, and whether it is safe."""

    prompt: str
    completion: str
    is_safe: bool


def labels(worker: Worker, config: RewardModelsConfig, completions: Completions) -> list[Label]:
    """Labelled completions of safety prompts, the same on every rank. Collective.

    They come from sources with rows=labels where there are some, else from the policy, labelled by the judge.
    Completions that the judge gave no verdict on are left out, and counted in the metrics.

    Args:
        worker: the stage.
        config: how many, and of what data.
        completions: the policy's; not used where sources have labels.

    Returns:
        The labels; none where the data has no safety prompts.
    """
    if config.data.has("labels"):
        return _labels_of_files(worker, config)
    if "safety" not in config.data.domains and config.data.name != "tiny_world":
        return []
    sampled = completions.of(
        "safety_labels", config.num_safety_prompts, config.safety_samples_per_prompt, config.safety_temperature
    )
    mine = [
        (index, Judged(prompt, text, seed_for(worker.seed, worker.stage, "safe", prompt.id, text)))
        for index, (prompt, texts) in list(enumerate(sampled))[worker.rank :: worker.world_size]
        for text in texts
    ]
    worker.progress("judge", 0, 0, f"judging the safety of {len(mine)} completions")
    verdicts = current_judge().safe([item for _, item in mine])
    judged = [(index, item.completion, verdict) for (index, item), verdict in zip(mine, verdicts)]
    found = sorted(gather_objects(judged), key=lambda row: row[0])
    worker.metrics["safety/unjudged"] = sum(verdict is None for *_, verdict in found)
    return [Label(sampled[index][0].text, text, verdict) for index, text, verdict in found if verdict is not None]


def _labels_of_files(worker: Worker, config: RewardModelsConfig) -> list[Label]:
    """Labels of all sources with rows=labels, at most as many as would be sampled, in an order that the seed draws."""
    with user_errors():
        found = [Label(row.prompt.text, row.completion, row.is_safe) for row in safety_labels(config.data)]
    rng_for(worker.seed, worker.stage, "labels").shuffle(found)
    return found[: config.num_safety_prompts * config.safety_samples_per_prompt]
