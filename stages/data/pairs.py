"""Supplies rows from outside that hold completions: SFT pairs, preference pairs, safety labels.

Held-out prompts (`split.py`) are never among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stages.config import DataConfig
from stages.data.file_prompts import Draws, source_key, to_prompt, weights_of
from stages.data.mapping import Row
from stages.data.rows import Tally, rows_of
from stages.data.split import held_out, prompt_hash
from stages.prompting.prompt import Prompt


@dataclass(frozen=True)
class PreferencePair:
    """Two completions of a prompt, one of which is preferred."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True)
class SafetyLabel:
    """A completion that is labelled safe or unsafe."""

    prompt: Prompt
    completion: str
    is_safe: bool


def general_pairs(config: DataConfig, count: int, seed: int, stream: str) -> list[tuple[Prompt, str]]:
    """Draws pairs of the helpful and safety domains from the sources with rows=sft, by their weights.

    `rejection_data` adds them to its reasoning samples [V2 B.3.3], as the tiny world's `general_sft_pairs`.

    Args:
        config: the data configuration.
        count: number of pairs.
        seed: seed of the run.
        stream: the stage's name.

    Returns:
        (prompt, completion) pairs.

    Raises:
        ValueError: no source has such pairs, or rows cannot be used.
    """
    found: dict[str, list[tuple[Prompt, str]]] = {}
    for name, pairs in sft_pairs(config).items():
        general = [pair for pair in pairs if pair[0].domain != "reasoning"]
        if general:
            found[name] = general
    if not found:
        raise ValueError(
            "num_general asks for general pairs, but no source of the data has rows=sft and domain=helpful or "
            "safety: add one, or set num_general=0"
        )
    draws = Draws(found, weights_of(config), f"{seed}/{stream}/general")
    return [draws.draw(index) for index in range(count)]


def sft_pairs(config: DataConfig) -> dict[str, list[tuple[Prompt, str]]]:
    """Returns the (prompt, completion) pairs of each source with rows=sft, by the source's name."""
    return {
        name: [(to_prompt(row, name, "train"), row.completion) for row in rows]
        for name, rows in _training_rows(config, "sft")
    }


def preference_pairs(config: DataConfig) -> list[PreferencePair]:
    """Returns all pairs of the sources with rows=preferences, in order; reward models hold out pairs themselves."""
    return [
        PreferencePair(to_prompt(row, name, "train"), row.chosen, row.rejected)
        for name, rows in _training_rows(config, "preferences")
        for row in rows
    ]


def safety_labels(config: DataConfig) -> list[SafetyLabel]:
    """Returns all labelled completions of the sources with rows=labels, in order."""
    return [
        SafetyLabel(to_prompt(row, name, "train"), row.completion, bool(row.is_safe))
        for name, rows in _training_rows(config, "labels")
        for row in rows
    ]


def _training_rows(config: DataConfig, kind: str) -> Iterator[tuple[str, list[Row]]]:
    """Yields (name, its rows that are not held out) of each source with rows of a type."""
    for name, source in config.all_sources.items():
        if source.rows != kind:
            continue
        tally = Tally()
        rows = tally.usable(rows_of(source, source_key(config, name)))
        tally.check(source_key(config, name), source.path, config.malformed)
        chosen = (
            held_out([{prompt_hash(row.prompt) for row in rows}], config.eval_fraction)
            if source.domain != "reasoning" or source.domain_column
            else set()
        )
        yield name, [row for row in rows if prompt_hash(row.prompt) not in chosen]
