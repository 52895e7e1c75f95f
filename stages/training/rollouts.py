"""Rollouts: a completion of a prompt with its reward, on the rank that drew it, and the row that all ranks know of it.

Tokens and texts stay where they were drawn. What is decided over all rollouts (which are trained on, advantages,
metrics, batches) is decided from the rows, by every rank alike.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stages.prompting.prompt import Prompt
from stages.runtime.distributed import gather_objects
from stages.text.completion import thought_of, without_opening
from stages.text.language import language_consistency
from stages.text.reflection import count_words

_OPERATION = re.compile(r"(?<=\d)[+*-](?=\d)")


@dataclass(eq=False)
class Rollout:
    """One completion of a prompt: its tokens, how likely they were, and what it earned. Sequences become arrays."""

    prompt: Prompt
    group: int  # place of the prompt in the rollout batch
    prompt_ids: np.ndarray  # int32
    completion_ids: np.ndarray  # int32
    rollout_logprobs: np.ndarray  # float32, of the completion's tokens, by the sampler
    is_truncated: bool
    completion: str  # text, without the end-of-sequence token, with the opening that the template wrote
    reward: float = 0.0
    reward_parts: dict[str, float] = field(default_factory=dict)
    index: int = 0  # number of the prompt in the stage's stream of prompts
    step: int = 0  # the step whose weights sampled it
    opening: str = ""  # what the template wrote at the start of `completion`: "<think>" or ""
    grader_error: str = ""  # why a grader failed, where a part of the reward is 0 because of that
    old_logprobs: np.ndarray | None = None  # float32, by the trainer at `step`, where the sampler's are not enough
    version: np.ndarray | None = None  # int32, of the weights that drew each token, where the sampler says so
    measures: "Measures | None" = None  # what metrics need of the text, once `measure` was asked

    def __post_init__(self) -> None:
        self.prompt_ids = np.asarray(self.prompt_ids, np.int32)
        self.completion_ids = np.asarray(self.completion_ids, np.int32)
        self.rollout_logprobs = np.asarray(self.rollout_logprobs, np.float32)
        if self.old_logprobs is not None:
            self.old_logprobs = np.asarray(self.old_logprobs, np.float32)

    @property
    def sampled_text(self) -> str:
        """What the model wrote: the completion without its opening."""
        return without_opening(self.completion, self.opening)

    def measure(self) -> "Measures":
        """What metrics need of the text, measured once."""
        if self.measures is None:
            self.measures = Measures.of(self)
        return self.measures


@dataclass(frozen=True)
class Measures:
    """Numbers of a completion's text that the metrics of a rollout are made of; of reasoning prompts alone."""

    level: str = ""  # the difficulty of the prompt, see `level_of`
    language: float | None = None  # share of the thought's words in the prompt's language; None where it has none
    words: dict[str, int] = field(default_factory=dict)  # of reflection, in order of their first place in the text

    @classmethod
    def of(cls, rollout: Rollout) -> "Measures":
        """Measures a completion."""
        prompt = rollout.prompt
        if prompt.domain != "reasoning":
            return cls()
        # the rule has measured the language where its part is not 0, and a long text takes long
        language = rollout.reward_parts.get("language") or language_consistency(
            thought_of(rollout.completion), prompt.language
        )
        return cls(level_of(prompt), language, dict(count_words(rollout.completion)))


def level_of(prompt: Prompt) -> str:
    """The difficulty of a prompt; empty where it has none.

    It is the number of operations of a tiny-world sum, and the kind of a row of yours (data.kind_column) or of a
    generated puzzle.
    """
    if prompt.domain != "reasoning":
        return ""
    if prompt.kind == "math" and prompt.id.startswith("math-"):
        return str(len(_OPERATION.findall(prompt.text.replace(" ", ""))))
    return "" if prompt.kind in ("file", "") else prompt.kind


