"""Turns many texts at once into arrays of hashes: their words, n-grams and MinHash signatures."""

import hashlib
import re

import numpy as np

from stages.text.normal_form import encoded, normal_form

CJK = "\u3005\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
SYLLABIC = "\u0e00-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer: no spaces between words either
# Accents and vowel signs, which belong to the letter before them although they are no letters.
MARK = (
    r"(?:(?=[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    r"\u0900-\u0963\u0966-\u0dff\u0e00-\u109f\u1780-\u17d3])\W)"
)
UNSPACED = rf"(?:[{CJK}]|(?=[{SYLLABIC}])\w)"
WORD = rf"[^\W{CJK}{SYLLABIC}]+(?:{MARK}+[^\W{CJK}{SYLLABIC}]*)*"
# A character of a script without spaces, a word or number, or a sign: x+2 and x-2 are different texts.
_TOKEN = re.compile(rf"{UNSPACED}{MARK}*|{WORD}|[^\w\s]")
_ASCII_TOKEN = re.compile(r"\w+|[^\w\s]")  # the same for most texts, three times as fast
NUM_PERMUTATIONS = 128
SEED = 1  # of the permutations: the same texts have the same signatures in every run


def tokens_of(text: str) -> list[str]:
    """Splits the normal form of a text into words, numbers, signs, and characters of scripts without spaces.

    >>> tokens_of("What is 3+4?")
    ['what', 'is', '3', '+', '4', '?']
    """
    text = normal_form(text)
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


def is_word(token: str) -> bool:
    """Returns whether a token is a word, a number or a CJK character."""
    return token[0].isalnum()


def exact_hash(text: str) -> bytes:
    """Returns a hash of a text's normal form, 16 bytes."""
    return hashlib.blake2b(encoded(text), digest_size=16).digest()


def hashes_of(token_lists: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes the tokens of N texts.

    Returns:
        (hashes, offsets): the hashes of all tokens in one array, uint64; those of text i are
        hashes[offsets[i] : offsets[i + 1]], with offsets int64 [N + 1].
    """
    from rensa import RMinHash

    hashes = RMinHash.hash_token_sets(token_lists)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in hashes], dtype=np.int64)])
    return np.fromiter((value for row in hashes for value in row), np.uint64, int(offsets[-1])), offsets


def ngrams(flat: np.ndarray, offsets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes the n-grams of N texts.

    Args:
        flat: hashes of their tokens, as `hashes_of` returns them.
        offsets: their offsets, [N + 1].
        n: tokens of an n-gram.

    Returns:
        (hashes, offsets) of the n-grams. A text of fewer than n tokens has one n-gram of all its tokens, an empty text
        none.
    """
    multipliers = [pow(0x9E3779B97F4A7C15, n - place, 1 << 64) for place in range(n)]
    padded = np.concatenate([flat, np.zeros(n, np.uint64)])
    with np.errstate(over="ignore"):
        rolled = sum(
            (padded[place : place + len(flat)] * np.uint64(multipliers[place]) for place in range(n)),
            np.zeros(len(flat), np.uint64),
        )
    lengths = np.diff(offsets)
    counts = np.where(lengths >= n, lengths - n + 1, np.minimum(lengths, 1))
    starts = np.repeat(offsets[:-1], counts) + _ranges(counts)
    grams = rolled[starts]
    grams_offsets = np.concatenate([[0], np.cumsum(counts)])
    for row in np.flatnonzero((lengths > 0) & (lengths < n)):  # its window ran into the next text
        mine = flat[offsets[row] : offsets[row + 1]]
        with np.errstate(over="ignore"):
            grams[grams_offsets[row]] = sum(
                (value * np.uint64(multiplier) for value, multiplier in zip(mine, multipliers)), np.uint64(0)
            )
    return grams, grams_offsets


def windows(
    flat: np.ndarray, offsets: np.ndarray, weights: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes the shortest runs of tokens that weigh at least `least`, one from each token on that has such a run.

    Args:
        flat: hashes of the tokens of N texts, as `hashes_of` returns them.
        offsets: their offsets, [N + 1].
        weights: the weight of each token, at least 1, int64.
        least: the weight of a run.

    Returns:
        (hashes, starts, ends): equal runs have equal hashes wherever they stand; token numbers of their ends.
    """
    # A polynomial of the tokens: sums of h * M**-place let every run be taken out with one subtraction, and M**start
    # makes it independent of its place. M is odd, so it has an inverse modulo 2**64.
    multiplier = 0x9E3779B97F4A7C15
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(len(flat), multiplier, np.uint64)) if len(flat) else flat
        inverses = np.cumprod(np.full(len(flat), pow(multiplier, -1, 1 << 64), np.uint64)) if len(flat) else flat
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(flat * inverses)])
        weight_sums = np.concatenate([[0], np.cumsum(weights)])
        ends = np.searchsorted(weight_sums, weight_sums[:-1] + least)
        starts = np.flatnonzero(ends <= np.repeat(offsets[1:], np.diff(offsets)))
        ends = ends[starts]
        return (sums[ends] - sums[starts]) * powers[starts], starts, ends


def signatures(flat: np.ndarray, offsets: np.ndarray, shingle: int) -> np.ndarray:
    """Returns the MinHash signatures of N texts, uint32 [N, NUM_PERMUTATIONS].

    Args:
        flat: hashes of their tokens, as `hashes_of` returns them.
        offsets: their offsets, [N + 1].
        shingle: tokens of the n-grams whose sets are compared.
    """
    from rensa import RMinHash

    grams, grams_offsets = ngrams(flat, offsets, shingle)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        grams, grams_offsets.astype(np.uint64), NUM_PERMUTATIONS, SEED
    )
    return np.array(matrix.to_rows(), np.uint32).reshape(len(offsets) - 1, NUM_PERMUTATIONS)


def _ranges(counts: np.ndarray) -> np.ndarray:
    """Returns 0, 1, ..., counts[i] - 1 for each i, one after the other in one array."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
