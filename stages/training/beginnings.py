"""What can be said of a stage before its first step: data and settings from which it can learn little or nothing."""

from stages.config import GrpoConfig, OptimConfig, RewardModelsConfig, SftConfig
from stages.training.alarms import Alarm

MANY = 0.1  # share of rows that are left out, or that teach nothing, from which on it is said
OTHER = "; see what the data holds with `r1 data inspect`"


def of_sft(stage: str, config: SftConfig, lengths: list[int], num_too_long: int, num_steps: int) -> list[Alarm]:
    """What a supervised stage should be told of its data.

    Args:
        stage: its name.
        config: its configuration.
        lengths: tokens of each target that is trained on, the end included.
        num_too_long: samples that were left out.
        num_steps: optimizer steps.
    """
    found = []
    total = len(lengths) + num_too_long
    if num_too_long > MANY * total:
        found.append(
            Alarm(
                "too_long",
                0,
                f"{num_too_long} of {total} samples are longer than {config.max_tokens} tokens and left out",
                f"raise stages.{stage}.max_tokens, or shorten the samples{OTHER}",
            )
        )
    num_empty = sum(length <= 1 for length in lengths)
    if num_empty > MANY * len(lengths):
        found.append(
            Alarm(
                "empty_targets",
                0,
                f"{num_empty} of {len(lengths)} samples have an empty completion: they teach the model to say nothing",
                f"check stages.{stage}.traces.completion_column, and the rows of the file",
            )
        )
    found += _repeated(f"stages.{stage}.batch_size", config.batch_size, len(lengths), "samples")
    return found + of_warmup(stage, config.optim, num_steps)


def of_rl(stage: str, config: GrpoConfig, num_prompts: int | None) -> list[Alarm]:
    """What a stage of RL should be told; `num_prompts`: how many there are, None where they never end."""
    found = []
    needed = config.prompts_per_step * config.updates_per_rollout
    if num_prompts is not None:
        found = _repeated(f"stages.{stage}.prompts_per_step", needed, num_prompts, "prompts")
    return found + of_warmup(stage, config.optim, config.num_steps)


def of_reward_model(stage: str, config: RewardModelsConfig, name: str, num_items: int, num_steps: int) -> list[Alarm]:
    """What the stage of the reward models should be told of the model `name`, which learns from so many items."""
    return _repeated(
        f"stages.{stage}.batch_size", config.batch_size, num_items, f"items of the {name} model"
    ) + of_warmup(stage, config.optim, num_steps)


def of_warmup(stage: str, optim: OptimConfig, num_steps: int) -> list[Alarm]:
    """Says where a warm-up is as long as the stage, so that the learning rate never comes to its peak."""
    if not num_steps or optim.warmup_steps < num_steps:
        return []
    reached = optim.lr * num_steps / optim.warmup_steps
    return [
        Alarm(
            "no_peak",
            0,
            f"the warm-up takes {optim.warmup_steps} steps and the stage {num_steps}: the learning rate never reaches "
            f"{optim.lr:g}, and {reached:.2g} at most",
            f"lower stages.{stage}.optim.warmup_steps",
        )
    ]


def _repeated(key: str, asked: int, there: int, what: str) -> list[Alarm]:
    """Says where one batch holds the same rows several times, because it is larger than the data."""
    if asked <= there:
        return []
    return [
        Alarm(
            "small_data",
            0,
            f"a batch asks for {asked} {what}, and there are {there}: it holds the same ones several times",
            f"lower {key}, or give more data",
        )
    ]
