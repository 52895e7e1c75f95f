"""What emerges in training, as the paper shows it.

Words of reflection [V2 C.2, Fig. 9], accuracy and thinking by difficulty [V2 C.1, Fig. 8; E.4], and where each word
first appears, with the completion around it.
"""

from pathlib import Path

from stages.contract import files
from stages.text.reflection import ENGLISH, places
from stages.training.rollouts import Bring, Row

AROUND = 160  # characters before and after a first appearance
MAX_LEVELS = 12  # difficulties that are logged
FIRSTS = "first_words.jsonl"


def word_metrics(rollouts: list[Row]) -> dict[str, float]:
    """How often reasoning completions reflect; empty where there are none.

    Returns:
        words/<word>: how often they say it, English and Chinese together, for each 1,000 of their tokens;
        completion/reflections: all of these words in one completion, on average;
        completion/reflection_rate: the share of completions with any.
    """
    reasoning = [row for row in rollouts if row.domain == "reasoning"]
    tokens = sum(row.num_completion_tokens for row in reasoning)
    if not tokens:
        return {}
    counts = [row.words for row in reasoning]
    return {
        "completion/reflection_rate": sum(map(bool, counts)) / len(counts),
        "completion/reflections": sum(sum(count.values()) for count in counts) / len(counts),
        **{f"words/{word}": 1000 * sum(count.get(word, 0) for count in counts) / tokens for word in ENGLISH},
    }


def level_metrics(rollouts: list[Row]) -> dict[str, float]:
    """level/<difficulty>/{accuracy,tokens,samples} of the reasoning completions whose prompts have a difficulty.

    Empty where there are more than MAX_LEVELS difficulties: too many to be a scale.
    """
    groups: dict[str, list[Row]] = {}
    for row in rollouts:
        if row.level:
            groups.setdefault(row.level, []).append(row)
    if len(groups) > MAX_LEVELS:
        return {}
    metrics: dict[str, float] = {}
    for level, some in sorted(groups.items()):
        metrics |= {
            f"level/{level}/accuracy": sum(r.reward_parts.get("accuracy", 0.0) for r in some) / len(some),
            f"level/{level}/tokens": sum(r.num_completion_tokens for r in some) / len(some),
            f"level/{level}/samples": len(some),
        }
    return metrics


class FirstWords:
    """first_words.jsonl: one line for each word of reflection, where it first appeared.

    Rank 0 writes it; a resume cuts it back with the other logs.
    """

    def __init__(self, directory: Path, is_writer: bool = True):
        self.path, self.is_writer = directory / FIRSTS, is_writer
        self.seen = {row["word"] for row in files.read_jsonl(self.path)}

    def look(self, step: int, rollouts: list[Row], bring: Bring = list) -> None:
        """Writes the words that these completions, sampled for `step`, say for the first time. Collective."""
        firsts: list[tuple[str, Row]] = []
        for row in rollouts:
            for word in row.words if row.domain == "reasoning" else ():
                if word not in self.seen:
                    self.seen.add(word)
                    firsts.append((word, row))
        if firsts:
            brought = bring([row for _, row in firsts])
            lines = [appearance(step, word, row) for (word, _), row in zip(firsts, brought)]
            if self.is_writer:
                files.append_jsonl(self.path, lines)


def appearance(step: int, word: str, row: Row) -> dict:
    """A line of first_words.jsonl: where the completion says the word, with AROUND characters on both sides.

    Args:
        step: the optimizer step that the completion was sampled for, counted from 1.
        word: the English word of the family, one that the completion says in English or Chinese.
        row: of the completion, with its rollout.
    """
    assert row.here is not None
    text, prompt = row.here.completion, row.here.prompt
    start, end = next((start, end) for name, start, end in places(text) if name == word)
    return {
        "step": step,
        "word": word,
        "prompt_id": row.prompt_id,
        "prompt": prompt.text,
        "correct": row.reward_parts.get("accuracy", 0.0) == 1,
        "before": text[max(0, start - AROUND) : start],
        "found": text[start:end],
        "after": text[end : end + AROUND],
    }
