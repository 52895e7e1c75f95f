"""Rows from outside that hold completions: SFT pairs, preference pairs, safety labels. Held-out prompts (split.py) are
never among them.

`general_pairs` has the form of the tiny world's `general_sft_pairs`: what `rejection_data` adds to its reasoning
samples [V2 B.3.3].
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stages.config import DataConfig
from stages.data.file_prompts import Draws, source_key, to_prompt
from stages.data.mapping import Row
from stages.data.rows import Tally, rows_of
from stages.data.split import held_out, prompt_hash
from stages.prompting.prompt import Prompt


@dataclass(frozen=True)
class PreferencePair:
    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True)
class SafetyLabel:
    prompt: Prompt
    completion: str
    is_safe: bool


def general_pairs(config: DataConfig, count: int, seed: int, stream: str) -> list[tuple[Prompt, str]]:
    """`count` (prompt, completion) pairs of the helpful and safety domains, drawn from the sources with rows=sft by
    their weights.
    """
    found = {
        name: general
        for name, pairs in sft_pairs(config).items()
        if (general := [pair for pair in pairs if pair[0].domain != "reasoning"])
    }
    if not found:
        raise ValueError(
            "num_general asks for general pairs, but no source of the data has rows=sft and domain=helpful or "
            "safety: add one, or set num_general=0"
        )
    draws = Draws(
        found,
        {name: getattr(source, "weight", 1.0) for name, source in config.all_sources.items()},
        f"{seed}/{stream}/general",
    )
    return [draws.draw(index) for index in range(count)]


def sft_pairs(config: DataConfig) -> dict[str, list[tuple[Prompt, str]]]:
    """Source -> its (prompt, completion) pairs, of the sources with rows=sft."""
    return {
        name: [(to_prompt(row, name, "train"), row.completion) for row in rows]
        for name, rows in _training_rows(config, "sft")
    }


def preference_pairs(config: DataConfig) -> list[PreferencePair]:
    """All pairs of the sources with rows=preferences, in their order. Reward models hold out by prompt themselves."""
    return [
        PreferencePair(to_prompt(row, name, "train"), row.chosen, row.rejected)
        for name, rows in _training_rows(config, "preferences")
        for row in rows
    ]


def safety_labels(config: DataConfig) -> list[SafetyLabel]:
    """All labelled completions of the sources with rows=labels, in their order."""
    return [
        SafetyLabel(to_prompt(row, name, "train"), row.completion, bool(row.is_safe))
        for name, rows in _training_rows(config, "labels")
        for row in rows
    ]


def _training_rows(config: DataConfig, kind: str) -> Iterator[tuple[str, list[Row]]]:
    for name, source in config.all_sources.items():
        if source.rows != kind:
            continue
        tally = Tally()
        rows = [item for item in rows_of(source, source_key(config, name)) if tally.add(item)]
        tally.check(source_key(config, name), source.path, config.malformed)
        chosen = (
            held_out([{prompt_hash(row.prompt) for row in rows}], config.eval_fraction)
            if source.domain != "reasoning" or source.domain_column
            else set()
        )
        yield name, [row for row in rows if prompt_hash(row.prompt) not in chosen]
