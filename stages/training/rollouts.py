"""Rollouts: one prompt, one completion, what it earned; gathered over ranks and logged ahead of the update that
consumes them.
"""

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
    step: int = 0  # whose weights drew it
    opening: str = ""  # what the template had already written of it, at the start of `completion`: <think>, or nothing
    grader_error: str = ""  # why a grader could not say, where its part of the reward is 0 for that
    use: str = "train"  # train; or, with dynamic sampling, keep (left for the next rollout) or drop (no signal)
    old_logprobs: list[float] | None = None  # by the trainer at that step, where the sampler's are not good enough

    @property
    def sampled_text(self) -> str:
        """What the model wrote."""
        return without_opening(self.completion, self.opening)

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def gather(rollouts: list[Rollout], world_size: int) -> list[Rollout]:
    """All ranks' rollouts on every rank, in order of their group."""
    if world_size > 1:
        parts: list = [None] * world_size
        dist.all_gather_object(parts, rollouts, group=control_group())
        rollouts = [rollout for part in parts for rollout in part]
    return sorted(rollouts, key=lambda rollout: rollout.group)  # stable: completions of a group keep their order


class RolloutLog:
    """rollouts/step_000012.jsonl: the scored rollouts that the update after step 12 trains on, durable before it
    starts, and those that were sampled with them for a later rollout or in vain. The last line holds the checksum of
    those before it.
    """

    def __init__(self, directory: Path, say: Callable[[str], None] = print):
        self.directory, self.say = directory, say

    def path(self, step: int) -> Path:
        return self.directory / f"step_{step:06d}.jsonl"

    def write(self, step: int, rollouts: list[Rollout]) -> None:
        """Writes the rollouts of a step; they are on the disk when this returns."""
        # dataclasses.asdict copies each number: 5 times as slow
        write_record_file(self.path(step), [{**vars(rollout), "prompt": vars(rollout.prompt)} for rollout in rollouts])

    def read(self, step: int) -> list[Rollout] | None:
        """The rollouts logged for this step by an attempt that was killed before its next checkpoint; None where there
        are none, or, with a warning, where the disk has spoiled them.
        """
        try:
            rows = read_record_file(self.path(step))
        except FileNotFoundError:
            return None
        except DamagedRecords:
            self.say(f"WARNING: {self.path(step)} is damaged: its rollouts are not used")
            return None
        return [Rollout(**{**row, "prompt": Prompt(**row["prompt"])}) for row in rows]

    def drop_after(self, step: int) -> None:
        """Forgets what was sampled by weights that are given up."""
        for path in self.directory.glob("step_*.jsonl"):
            if int(path.stem.split("_")[1]) > step:
                path.unlink()
        if self.directory.exists():
            files.fsync_directory(self.directory)

    def drop_before(self, step: int) -> None:
        """Forgets what no checkpoint can ask for any more."""
        for path in self.directory.glob("step_*.jsonl"):
            if int(path.stem.split("_")[1]) < step:
                path.unlink()
