"""Rows from outside as prompts, drawn by number from one source or a mixture; the held-out ones in their order.

A draw is a pure function of (seed, stream, domain, index): blocks of BLOCK draws are shared out to the sources by their
weights, and each source walks through a new permutation of its rows every epoch.
"""

import random
from collections.abc import Iterator
from typing import Any

from stages.config import DataConfig, SourceConfig
from stages.data.mapping import DOMAINS, Malformed, Row
from stages.data.rows import Tally, rows_of
from stages.data.split import SPLITS, held_out, prompt_hash
from stages.prompting.prompt import Prompt

BLOCK = 1000  # draws; also the finest share that a weight can ask for
_MAX_SHOWN = 5


class FilePrompts:
    """The prompts of one split. `num_malformed` and `summary` say what was left out."""

    def __init__(self, config: DataConfig, split: str = "train", seed: int = 0, stream: str = ""):
        if split not in SPLITS:
            raise ValueError(f"a data file has the splits {' and '.join(SPLITS)}, got {split!r}")
        if not config.all_sources:
            raise ValueError(
                "data.path is not set but data.name=file: give a file or directory, as data.path=FILE, or sources, "
                "as data.sources.NAME.path=FILE"
            )
        self.config, self.split, self._key = config, split, f"{seed}/{stream}"
        prompts, tallies = _read(config, split)
        self.num_malformed = sum(sum(tally.reasons.values()) for tally in tallies.values())
        self.summary = "; ".join(f"{name}: {tally.summary()}" for name, tally in tallies.items() if tally.summary())
        self._draws = {
            domain: Draws(
                {
                    name: found
                    for name, all_of in prompts.items()
                    if (found := [p for p in all_of if p.domain == domain])
                },
                {name: getattr(source, "weight", 1.0) for name, source in config.all_sources.items()},
                f"{self._key}/{domain}",
            )
            for domain in DOMAINS
        }
        if not len(self):
            where = ", ".join(str(source.path) for source in config.all_sources.values())
            wish = ("smaller" if split == "train" else "larger") + " data.eval_fraction or more rows"
            raise ValueError(
                f"data.path={where}: no rows left for the {split} split with "
                f"data.eval_fraction={config.eval_fraction}; use a {wish}"
            )

    def __len__(self) -> int:
        return sum(draws.num_prompts for draws in self._draws.values())

    def count(self, domain: str = "reasoning") -> int:
        """How many different prompts of a domain there are."""
        return self._draws[domain].num_prompts

    def prompts(self, domain: str = "reasoning") -> dict[str, list[Prompt]]:
        """Source -> its prompts of a domain, in the order of the file."""
        return self._draws[domain].prompts

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        """The prompt of draw `index`; held-out prompts in their order, one source after the other."""
        domain = "safety" if domain == "safety_labels" else domain
        draws = self._draws[domain]
        if not draws.num_prompts:
            raise ValueError(
                f"data.path={', '.join(str(source.path) for source in self.config.all_sources.values())} holds no "
                f"{domain} prompts, but "
                f"{domain} prompts were asked for: set mix.{domain}=0, or add a source with domain={domain}"
            )
        return draws.in_order(index) if self.split == "test" else draws.draw(index)

    def check_lengths(self, tokenizer: Any, template: Any, max_tokens: int) -> None:
        """Raises if a templated prompt is longer than `max_tokens`. `template` maps the prompt's text to what the model
        sees.
        """
        too_long = [
            f"{prompt.id}: {length} tokens"
            for draws in self._draws.values()
            for prompts in draws.prompts.values()
            for prompt in prompts
            if (length := len(tokenizer(template(prompt.text))["input_ids"])) > max_tokens
        ]
        if too_long:
            more = f" ... and {len(too_long) - _MAX_SHOWN} more" if len(too_long) > _MAX_SHOWN else ""
            raise ValueError(
                f"data: {len(too_long)} prompts are longer than data.max_prompt_tokens={max_tokens}: "
                f"{'; '.join(too_long[:_MAX_SHOWN])}{more}. "
                "Raise data.max_prompt_tokens (and the model's context), drop these rows, "
                "or have `r1 data prepare` drop them "
                "(prepare.max_prompt)"
            )


class Draws:
    """The prompts of one domain, or other items, by source."""

    def __init__(self, prompts: dict[str, list], weights: dict[str, float], key: str):
        self.prompts, self._key = prompts, key
        self.num_prompts = sum(map(len, prompts.values()))
        self._shares = block_shares({name: weights[name] for name in prompts}) if prompts else {}
        self._order: dict[
            tuple, list
        ] = {}  # the latest permutation of each kind: neighbours in a walk need the same one

    def in_order(self, index: int) -> Any:
        index %= self.num_prompts
        for prompts in self.prompts.values():
            if index < len(prompts):
                return prompts[index]
            index -= len(prompts)
        raise AssertionError("an index below the number of prompts is in some source")

    def draw(self, index: int) -> Any:
        if len(self.prompts) == 1:
            (name,), place = self.prompts, index
        else:
            block, offset = divmod(index, BLOCK)
            order = self._permuted(
                "the block", block, lambda: [name for name, share in self._shares.items() for _ in range(share)]
            )
            name = order[offset]
            place = block * self._shares[name] + order[:offset].count(name)
        mine = self.prompts[name]
        epoch, position = divmod(place, len(mine))
        return mine[self._permuted(name, epoch, lambda: list(range(len(mine))))[position]]

    def _permuted(self, what: str, number: int, make) -> list:
        if self._order.get(what, (-1, []))[0] != number:
            order = make()
            random.Random(f"{self._key}/{what}/{number}").shuffle(order)
            self._order[what] = number, order
        return self._order[what][1]