@dataclass
class Row:
    """What every rank knows of a rollout: numbers, and no tokens."""

    index: int  # number of the prompt in the stage's stream of prompts
    group: int  # place of the prompt among those that are trained on
    step: int  # the step whose weights sampled it
    prompt_id: str
    domain: str
    prompt_key: int  # the same for prompts of the same tokens
    num_prompt_tokens: int
    num_completion_tokens: int
    is_truncated: bool
    reward: float
    reward_parts: dict[str, float]
    grader_error: str
    level: str
    language: float | None
    words: dict[str, int]
    use: str = "train"  # train; or, with dynamic sampling, keep (left for the next rollout) or drop (no signal)
    advantage: float = 0.0
    has_old_logprobs: bool = False
    is_probed: bool = False  # it is one of those that sampler and trainer were compared on before they were trained on
    oldest_version: int | None = None  # of the weights that drew its tokens, where the sampler says so
    mean_version: float | None = None  # over its tokens
    rank: int = 0  # the rank that has the rollout
    shard: int = 0  # of the log: the number of the rank that wrote it
    place: int = 0  # of the rollout in its shard
    here: Rollout | None = field(default=None, compare=False, repr=False)  # the rollout, on that rank alone

    @classmethod
    def of(cls, rollout: Rollout, rank: int = 0) -> "Row":
        """The row of a rollout that this rank has."""
        measures = rollout.measure()
        return cls(
            index=rollout.index,
            group=rollout.group,
            step=rollout.step,
            prompt_id=rollout.prompt.id,
            domain=rollout.prompt.domain,
            prompt_key=_key(rollout.prompt_ids),
            num_prompt_tokens=len(rollout.prompt_ids),
            num_completion_tokens=len(rollout.completion_ids),
            is_truncated=rollout.is_truncated,
            reward=rollout.reward,
            reward_parts=rollout.reward_parts,
            grader_error=rollout.grader_error,
            level=measures.level,
            language=measures.language,
            words=measures.words,
            has_old_logprobs=rollout.old_logprobs is not None,
            oldest_version=None if rollout.version is None else int(rollout.version.min()),
            mean_version=None if rollout.version is None else float(rollout.version.mean()),
            rank=rank,
            here=rollout,
        )

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and the completion."""
        return self.num_prompt_tokens + self.num_completion_tokens

    @property
    def has_version(self) -> bool:
        """Whether the sampler said which weights drew each token."""
        return self.oldest_version is not None

    def __getstate__(self) -> dict[str, Any]:
        """A row travels without its rollout."""
        return {**vars(self), "here": None}


Bring = Callable[[list[Row]], list[Row]]  # gives rows with their rollouts, texts too, on every rank


def _key(prompt_ids: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(prompt_ids.tobytes(), digest_size=6).digest())


def gather(rollouts: Sequence[Rollout], rank: int) -> list[Row]:
    """Tells every rank the rows of the rollouts of all ranks, in order of their group. Collective."""
    own = [Row.of(rollout, rank) for rollout in rollouts]
    mine = iter(own)  # the others' rows come without their rollouts
    rows = [next(mine) if row.rank == rank else row for row in gather_objects(own)]
    return sorted(rows, key=lambda row: row.group)  # stable: completions of a group keep their order


def bring(rows: list[Row], text_of: Callable[[np.ndarray], str]) -> list[Row]:
    """Brings a few whole rollouts, prompts and texts too, to every rank. Collective.

    Args:
        rows: the same on every rank.
        text_of: the completion that token ids are; the log keeps no texts.

    Returns:
        Copies of the rows, each with its rollout.
    """
    mine = []
    for place, row in enumerate(rows):
        if row.here is not None:
            if not row.here.completion:
                row.here.completion = text_of(row.here.completion_ids)
            mine.append((place, row.here))
    found = dict(gather_objects(mine))
    return [replace(row, here=found[place]) for place, row in enumerate(rows)]
