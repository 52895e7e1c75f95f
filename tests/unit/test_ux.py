"""docs/ux.md shows what typical mistakes print, as the program prints it."""

import pytest

from scripts import mistakes_table


@pytest.mark.slow  # composes a configuration for each mistake
def test_the_page_shows_what_mistakes_print():
    """After a wanted change: python scripts/mistakes_table.py, and read the difference."""
    text = mistakes_table.PAGE.read_text(encoding="utf-8")
    shown = text.partition(mistakes_table.BEGIN)[2].partition(mistakes_table.END)[0].strip()
    assert mistakes_table.table().strip() == shown


def test_no_mistake_speaks_in_the_words_of_a_library():
    text = mistakes_table.PAGE.read_text(encoding="utf-8")
    assert text.count("(exit code ") == len(mistakes_table.MISTAKES) >= 30
    for word in ("Hydra", "OmegaConf", "mismatched input", "no viable", "Traceback", "Key '"):
        assert word not in text.partition(mistakes_table.BEGIN)[2]
