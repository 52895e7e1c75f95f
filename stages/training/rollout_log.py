"""The log of rollouts: on the disk before the update that trains on them, each rank's tokens in a shard of its own."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow  # noqa: F401 (it takes long to load: as the stage starts, and not in its first rollout)

from stages.contract import files, rollout_files
from stages.contract.records import DamagedRecords, read_record_file
from stages.contract.rollout_files import COLUMNS, Shard, ShardRow, shard_name
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import barrier, gather_objects
from stages.training.rollouts import Rollout, Row

_LOGGED = [field.name for field in fields(Row) if field.name not in ("here", "rank")]


class RolloutLog:
    """The scored rollouts of each step, on the disk before the update that trains on them starts.

    rollouts/step_000012/ holds those of the update after step 12, and those that were sampled with them for a later
    rollout or in vain (`stages/contract/rollout_files.py`). They count only when they are whole.
    """

    def __init__(self, directory: Path, rank: int = 0, world_size: int = 1, say: Callable[[str], None] = print):
        """Uses the files in a directory.

        Args:
            directory: `rollouts/` of the stage.
            rank: of this process, which writes a shard of its own.
            world_size: number of processes.
            say: tells people of damaged rollouts.
        """
        self.directory, self.rank, self.world_size, self.say = directory, rank, world_size, say

    def path(self, step: int) -> Path:
        """The directory of a step."""
        return rollout_files.step_path(self.directory, step)

    def has(self, step: int) -> bool:
        """Whether the rollouts of a step are there, whatever the disk has made of them since."""
        return (self.path(step) / rollout_files.MANIFEST).exists() or rollout_files.older_path(
            self.directory, step
        ).exists()

    def write(self, step: int, rows: Sequence[Row]) -> None:
        """Writes the rollouts of a step; they are on the disk when this returns, on any rank. Collective.

        Args:
            step: the first step that trains on them.
            rows: of all rollouts, the same on every rank.
        """
        directory, counts = self.path(step), Counter[int]()
        for row in rows:
            row.shard, row.place = row.rank, counts[row.rank]
            counts[row.rank] += 1
        name = shard_name(self.rank)
        entry = rollout_files.write_shard(
            directory / name, (_shard_row(row.here) for row in rows if row.rank == self.rank)
        )
        shards = dict(gather_objects([(name, entry)]))
        if self.rank == 0:
            plain = ({name: getattr(row, name) for name in _LOGGED} for row in rows)
            rollout_files.write_manifest(directory, shards, plain)
            rollout_files.older_path(self.directory, step).unlink(missing_ok=True)
        barrier()  # who reads them next finds the manifest

    def read(self, step: int) -> list[Row] | None:
        """The rows of a step, as an attempt logged them that was ended before its next checkpoint. Collective.

        Each rank looks at the shards that are its own from now on.

        Returns:
            None where there are none or, with a warning, where the disk has spoiled any: they are sampled again.
        """
        rows, is_damaged = self._look(step)
        states = gather_objects([(rows is None, is_damaged)])
        if any(damaged for _, damaged in states):
            self.say(f"WARNING: {self._there(step)} is damaged: its rollouts are not used")
        return None if any(is_missing or damaged for is_missing, damaged in states) else rows

    def rows(self, step: int) -> list[Row]:
        """The rows of a step, none where they are missing or damaged. Looks at no tokens and asks no other rank."""
        try:
            return self._rows(step)
        except (FileNotFoundError, DamagedRecords):
            return []

    def load(self, step: int, rows: Sequence[Row]) -> None:
        """Fills `here` of those of a step's rows whose rollouts are this rank's."""
        shards: dict[int, Shard] = {}
        for row in rows:
            if row.rank == self.rank and row.here is None:
                if row.shard not in shards:
                    shards[row.shard] = Shard(self.path(step) / shard_name(row.shard))
                row.here = _rollout(row, shards[row.shard].row(row.place))

    def drop_after(self, step: int) -> None:
        """Removes the rollouts after a step, which weights have sampled that are given up."""
        for path in self.directory.glob("step_*"):
            if rollout_files.step_of(path) > step:
                _remove(path)
        if self.directory.exists():
            files.fsync_directory(self.directory)

    def drop_before(self, step: int) -> None:
        """Removes the rollouts before a step, which no checkpoint can ask for any more."""
        for path in self.directory.glob("step_*"):
            if rollout_files.step_of(path) < step:
                _remove(path)

    def _look(self, step: int) -> tuple[list[Row] | None, bool]:
        """(rows, whether anything of this rank is damaged); no rows where there are none."""
        try:
            rows = self._rows(step)
        except FileNotFoundError:
            return None, False
        except DamagedRecords:
            return None, True
        own = {row.shard for row in rows if row.rank == self.rank and row.here is None}
        if not own:
            return rows, False
        entries, _ = rollout_files.read_manifest(self.path(step))
        mine = {name: entries[name] for name in map(shard_name, own)}
        return rows, bool(files.damaged_files(self.path(step), mine))

    def _rows(self, step: int) -> list[Row]:
        """The rows of a step. Raises FileNotFoundError or DamagedRecords."""
        if not (self.path(step) / rollout_files.MANIFEST).exists():
            return self._older_rows(step)
        _, rows = rollout_files.read_manifest(self.path(step))
        return [Row(**row, rank=row["shard"] % self.world_size) for row in rows]

    def _older_rows(self, step: int) -> list[Row]:
        """The rows of a step that an older version wrote, with the rollouts: every rank reads all of them."""
        rows = []
        for plain in read_record_file(rollout_files.older_path(self.directory, step)):
            use, advantage = plain.pop("use", "train"), plain.pop("advantage", 0.0)
            row = Row.of(Rollout(**{**plain, "prompt": Prompt(**plain["prompt"])}), plain["group"] % self.world_size)
            row.use, row.advantage = use, advantage
            row.here = row.here if row.rank == self.rank else None
            rows.append(row)
        return rows

    def _there(self, step: int) -> Path:
        """What people are told of where the rollouts of a step are."""
        older = rollout_files.older_path(self.directory, step)
        return older if older.exists() and not self.path(step).exists() else self.path(step)


def _shard_row(rollout: Rollout | None) -> ShardRow:
    assert rollout is not None, "a row says which rank has its rollout"
    return {"prompt": vars(rollout.prompt), **{name: getattr(rollout, name) for name in COLUMNS}}


def _rollout(row: Row, drawn: ShardRow) -> Rollout:
    """The rollout of a row, from its shard; its text is decoded where it is asked for (`rollouts.bring`)."""
    return Rollout(
        Prompt(**drawn["prompt"]),
        row.group,
        drawn["prompt_ids"],
        drawn["completion_ids"],
        drawn["rollout_logprobs"],
        row.is_truncated,
        completion="",
        reward=row.reward,
        reward_parts=row.reward_parts,
        index=row.index,
        step=row.step,
        grader_error=row.grader_error,
        old_logprobs=drawn["old_logprobs"],
        version=drawn["version"],
    )


def _remove(path: Path) -> None:
    """Removes the rollouts of a step. Without their manifest they do not count, so that goes first."""
    if path.is_dir():
        (path / rollout_files.MANIFEST).unlink(missing_ok=True)
        # where the rest is still open on another machine, a later call removes it
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
