"""Language, reflection, repetition and code in completions that SmolLM2-135M really wrote, each read by a person.

docs/language_check.md has the table of all that were read; these are kept. `words` are the reflection words that are
counted, `language` is the range of the share of English words, null where a text has no words.
"""

import json
from collections import Counter

import pytest

from stages.text.completion import thought_of
from stages.text.language import language_consistency
from stages.text.readability import has_code_block
from stages.text.reflection import count_words
from stages.text.repetition import repeated_ngram_share
from tests.support.paths import FIXTURES

ROWS = [json.loads(line) for line in (FIXTURES / "english_completions.jsonl").read_text(encoding="utf-8").splitlines()]
REPEATING = 0.2  # share of repeated 4-grams above which a person called these texts repetitive


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["completion"][:30])
def test_what_is_said_of_a_real_completion_is_what_a_person_said(row):
    thought = thought_of(row["completion"])
    share = language_consistency(thought, "en")
    if row["language"] is None:
        assert share is None
    else:
        assert share is not None and row["language"][0] <= share <= row["language"][1]
    assert count_words(row["completion"]) == Counter(row["words"])
    assert (repeated_ngram_share(row["completion"]) > REPEATING) == row["repeats"]
    assert has_code_block(thought) == row["code"]


def test_they_are_of_several_sources():
    assert len(ROWS) >= 40 and len({row["source"] for row in ROWS}) == 4
