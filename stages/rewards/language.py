"""The language-consistency reward: Num(words in the target language) / Num(words) of the chain of thought [N eq. 7]."""
import re

from stages.rewards.format import thought_of
from stages.rewards.sample import Sample

# What is no language: tags, code, LaTeX (formulas, then commands), links.
_NO_WORDS = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)|</?[A-Za-z_]+>|\\[A-Za-z]+|https?://\S+", re.DOTALL)
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+(?:['\u2019][A-Za-z]+)?")
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_ONE_LETTER_WORDS = ("a", "A", "I")     # other single letters are variables


def part(sample: Sample, weights) -> float:
    """0..1; 0 where there is no chain of thought in its tags, or no words in it."""
    return (sample.is_well_formed and language_consistency(thought_of(sample.completion), sample.prompt.language)) or 0.0


def count_words(text: str) -> dict[str, int]:
    """Words by language: runs of Latin letters for en, CJK characters for zh."""
    text = _NO_WORDS.sub(" ", text)
    latin = [word for word in _LATIN_WORD.findall(text) if len(word) > 1 or word in _ONE_LETTER_WORDS]
    return {"en": len(latin), "zh": len(_CJK.findall(text))}


def language_consistency(text: str, target: str) -> float | None:
    """Share of the words of a chain of thought in `target` ("en" or "zh"); None where there are no words."""
    counts = count_words(text)
    total = sum(counts.values())
    return counts[target] / total if total else None
