"""Texts as hashes, and what is found by them: exact and near duplicates."""

import numpy as np

from stages.data.preparing.duplicates import bands, exact_duplicates, near_duplicates
from stages.data.preparing.text_hashes import exact_hash, hashes_of, is_word, ngrams, signatures, tokens_of, windows
from tests.support.data_rows import sentence


def test_tokens_keep_signs_and_tell_scripts_apart():
    assert tokens_of("If x+2=5, 求x") == ["if", "x", "+", "2", "=", "5", ",", "求", "x"]
    assert list(filter(is_word, tokens_of("a-b, 求!"))) == ["a", "b", "求"]


def test_vowel_signs_belong_to_their_word():
    assert tokens_of("पहल\u0947 हम।") == ["पहल\u0947", "हम", "।"]
    assert len(tokens_of("ก\u0e48อน")) == 3  # Thai has no spaces: each letter, with its signs


def test_ngrams_are_those_of_each_text_alone():
    texts = [list("abcde"), [], list("ab"), list("bcd"), list("cde")]
    grams, offsets = ngrams(*hashes_of(texts), 3)
    sets = [grams[offsets[place] : offsets[place + 1]].tolist() for place in range(len(texts))]
    assert [len(found) for found in sets] == [3, 0, 1, 1, 1]  # a short text is one gram, an empty one none
    assert sets[3][0] == sets[0][1] and sets[4][0] == sets[0][2] and len({*sets[0], *sets[2]}) == 4


def test_the_hash_of_a_text_ignores_case_and_white_space():
    assert exact_hash("What  is\n3+4?") == exact_hash("what is 3+4?") != exact_hash("what is 3-4?")


def test_windows_are_the_same_wherever_they_stand():
    """Runs of weight 2 of "abcab" with b twice as heavy: ab, b, ca, ab, b."""
    texts = [list("abcab"), list("b"), [], list("ca")]
    flat, offsets = hashes_of(texts)
    hashes, starts, ends = windows(flat, offsets, np.array([1, 2, 1, 1, 2, 2, 1, 1]), 2)
    runs = ["".join(sum(texts, [])[start:end]) for start, end in zip(starts, ends)]
    assert runs == ["ab", "b", "ca", "ab", "b", "b", "ca"]
    assert [hashes[runs.index(run)] for run in runs] == hashes.tolist() and len(set(hashes.tolist())) == 3


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
