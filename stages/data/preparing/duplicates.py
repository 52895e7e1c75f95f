"""Finds duplicates: exact ones by their hash, near ones by MinHash and locality-sensitive hashing.

The bands of all signatures are sorted, one band after the other. Rows that are equal in a band are compared by the
share of equal signature entries, which estimates the Jaccard similarity of their 5-grams (Broder 1997). Signatures stay
on disk; memory grows by about 50 bytes a row.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.data.preparing.text_hashes import NUM_PERMUTATIONS

BLOCK_ROWS = 1 << 16


def exact_duplicates(hashes: np.ndarray) -> np.ndarray:
    """Returns for each row the first row with the same hash, which may be the row itself.

    Args:
        hashes: [N] of 16 bytes.

    Returns:
        Numbers of rows, int64 [N].
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, bool)
    first = np.empty(len(hashes), np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1] if len(ordered) else order
    return first


def near_duplicates(path: Path, num_rows: int, threshold: float, is_alive: np.ndarray) -> np.ndarray:
    """Returns for each row the first row of its group of near duplicates, which may be the row itself.

    Two rows are in one group where a chain of rows connects them whose neighbours are at least `threshold` similar.

    Args:
        path: file of the signatures, uint32 [num_rows, NUM_PERMUTATIONS].
        num_rows: number of rows.
        threshold: similarity from which rows are near duplicates, 0..1.
        is_alive: bool [num_rows]; other rows are not compared.

    Returns:
        Numbers of rows, int64 [num_rows].
    """
    first = np.arange(num_rows)
    if not num_rows:
        return first
    signatures = np.memmap(path, np.uint32, "r", shape=(num_rows, NUM_PERMUTATIONS))
    num_bands, num_rows_of_band = bands(threshold)
    for band in range(num_bands):
        keys = _band_keys(signatures, band * num_rows_of_band, num_rows_of_band)
        for pairs in _candidates(keys, is_alive):
            for start in range(0, len(pairs), BLOCK_ROWS // 4):
                some = pairs[start : start + BLOCK_ROWS // 4]
                is_near = (signatures[some[:, 0]] == signatures[some[:, 1]]).mean(1) >= threshold
                for one, other in some[is_near]:
                    _join(first, int(one), int(other))
    for row in range(num_rows):
        if first[row] != row:
            first[row] = first[first[row]]  # parents stand before their children
    return first


def bands(threshold: float) -> tuple[int, int]:
    """Returns (number of bands, entries of a band) for a similarity.

    The bands are the longest of which rows of this similarity share at least one with a probability of 0.9.

    >>> bands(0.8)
    (16, 8)
    """
    for size in range(NUM_PERMUTATIONS, 0, -1):
        count = NUM_PERMUTATIONS // size
        if 1 - (1 - threshold**size) ** count >= 0.9:
            return count, size
    return NUM_PERMUTATIONS, 1


def _band_keys(signatures: np.ndarray, start: int, size: int) -> np.ndarray:
    """Returns a 64-bit hash of each row's entries of a band, uint64 [N]; rows with equal keys are candidates."""
    keys = np.empty(len(signatures), np.uint64)
    with np.errstate(over="ignore"):
        for row in range(0, len(signatures), BLOCK_ROWS):
            block = signatures[row : row + BLOCK_ROWS, start : start + size].astype(np.uint64)
            key = np.zeros(len(block), np.uint64)
            for column in range(size):
                key = (key ^ block[:, column]) * np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(29)
            keys[row : row + BLOCK_ROWS] = key
    return keys


def _candidates(keys: np.ndarray, is_alive: np.ndarray) -> Iterator[np.ndarray]:
    """Yields pairs of rows with the same key, [K, 2]: each row with the first of its group, and with the one before."""
    rows = np.flatnonzero(is_alive)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    ordered = keys[rows]
    if len(rows) < 2:
        return
    is_start = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    group_first = rows[is_start][np.cumsum(is_start) - 1]
    inside = np.flatnonzero(~is_start)
    yield np.stack([group_first[inside], rows[inside]], 1)
    later = inside[group_first[inside] != rows[inside - 1]]
    yield np.stack([rows[later - 1], rows[later]], 1)


def _join(first: np.ndarray, one: int, other: int) -> None:
    """Joins the groups of two rows (union-find)."""
    one, other = _root(first, one), _root(first, other)
    first[max(one, other)] = min(one, other)


def _root(first: np.ndarray, row: int) -> int:
    while first[row] != row:
        first[row] = first[first[row]]
        row = int(first[row])
    return row
