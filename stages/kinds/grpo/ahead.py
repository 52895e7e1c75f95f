"""One rollout ahead: servers draw the next rollout while this one is trained on (rollout.server.max_staleness).

    step s begins rollout A, drawn by the weights of an earlier step
    sync the servers with the weights of s, begin to draw rollout B
    train on A                                  s, s + 1, ..., t - 1
    wait for B, score it, log it                before the checkpoint of step t, so that a resume has it
    step t begins rollout B, drawn by the weights of s

What is drawn is a function of weights and seeds: nothing is in flight at a sync.
"""

from dataclasses import dataclass

from stages.config import GrpoConfig
from stages.kinds.grpo.groups import Asked, GroupSampler
from stages.kinds.grpo.history import RolloutHistory
from stages.runtime.distributed import gather_objects
from stages.training.rollouts import Row


@dataclass
class NextRollout:
    """A rollout that is being drawn."""

    first: int  # number of its first batch
    left_over: list[Row]
    start: int  # number of the first prompt of the stream that was not drawn yet
    asked: Asked | None  # None: what is left over suffices


def following(history: RolloutHistory, config: GrpoConfig, step: int) -> tuple[int, int] | None:
    """The rollout after the one in use, and the step that begins it; None where the stage ends before."""
    batches = history.batches
    first = batches.rollout(step)
    while step < config.num_steps and batches.rollout(step) == first:
        step += 1
    return (batches.rollout(step), step) if step < config.num_steps else None


def begin(groups: GroupSampler, history: RolloutHistory, config: GrpoConfig, step: int) -> NextRollout | None:
    """Begins to draw the rollout after the one of `step`, by the weights that the servers have. Collective.

    Returns:
        None where there is none, or where it is in the log.
    """
    found = following(history, config, step)
    if found is None or any(gather_objects([history.log.has(found[0])])):  # a rank elsewhere may see it later
        return None
    first, begins_at = found
    left_over, start = history.left_over(first, groups.reasoning_only)
    left_over = [r for r in left_over if staleness(r, begins_at) <= bound(config)]
    indices, place = groups.prompts_of_round(left_over, start)
    asked = groups.ask(indices, first, place, ahead=True) if len(indices) else None
    return NextRollout(first, left_over, start, asked)


def bound(config: GrpoConfig) -> int:
    """Most optimizer steps by which the weights that drew a token may be behind those that first train on it."""
    return config.rollout.server.max_staleness * config.updates_per_rollout


def staleness(row: Row, step: int) -> int:
    """Optimizer steps by which the oldest token of a rollout is behind `step`; 0 where the sampler does not say."""
    return 0 if row.oldest_version is None else step - row.oldest_version


def mean_staleness(rows: list[Row], step: int) -> float:
    """policy/staleness: by how many optimizer steps tokens are behind `step`, their mean."""
    stamped = [(row.num_completion_tokens, step - row.mean_version) for row in rows if row.mean_version is not None]
    return sum(count * behind for count, behind in stamped) / max(sum(count for count, _ in stamped), 1)


def require_bound(rows: list[Row], step: int, config: GrpoConfig) -> None:
    """Raises RuntimeError where a rollout is older than the configuration allows: it must not be trained on."""
    worst = max((staleness(row, step) for row in rows), default=0)
    if worst > bound(config):
        raise RuntimeError(
            f"a rollout of step {step} was drawn by weights that are {worst} steps older; the bound is "
            f"{bound(config)} (rollout.server.max_staleness={config.rollout.server.max_staleness})"
        )
