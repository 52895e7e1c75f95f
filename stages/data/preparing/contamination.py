"""Finds prompts that share n consecutive words with a prompt of an evaluation set, 10 words in the paper [V2 D.1]."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from stages.config import SourceConfig
from stages.data.mapping import Row
from stages.data.preparing.text_hashes import hashes_of, is_word, ngrams, tokens_of
from stages.data.rows import rows_of

BATCH = 4096


class EvaluationGrams:
    """The n-grams of the prompts of evaluation sets; a prompt of fewer than n words counts as a whole.

    Attributes:
        n: number of words.
        num_prompts: number of prompts of each set, by its name.
        grams: sorted hashes of the n-grams, uint64.
    """

    def __init__(self, sets: Mapping[str, SourceConfig], n: int):
        """Reads the sets; raises ValueError where one has no prompts."""
        self.n = n
        self.num_prompts: dict[str, int] = {}
        found = [np.zeros(0, np.uint64)]
        for name, source in sets.items():
            prompts = prompts_of(name, source)
            self.num_prompts[name] = len(prompts)
            found += [self._grams(prompts[start : start + BATCH])[0] for start in range(0, len(prompts), BATCH)]
        self.grams = np.unique(np.concatenate(found))

    def contaminated(self, words: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Finds the texts that share an n-gram with an evaluation prompt.

        Args:
            words: the words of N texts, as `hashes_of` returns them.

        Returns:
            Whether each text shares one, bool [N].
        """
        grams, offsets = ngrams(*words, self.n)
        if not len(self.grams):
            return np.zeros(len(offsets) - 1, bool)
        places = np.searchsorted(self.grams, grams).clip(max=len(self.grams) - 1)
        hits = np.concatenate([[0], np.cumsum(self.grams[places] == grams)])
        return hits[offsets[1:]] > hits[offsets[:-1]]

    def _grams(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return ngrams(*hashes_of([list(filter(is_word, tokens_of(prompt))) for prompt in prompts]), self.n)


def prompts_of(name: str, source: SourceConfig) -> list[str]:
    """Returns the prompts of an evaluation set, whose answers are not read; raises ValueError where there are none."""
    asked = dataclasses.replace(source, domain="helpful", domain_column=None, rows="prompts")
    prompts = [row.prompt for row in rows_of(asked, f"prepare.against.{name}") if isinstance(row, Row)]
    if not prompts:
        raise ValueError(
            f"prepare.against.{name}.path={source.path}: no prompts in column "
            f"{source.messages_column or source.prompt_column}; "
            f"name it with prepare.against.{name}.prompt_column"
        )
    return prompts
