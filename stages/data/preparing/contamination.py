"""Finds prompts that share n consecutive words with a prompt of an evaluation set, 10 words in the paper [V2 D.1].

An evaluation prompt of fewer than n words is looked for as a whole, in texts of any length. It has to say enough for
that, and the expression must not go on after it: "Compute 3+5" is not in "Compute 3+5*2". Of scripts without spaces a
character is a part of a word, so that ten Chinese characters in common are no contamination yet.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from stages.config import SourceConfig
from stages.data.malformed import Malformed
from stages.data.mapping import Row
from stages.data.preparing.problem_tokens import WORD_WEIGHT, goes_on, is_telling, problem_tokens, weights_of
from stages.data.preparing.text_hashes import hashes_of, windows
from stages.data.rows import rows_of

BATCH = 4096
SHOWN = 5  # unreadable rows that an error names


class EvaluationGrams:
    """What is looked for: the runs of n words of evaluation prompts, and shorter prompts as a whole.

    Attributes:
        n: number of words.
        num_prompts: number of prompts of each set, by its name.
        grams: sorted hashes of the runs of n words, uint64.
        short: for each number of tokens of short prompts: their sorted hashes, uint64.
        telling: of them the hashes of those that are looked for inside of longer texts too.
    """

    def __init__(self, sets: Mapping[str, SourceConfig], n: int, skips_unread: bool = False):
        """Reads the sets; raises ValueError as `prompts_of` does."""
        self.n = n
        self.num_prompts: dict[str, int] = {}
        found = [np.zeros(0, np.uint64)]
        short: dict[int, set[int]] = {}
        self.telling: set[int] = set()
        for name, source in sets.items():
            prompts = prompts_of(name, source, skips_unread)
            self.num_prompts[name] = len(prompts)
            for start in range(0, len(prompts), BATCH):
                found.append(self._add(prompts[start : start + BATCH], short))
        self.grams = np.unique(np.concatenate(found))
        self.short = {length: np.array(sorted(hashes), np.uint64) for length, hashes in sorted(short.items())}

    def contaminated(self, texts: list[str]) -> np.ndarray:
        """Returns whether each text shares n words in a row with an evaluation prompt, or holds a short one."""
        tokens = [problem_tokens(text) for text in texts]
        flat, offsets = hashes_of(tokens)
        text_of = np.repeat(np.arange(len(texts)), np.diff(offsets))
        hashes, starts, _ = self._runs(tokens, flat, offsets)
        is_contaminated = np.zeros(len(texts), bool)
        is_contaminated[text_of[starts[_among(hashes, self.grams)]]] = True
        ones = np.ones(len(flat), np.int64)
        for length, wanted in self.short.items():
            hashes, starts, _ = windows(flat, offsets, ones, length)
            for place in np.flatnonzero(_among(hashes, wanted)):
                text = int(text_of[starts[place]])
                if not is_contaminated[text]:
                    start = int(starts[place] - offsets[text])
                    is_contaminated[text] = self._holds(tokens[text], start, length, int(hashes[place]))
        return is_contaminated

    def _holds(self, tokens: list[str], start: int, length: int, found: int) -> bool:
        """Returns whether a text holds a short prompt whose words stand at `start`: it is nothing else, or tells."""
        if length == len(tokens):
            return True
        end = start + length
        return found in self.telling and not (end < len(tokens) and goes_on(tokens[end]))

    def _add(self, prompts: list[str], short: dict[int, set[int]]) -> np.ndarray:
        """Adds the short ones of some prompts to `short`, and returns the hashes of the other ones' runs."""
        tokens = [problem_tokens(prompt) for prompt in prompts]
        flat, offsets = hashes_of(tokens)
        for place, words in enumerate(tokens):
            if 0 < sum(weights_of(words)) < self.n * WORD_WEIGHT:
                mine = flat[offsets[place] : offsets[place + 1]]
                whole = int(windows(mine, np.array([0, len(mine)]), np.ones(len(mine), np.int64), len(mine))[0][0])
                short.setdefault(len(mine), set()).add(whole)
                if is_telling(words):
                    self.telling.add(whole)
        return self._runs(tokens, flat, offsets)[0]

    def _runs(
        self, tokens: list[list[str]], flat: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the runs of n words, as `windows` does."""
        weights = np.fromiter((weight for words in tokens for weight in weights_of(words)), np.int64, len(flat))
        return windows(flat, offsets, weights, self.n * WORD_WEIGHT)


def _among(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns whether each hash is one of the sorted `wanted`."""
    if not len(wanted):
        return np.zeros(len(hashes), bool)
    return wanted[np.searchsorted(wanted, hashes).clip(max=len(wanted) - 1)] == hashes


def prompts_of(name: str, source: SourceConfig, skips_unread: bool = False) -> list[str]:
    """Returns the prompts of an evaluation set, whose answers are not read.

    Raises:
        ValueError: There are none, or some cannot be read: those would stay in the training data.
    """
    asked = dataclasses.replace(source, domain="helpful", domain_column=None, rows="prompts")
    rows = list(rows_of(asked, f"prepare.against.{name}"))
    prompts = [row.prompt for row in rows if isinstance(row, Row)]
    unread = [row for row in rows if isinstance(row, Malformed) and row.is_fatal]
    if not prompts:
        raise ValueError(
            f"prepare.against.{name}.path={source.path}: no prompts in column "
            f"{source.messages_column or source.prompt_column}; "
            f"name it with prepare.against.{name}.prompt_column"
        )
    if unread and not skips_unread:
        first = "; ".join(f"{row.where}: {row.detail}" for row in unread[:SHOWN])
        raise ValueError(
            f"prepare.against.{name}: {len(unread)} of {len(rows)} rows cannot be read, so nothing keeps them out of "
            f"the training data: {first}; mend them, or leave such rows out everywhere with data.malformed=skip"
        )
    return prompts
