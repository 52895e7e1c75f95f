"""Rollouts: a prompt, a completion and its reward, gathered over ranks and logged before the update that uses them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch.distributed as dist

from stages.contract import files
from stages.contract.records import DamagedRecords, read_record_file, write_record_file
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import control_group
from stages.text.completion import without_opening


@dataclass
class Rollout:
    """One completion of a prompt: its tokens, how likely they were, and what it earned."""

    prompt: Prompt
    group: int  # place of the prompt in the rollout batch
    prompt_ids: list[int]
    completion_ids: list[int]
    rollout_logprobs: list[float]  # of the completion's tokens, by the sampler
    is_truncated: bool
    completion: str  # text, without the end-of-sequence token, with the opening that the template wrote
    reward: float = 0.0
    reward_parts: dict[str, float] = field(default_factory=dict)
    advantage: float = 0.0
    index: int = 0  # number of the prompt in the stage's stream of prompts
    step: int = 0  # the step whose weights sampled it
    opening: str = ""  # what the template wrote at the start of `completion`: "<think>" or ""
    grader_error: str = ""  # why a grader failed, where a part of the reward is 0 because of that
    use: str = "train"  # train; or, with dynamic sampling, keep (left for the next rollout) or drop (no signal)
    old_logprobs: list[float] | None = None  # by the trainer at `step`, where the sampler's are not precise enough
    version: list[int] | None = None  # of each token of the completion: the step whose weights drew it, where known

    @property
    def sampled_text(self) -> str:
        """What the model wrote: the completion without its opening."""
        return without_opening(self.completion, self.opening)

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and the completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


def gather(rollouts: list[Rollout], world_size: int) -> list[Rollout]:
    """Brings the rollouts of all ranks to every rank, in order of their group. Collective."""
    if world_size > 1:
        parts: list = [None] * world_size
        dist.all_gather_object(parts, rollouts, group=control_group())
        rollouts = [rollout for part in parts for rollout in part]
    return sorted(rollouts, key=lambda rollout: rollout.group)  # stable: completions of a group keep their order


def _record(rollout: Rollout) -> dict:
    """What the log keeps of a rollout; versions only where the sampler stamps its tokens."""
    record = {**vars(rollout), "prompt": vars(rollout.prompt)}
    if rollout.version is None:
        del record["version"]
    return record


class RolloutLog:
    """The scored rollouts of each step, on the disk before the update that trains on them starts.

    rollouts/step_000012.jsonl holds those of the update after step 12, and those that were sampled with them for a
    later rollout or in vain. It is a file of records (`stages/contract/records.py`) and counts only when it is whole.
    """

    def __init__(self, directory: Path, say: Callable[[str], None] = print):
        """Uses the files in a directory; `say` tells people of damaged ones."""
        self.directory = directory
        self.say = say

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.directory / f"step_{step:06d}.jsonl"

    def write(self, step: int, rollouts: list[Rollout]) -> None:
        """Writes the rollouts of a step; they are on the disk when this returns."""
        # dataclasses.asdict copies each number: 5 times as slow
        write_record_file(self.path(step), [_record(rollout) for rollout in rollouts])

    def read(self, step: int) -> list[Rollout] | None:
        """The rollouts of a step, as an attempt logged them that was ended before its next checkpoint.

        Returns:
            None where there are none or, with a warning, where the disk has spoiled them: they are sampled again.
        """
        try:
            rows = read_record_file(self.path(step))
        except FileNotFoundError:
            return None
        except DamagedRecords:
            self.say(f"WARNING: {self.path(step)} is damaged: its rollouts are not used")
            return None
        for row in rows:
            row["prompt"] = Prompt(**row["prompt"])
        return [Rollout(**row) for row in rows]

    def drop_after(self, step: int) -> None:
        """Removes the rollouts after a step, which weights have sampled that are given up."""
        for path in self.directory.glob("step_*.jsonl"):
            if int(path.stem.split("_")[1]) > step:
                path.unlink()
        if self.directory.exists():
            files.fsync_directory(self.directory)

    def drop_before(self, step: int) -> None:
        """Removes the rollouts before a step, which no checkpoint can ask for any more."""
        for path in self.directory.glob("step_*.jsonl"):
            if int(path.stem.split("_")[1]) < step:
                path.unlink()
