"""What emerges in training, as the paper shows it.

Words of reflection [V2 C.2, Fig. 9], accuracy and thinking by difficulty [V2 C.1, Fig. 8; E.4], and where each word
first appears, with the completion around it.
"""

import re
from pathlib import Path

from stages.contract import files
from stages.prompting.prompt import Prompt
from stages.text.reflection import ENGLISH, count_words, places
from stages.training.rollouts import Rollout

AROUND = 160  # characters before and after a first appearance
MAX_LEVELS = 12  # difficulties that are logged
FIRSTS = "first_words.jsonl"
_OPERATION = re.compile(r"(?<=\d)[+*-](?=\d)")


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


def word_metrics(rollouts: list[Rollout]) -> dict[str, float]:
    """How often reasoning completions reflect; empty where there are none.

    Returns:
        words/<word>: how often they say it, English and Chinese together, for each 1,000 of their tokens;
        completion/reflections: all of these words in one completion, on average;
        completion/reflection_rate: the share of completions with any.
    """
    reasoning = [rollout for rollout in rollouts if rollout.prompt.domain == "reasoning"]
    tokens = sum(len(rollout.completion_ids) for rollout in reasoning)
    if not tokens:
        return {}
    counts = [count_words(rollout.completion) for rollout in reasoning]
    return {
        "completion/reflection_rate": sum(map(bool, counts)) / len(counts),
        "completion/reflections": sum(count.total() for count in counts) / len(counts),
        **{f"words/{word}": 1000 * sum(count[word] for count in counts) / tokens for word in ENGLISH},
    }


def level_metrics(rollouts: list[Rollout]) -> dict[str, float]:
    """level/<difficulty>/{accuracy,tokens,samples} of the reasoning completions whose prompts have a difficulty.

    Empty where there are more than MAX_LEVELS difficulties: too many to be a scale.
    """
    groups: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        level = level_of(rollout.prompt)
        if level:
            groups.setdefault(level, []).append(rollout)
    if len(groups) > MAX_LEVELS:
        return {}
    metrics: dict[str, float] = {}
    for level, some in sorted(groups.items()):
        metrics |= {
            f"level/{level}/accuracy": sum(r.reward_parts.get("accuracy", 0.0) for r in some) / len(some),
            f"level/{level}/tokens": sum(len(r.completion_ids) for r in some) / len(some),
            f"level/{level}/samples": len(some),
        }
    return metrics


class FirstWords:
    """first_words.jsonl: one line for each word of reflection, where it first appeared.

    Rank 0 writes it; a resume cuts it back with the other logs.
    """

    def __init__(self, directory: Path):
        self.path = directory / FIRSTS
        self.seen = {row["word"] for row in files.read_jsonl(self.path)}

    def look(self, step: int, rollouts: list[Rollout]) -> None:
        """Writes the words that these completions, sampled for `step`, say for the first time."""
        rows = []
        for rollout in rollouts:
            if rollout.prompt.domain == "reasoning" and len(self.seen) < len(ENGLISH):
                for word in count_words(rollout.completion):
                    if word not in self.seen:
                        self.seen.add(word)
                        rows.append(appearance(step, word, rollout))
        if rows:
            files.append_jsonl(self.path, rows)


def appearance(step: int, word: str, rollout: Rollout) -> dict:
    """A line of first_words.jsonl: where the completion says the word, with AROUND characters on both sides.

    Args:
        step: the optimizer step that the completion was sampled for, counted from 1.
        word: the English word of the family, one that the completion says in English or Chinese.
        rollout: the completion.
    """
    text = rollout.completion
    start, end = next((start, end) for name, start, end in places(text) if name == word)
    return {
        "step": step,
        "word": word,
        "prompt_id": rollout.prompt.id,
        "prompt": rollout.prompt.text,
        "correct": rollout.reward_parts.get("accuracy", 0.0) == 1,
        "before": text[max(0, start - AROUND) : start],
        "found": text[start:end],
        "after": text[end : end + AROUND],
    }