def block_shares(weights: dict[str, float]) -> dict[str, int]:
    """How many of BLOCK draws each source gets: largest remainders, at least one each.

    >>> block_shares({"math": 2, "code": 1})
    {'math': 667, 'code': 333}
    """
    total = sum(weights.values())
    exact = {name: weight / total * BLOCK for name, weight in weights.items()}
    shares = {name: max(1, int(value)) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for place in range(max(0, BLOCK - sum(shares.values()))):
        shares[by_remainder[place % len(by_remainder)]] += 1
    while sum(shares.values()) > BLOCK:
        shares[max(shares, key=shares.get)] -= 1
    return shares


def serves_prompts(source: SourceConfig) -> bool:
    """Reasoning prompts need a reference; others can come from the prompts of pairs too."""
    return source.rows == "prompts" or source.domain != "reasoning" or source.domain_column is not None


def _read(config: DataConfig, split: str) -> tuple[dict[str, list[Prompt]], dict[str, Tally]]:
    """(source -> prompts of the split, source -> what was left out). Raises ValueError for rows that cannot be used."""
    rows: dict[str, list[Row]] = {}
    tallies = {name: Tally() for name in config.all_sources}
    for name, source in config.all_sources.items():
        if serves_prompts(source):
            key = source_key(config, name)
            rows[name] = [item for item in _distinct_ids(rows_of(source, key)) if tallies[name].add(item)]
            if not tallies[name].num_rows:
                raise ValueError(f"{key}.path={source.path} is empty: it needs at least one row")
            if source.rows != "prompts":
                rows[name] = list(
                    {prompt_hash(row.prompt): row for row in reversed(rows[name]) if row.domain != "reasoning"}.values()
                )[::-1]
    hashes = {name: [prompt_hash(row.prompt) for row in mine] for name, mine in rows.items()}
    chosen = held_out(map(set, hashes.values()), config.eval_fraction)
    prompts = {}
    for name, mine in rows.items():
        sides = ["test" if value in chosen else "train" for value in hashes[name]]
        all_of = [to_prompt(row, name, side) for row, side in zip(mine, sides)]
        _require_judge(all_of)
        bad = _unreadable(all_of, mine, tallies[name]) if config.all_sources[name].check_answers else set()
        tallies[name].check(source_key(config, name), config.all_sources[name].path, config.malformed)
        prompts[name] = [
            prompt for place, (prompt, side) in enumerate(zip(all_of, sides)) if side == split and place not in bad
        ]
    return prompts, tallies


def source_key(config: DataConfig, name: str) -> str:
    """The key of a source in the configuration."""
    return f"data.sources.{name}" if config.sources else "data"


def to_prompt(row: Row, name: str, split: str) -> Prompt:
    return Prompt(
        id=f"{name}-{split}-{row.id or f'{row.number:06d}'}",
        text=row.prompt,
        kind=row.kind or name,
        domain=row.domain,
        language=row.language,
        answer=row.answer,
        verifier=row.verifier,
        checks=row.checks,
    )


def _distinct_ids(items: Iterator[Row | Malformed]) -> Iterator[Row | Malformed]:
    """Draws are seeded by the prompt's id: an id that was there before is malformed."""
    seen: dict[str, str] = {}
    for item in items:
        if isinstance(item, Row) and item.id and item.id in seen:
            yield Malformed(item.where, "id not unique", f"the id {item.id!r} is that of {seen[item.id]} too")
        else:
            if isinstance(item, Row) and item.id:
                seen[item.id] = item.where
            yield item


def _require_judge(prompts: list[Prompt]) -> None:
    """Rows can name the verifier `judge` themselves. Raises InputError where the stage's judge is away, or not for such
    prompts: no fault of the rows.
    """
    from stages import judges

    asked = next((prompt for prompt in prompts if prompt.domain == "reasoning" and prompt.verifier == "judge"), None)
    if asked and judges.has_stage():
        judges.require_judge(asked)


def _unreadable(prompts: list[Prompt], rows: list[Row], tally: Tally) -> set[int]:
    """Places of the prompts whose reference their verifier cannot use, counted."""
    from stages.rewards.grading import reference_problem_many

    asked = [place for place, prompt in enumerate(prompts) if prompt.domain == "reasoning"]
    problems = {
        place: why for place, why in zip(asked, reference_problem_many([prompts[place] for place in asked])) if why
    }
    for place, why in problems.items():
        verifier = prompts[place].verifier
        tally.num_rows -= 1  # it was counted as a row
        tally.add(
            Malformed(rows[place].where, f"answer not read by {verifier}", f"{why} (it is read by verifier={verifier})")
        )
    return set(problems)
