"""Texts as hashes, and what is found by them: exact and near duplicates, and prompts of evaluation sets."""

import numpy as np
import pytest

from stages.config import MixtureSource
from stages.data.preparing.contamination import EvaluationGrams
from stages.data.preparing.duplicates import bands, exact_duplicates, near_duplicates
from stages.data.preparing.text_hashes import exact_hash, hashes_of, is_word, ngrams, signatures, tokens_of
from tests.support.data_rows import sentence, write_lines


def test_tokens_keep_signs_and_tell_scripts_apart():
    assert tokens_of("If x+2=5, 求x") == ["if", "x", "+", "2", "=", "5", ",", "求", "x"]
    assert list(filter(is_word, tokens_of("a-b, 求!"))) == ["a", "b", "求"]


def test_ngrams_are_those_of_each_text_alone():
    texts = [list("abcde"), [], list("ab"), list("bcd"), list("cde")]
    grams, offsets = ngrams(*hashes_of(texts), 3)
    sets = [grams[offsets[place] : offsets[place + 1]].tolist() for place in range(len(texts))]
    assert [len(found) for found in sets] == [3, 0, 1, 1, 1]  # a short text is one gram, an empty one none
    assert sets[3][0] == sets[0][1] and sets[4][0] == sets[0][2] and len({*sets[0], *sets[2]}) == 4


def test_the_hash_of_a_text_ignores_case_and_white_space():
    assert exact_hash("What  is\n3+4?") == exact_hash("what is 3+4?") != exact_hash("what is 3-4?")


def test_signatures_estimate_the_share_of_common_shingles():
    one = [f"t{number}" for number in range(204)]
    other = one[:100] + [f"u{number}" for number in range(104)]  # 96 of the 5-grams are common, of 200 + 200 - 96
    first, second = signatures(*hashes_of([one, other]), 5)
    assert abs((first == second).mean() - 96 / 304) < 0.12
    assert (signatures(*hashes_of([one]), 5)[0] == first).all()


def test_exact_duplicates_name_the_first():
    hashes = np.frombuffer(b"".join(map(exact_hash, ["a", "b", "A", "c", "b", "a"])), "V16")
    assert exact_duplicates(hashes).tolist() == [0, 1, 0, 3, 1, 0]
    assert exact_duplicates(np.zeros(0, "V16")).tolist() == []


def test_bands_for_a_threshold():
    for threshold in (0.5, 0.7, 0.8, 0.9):
        count, size = bands(threshold)
        assert 1 - (1 - threshold**size) ** count >= 0.9 and count * size <= 128
    assert bands(1.0) == (1, 128)


def test_near_duplicates_are_found_and_others_are_left(tmp_path):
    """200 texts, of 50 a copy with one word of 80 changed (similarity 0.88), of 50 one with 15 changed (0.2 or so)."""
    texts = [sentence(number, 80).split() for number in range(200)]
    near, far = [], []
    for number in range(50):
        changed = list(texts[number])
        changed[40] = "another"
        near.append(changed)
        changed = list(texts[50 + number])
        changed[::5] = ["another"] * 16
        far.append(changed)
    everything = texts + near + far
    signatures(*hashes_of(everything), 5).tofile(tmp_path / "near")
    first = near_duplicates(tmp_path / "near", 300, 0.8, np.ones(300, bool))
    found = np.flatnonzero(first != np.arange(300))
    assert (first[found] == found - 200).all() and not set(found) - set(range(200, 250))
    assert len(found) >= 45  # the estimate of 128 entries has a standard error of 0.03


def test_near_duplicates_of_near_duplicates_name_the_first_of_all(tmp_path):
    texts = [sentence(1, 100).split()]
    for place in (50, 60, 70, 80):
        changed = list(texts[-1])
        changed[place] = f"other{place}"
        texts.append(changed)
    signatures(*hashes_of(texts), 5).tofile(tmp_path / "near")
    assert near_duplicates(tmp_path / "near", 5, 0.8, np.ones(5, bool)).tolist() == [0] * 5
    alive = np.array([False, True, True, True, True])
    assert near_duplicates(tmp_path / "near", 5, 0.8, alive).tolist() == [0, 1, 1, 1, 1]


def test_ten_words_in_a_row_are_contamination(tmp_path):
    held_out = sentence(7, 30).split()
    path = write_lines(tmp_path / "held.jsonl", [{"problem": " ".join(held_out)}, {"problem": "How many primes?"}])
    grams = EvaluationGrams({"held": MixtureSource(path=path, prompt_column="problem")}, 10)
    rows = [
        " ".join([*sentence(8, 9).split(), *held_out[5:15], "end"]),
        " ".join([*sentence(9, 9).split(), *held_out[5:14], "end"]),
        ", ".join(held_out).upper(),
        "how many primes!",
        "How many primes are there?",
        "",
    ]
    found = grams.contaminated(hashes_of([list(filter(is_word, tokens_of(row))) for row in rows]))
    assert found.tolist() == [True, False, True, True, False, False] and grams.num_prompts == {"held": 2}


def test_an_evaluation_set_without_prompts_is_an_error(tmp_path):
    with pytest.raises(
        ValueError,
        match="prepare.against.held.path=.*no prompts in column prompt; name it with "
        "prepare.against.held.prompt_column",
    ):
        EvaluationGrams({"held": MixtureSource(path=write_lines(tmp_path / "held.jsonl", [{"problem": "x"}]))}, 10)
