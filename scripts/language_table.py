"""Measures the language-consistency reward over 20 languages and prints the table of docs/verifiers.md.

    python scripts/language_table.py [--texts tests/fixtures/languages/texts.jsonl]

For each language and kind of text it prints what the text earns for its own language, and the most that it earns for
any of the other 19. `mixed` is all four kinds in one text. `half` alternates its sentences with those of another
language (English; Chinese for English): what the text earns for its language, and the share of words that are in it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stages.text.language import count_words, language_consistency  # noqa: E402

TEXTS = ROOT / "tests" / "fixtures" / "languages" / "texts.jsonl"
KINDS = ("prose", "mathematics", "code", "short", "mixed")
_SENTENCE_END = re.compile(r"(?<=[.!?\u0964])\s+|(?<=[\u3002\uff01\uff1f])")


class Measured(NamedTuple):
    """What a text earns.

    Attributes:
        language: the language of the text.
        kind: one of KINDS.
        own: its share for its own language.
        other: the largest share for another language.
        most_like: the language that this is.
    """

    language: str
    kind: str
    own: float
    other: float
    most_like: str


class Half(NamedTuple):
    """What a text of two languages earns for the first one, and the share of its words that are in it."""

    language: str
    partner: str
    share: float
    expected: float


def read_texts(path: Path = TEXTS) -> dict[str, dict[str, str]]:
    """Returns language -> kind -> text, with the kind `mixed` added."""
    texts: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts.setdefault(row["language"], {})[row["kind"]] = row["text"]
    for kinds in texts.values():
        kinds["mixed"] = "\n".join(kinds.values())
    return texts


def measure(texts: dict[str, dict[str, str]]) -> Iterator[Measured]:
    """Measures each text for its own language and for the others."""
    for language, kinds in texts.items():
        for kind, text in kinds.items():
            others = {other: _share(text, other) for other in texts if other != language}
            most_like = max(others, key=lambda other: others[other])
            yield Measured(language, kind, _share(text, language), others[most_like], most_like)


def measure_halves(texts: dict[str, dict[str, str]]) -> Iterator[Half]:
    """Measures the prose of each language, alternating with another one's sentence by sentence."""
    for language in texts:
        partner = "en" if language != "en" else "zh"
        pieces = [_SENTENCE_END.split(texts[one]["prose"]) for one in (language, partner)]
        text = "\n".join(sentence for pair in zip(*pieces) for sentence in pair)
        mine, theirs = (sum(count_words("\n".join(sentences)).values()) for sentences in pieces)
        yield Half(language, partner, _share(text, language), mine / (mine + theirs))


def _share(text: str, language: str) -> float:
    share = language_consistency(text, language)
    assert share is not None
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, default=TEXTS)
    texts = read_texts(parser.parse_args().texts)
    rows = {(one.language, one.kind): one for one in measure(texts)}
    halves = {half.language: half for half in measure_halves(texts)}
    print(f"| language | {' | '.join(KINDS)} | half |")
    print("|---" * (len(KINDS) + 2) + "|")
    for language in texts:
        cells = [f"{rows[language, kind].own:.2f}, {rows[language, kind].other:.2f}" for kind in KINDS]
        half = halves[language]
        print(f"| {language} | {' | '.join(cells)} | {half.share:.2f} of {half.expected:.2f} |")
    lowest, highest = min(rows.values(), key=lambda one: one.own), max(rows.values(), key=lambda one: one.other)
    print(f"\nleast for the right language: {lowest.own:.2f} ({lowest.language}, {lowest.kind})")
    print(f"most for another one: {highest.other:.2f} ({highest.language} as {highest.most_like}, {highest.kind})")


if __name__ == "__main__":
    main()
