"""The normal form in which texts are compared: what looks the same is the same, and what differs stays different."""

import unicodedata

import pytest

from stages.data.preparing.text_hashes import exact_hash, tokens_of
from stages.data.split import prompt_hash
from stages.text.normal_form import normal_form

PROBLEM = 'Le café coûte 12 - 5 euros. "Combien" pour 3? C\'est déjà payé.'


@pytest.mark.parametrize(
    "variant",
    [
        unicodedata.normalize("NFD", PROBLEM),
        PROBLEM.upper(),
        PROBLEM.replace(" ", "\u00a0"),
        PROBLEM.replace(" ", "\u3000"),
        PROBLEM.replace(" ", " \r\n\t"),
        PROBLEM.replace(" ", "\u2028"),
        PROBLEM.replace("1", "１").replace("5", "５"),
        PROBLEM.replace("12", "١٢"),
        PROBLEM.replace("12", "𝟏𝟐"),
        PROBLEM.replace("o", "ｏ"),
        PROBLEM.replace("-", "\u2212"),
        PROBLEM.replace("-", "\u2013"),
        PROBLEM.replace("-", "\u2014"),
        PROBLEM.replace('"Combien"', "\u201cCombien\u201d"),
        PROBLEM.replace('"Combien"', "\u00abCombien\u00bb"),
        PROBLEM.replace('"Combien"', "\u201eCombien\u201c"),
        PROBLEM.replace("'", "\u2019"),
        PROBLEM.replace("'", "\u02bc"),
        "\ufeff" + PROBLEM,
        PROBLEM.replace("Combien", "Com\u00adbien"),
        *(PROBLEM.replace("e", f"e{unseen}") for unseen in "\u200b\u200c\u200d\u2060\u200e\ufe0f\x00\x07\U000e0061"),
        "  " + PROBLEM + "\u180e ",
    ],
)
def test_what_looks_the_same_is_the_same(variant):
    assert variant != PROBLEM and normal_form(variant) == normal_form(PROBLEM)
    assert prompt_hash(variant) == prompt_hash(PROBLEM) and exact_hash(variant) == exact_hash(PROBLEM)
    assert tokens_of(variant) == tokens_of(PROBLEM)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10²", "102"),
        ("x₁₂", "x12"),
        ("x²", "x₂"),
        ("3½", "31/2"),
        ("3+5", "3-5"),
        ("3 5", "35"),
        ("2x", "2y"),
        ("café", "cafe"),
        ("计算3+5", "计算3-5"),
        ("a≤b", "a≥b"),
        ("3×5", "3÷5"),
        ("5~7", "5-7"),
    ],
)
def test_what_differs_stays_different(one, other):
    assert normal_form(one) != normal_form(other) and prompt_hash(one) != prompt_hash(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3½ and ½", "3 1/2 and 1/2"),
        ("x² + y₁", "x^2 + y_1"),
        ("ﬁve ① ℌ", "five 1 h"),
        ("Straße", "strasse"),
        ("ＡＢＣ\u3000\uff08１\uff0c２\uff09", "abc (1,2)"),
        ("ｶﾞ", "ガ"),
        ("مــثال ۴", "مثال 4"),
        ("ﻻ", "لا"),
        ("1…", "1..."),
        ("", ""),
    ],
)
def test_the_form_itself(text, expected):
    assert normal_form(text) == expected


def test_plain_ascii_keeps_its_side_of_the_split():
    """Held-out sets of ASCII prompts are those of older versions: 48 bits of the SHA-256 of the folded text."""
    import hashlib

    text = '  What is\n3+5?  It\'s "easy" -- I `think` ~ '
    old = int.from_bytes(hashlib.sha256(" ".join(text.split()).casefold().encode()).digest()[:6], "big")
    assert prompt_hash(text) == old


@pytest.mark.parametrize("plane", range(0, 0x110000, 0x10000))
def test_the_form_is_final_and_the_same_for_composed_and_decomposed_texts(plane):
    for code in range(plane, min(plane + 0x10000, 0x30000)):
        if not 0xD800 <= code < 0xE000:
            text = f"a{chr(code)}b"
            form = normal_form(text)
            assert normal_form(form) == form, hex(code)
            assert normal_form(unicodedata.normalize("NFD", text)) == form, hex(code)


def test_half_of_a_surrogate_pair_is_hashed_too():
    assert prompt_hash("a\ud800") != prompt_hash("a\ud801") and exact_hash("a\ud800") != exact_hash("a")
