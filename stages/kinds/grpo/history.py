"""Which rollouts of a stage are on disk, which of its prompts were drawn, and how a rollout is split into batches.

Every method is a function of the configuration, the rollout log and `skipped.jsonl`, so that a resumed stage goes on
with the same prompts and batches.
"""

from stages.config import GrpoConfig
from stages.runtime.seeds import rng_for
from stages.runtime.worker import Worker
from stages.training.rollback import Batches
from stages.training.rollout_log import RolloutLog
from stages.training.rollouts import Row


class RolloutHistory:
    """The rollout log and the numbers of the batches that are trained on.

    A rollout has the number of its first batch. `batches` is replaced after a rollback, which leaves some out.
    """

    def __init__(self, worker: Worker, config: GrpoConfig):
        self.worker, self.config = worker, config
        self.log = RolloutLog(worker.dir / "rollouts", worker.rank, worker.world_size, worker.say)
        self.batches = Batches(worker.dir, config.updates_per_rollout)

    def share(self, rollouts: list[Row], number: int) -> list[Row]:
        """The rollouts of batch `number`: one of updates_per_rollout equal parts of its rollout, drawn at random.

        Args:
            rollouts: all that the rollout trains on.
            number: of the batch in the stage.
        """
        updates = self.config.updates_per_rollout
        order = list(range(len(rollouts)))
        if updates > 1:
            rng_for(self.worker.seed, self.worker.stage, "split", number - number % updates).shuffle(order)
        size, place = len(rollouts) // updates, number % updates
        return [rollouts[i] for i in order[place * size : (place + 1) * size]]

    def left_over(self, first: int, reasoning_only: bool) -> tuple[list[Row], int]:
        """What dynamic sampling left for the rollout that starts at batch `first`. Collective.

        Args:
            first: number of the rollout's first batch.
            reasoning_only: leave out what was drawn of general prompts.

        Returns:
            Groups that the rollout before drew and did not use, without prompts that a rollback left out; and the
            number of the first prompt of the stream that was not drawn yet.

        Raises:
            RuntimeError: the rollout before was damaged on disk while the stage ran.
        """
        if not self.config.oversampling:
            return [], first * self.config.prompts_per_step
        rollbacks = [row for row in self.batches.rows if max(row["batches"]) < first]
        earlier = self.batches.before(first)
        drawn = [] if earlier is None else self._read_again(earlier)
        start = max([1 + r.index for r in drawn] + [row["next_index"] for row in rollbacks], default=0)
        left_out = {index for row in rollbacks for index in row["indices"]}
        left_over = [
            r
            for r in drawn
            if r.use == "keep" and r.index not in left_out and (r.domain == "reasoning" or not reasoning_only)
        ]
        if earlier is not None:
            self.log.load(earlier, left_over)
        return left_over, start

    def _read_again(self, first: int) -> list[Row]:
        """Rollouts that were whole when the stage started or resumed."""
        rollouts = self.log.read(first)
        if rollouts is None:
            raise RuntimeError(
                f"rollouts {first} were spoiled while the stage ran; the same command continues from a "
                "checkpoint before them"
            )
        return rollouts

    def describe(self, numbers: list[int]) -> dict:
        """What the record of a rollback says of the batches that it leaves out.

        Args:
            numbers: of these batches.

        Returns:
            `prompts` and `indices`: ids and numbers of their prompts; `next_index`: the number of the first prompt
            that their rollouts did not draw, where the stream of prompts goes on.
        """
        updates = self.config.updates_per_rollout
        drawn: list[int] = []
        left_out: list[Row] = []
        for number in numbers:
            sampled = self.log.rows(number - number % updates)
            drawn += [r.index for r in sampled]
            left_out += self.share([r for r in sampled if r.use == "train"], number)
        prompts = {r.index: r.prompt_id for r in left_out}
        return {
            "prompts": [prompts[index] for index in sorted(prompts)],
            "indices": sorted(prompts),
            "next_index": 1 + max(drawn, default=-1),
        }

    def why_unusable(self, step: int) -> str | None:
        """Why the stage cannot go on from `step`: rollouts that its weights did not draw are missing. Collective.

        Returns:
            The reason, or None where all that is needed is on disk or can be sampled again.
        """
        first = self.batches.rollout(step)
        earlier = self._rollout_with_left_over(first)
        if not self.batches.begins(step):
            if self.log.read(first):
                return None
            return f"rollouts {first} are missing, of which updates before step {step} were made"
        if earlier is None or self.log.read(first) or self.log.read(earlier):
            return None
        return f"rollouts {earlier} are missing, which may have left some for the next ones"

    def drop_before(self, step: int) -> None:
        """Drops the rollouts that a stage which goes on from `step`, or a later one, does not ask for."""
        first = self.batches.rollout(step)
        earlier = self._rollout_with_left_over(first)
        self.log.drop_before(first if earlier is None else earlier)

    def _rollout_with_left_over(self, first: int) -> int | None:
        """The rollout before, where dynamic sampling may have left some of it for this one."""
        return self.batches.before(first) if self.config.oversampling else None
