"""Supplies rows from outside as prompts, drawn by number from one source or a mixture.

A draw is a pure function of (seed, stream, domain, index). Every block of BLOCK draws is shared out to the sources by
their weights, and every source goes through its rows in a new order each epoch. Held-out prompts come in their order.
"""

import random
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Generic, TypeVar

from stages.config import DataConfig, SourceConfig
from stages.data.malformed import Malformed
from stages.data.mapping import DOMAINS, Row
from stages.data.references import require_judge_of, unusable_references
from stages.data.rows import Tally, rows_of
from stages.data.split import SPLITS, held_out, prompt_hash
from stages.prompting.prompt import Prompt

BLOCK = 1000  # draws; 1 of them is the smallest share that a weight can ask for
_MAX_SHOWN = 5
_ENCODED_AT_ONCE = 1000  # prompts, so that memory does not grow with the file
T = TypeVar("T")


class FilePrompts:
    """Supplies the prompts of one split of a data configuration's sources.

    Attributes:
        num_malformed: number of rows that were left out.
        summary: a line for the log that says why rows were left out, or "".
    """

    def __init__(self, config: DataConfig, split: str = "train", seed: int = 0, stream: str = ""):
        """Reads all rows.

        Args:
            config: the sources.
            split: "train" or "test".
            seed: seed of the run.
            stream: the stage's name; stages draw different prompts.

        Raises:
            ValueError: there is nothing to read, rows cannot be used, or no row is left for the split.
            InputError: rows name the verifier `judge`, and the stage's judge cannot be asked.
        """
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
        weights = weights_of(config)
        self._draws: dict[str, Draws[Prompt]] = {}
        for domain in DOMAINS:
            in_domain: dict[str, list[Prompt]] = {}
            for name, all_of in prompts.items():
                if found := [prompt for prompt in all_of if prompt.domain == domain]:
                    in_domain[name] = found
            self._draws[domain] = Draws(in_domain, weights, f"{self._key}/{domain}")
        if not len(self):
            wish = ("smaller" if split == "train" else "larger") + " data.eval_fraction or more rows"
            raise ValueError(
                f"data.path={self._paths()}: no rows left for the {split} split with "
                f"data.eval_fraction={config.eval_fraction}; use a {wish}"
            )

    def __len__(self) -> int:
        return sum(draws.num_items for draws in self._draws.values())

    def _paths(self) -> str:
        return ", ".join(str(source.path) for source in self.config.all_sources.values())

    def count(self, domain: str = "reasoning") -> int:
        """Returns the number of different prompts of a domain."""
        return self._draws[domain].num_items

    def prompts(self, domain: str = "reasoning") -> dict[str, list[Prompt]]:
        """Returns the prompts of a domain by their source's name, in the order of the rows."""
        return self._draws[domain].items

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        """Returns the prompt of draw `index`; held-out prompts in their order, one source after the other.

        Raises ValueError where there are no prompts of the domain.
        """
        domain = "safety" if domain == "safety_labels" else domain
        draws = self._draws[domain]
        if not draws.num_items:
            raise ValueError(
                f"data.path={self._paths()} holds no {domain} prompts, but {domain} prompts were asked for: "
                f"set mix.{domain}=0, or add a source with domain={domain}"
            )
        return draws.in_order(index) if self.split == "test" else draws.draw(index)

    def check_lengths(self, encode: Callable[[list[Prompt]], list[list[int]]], max_tokens: int) -> None:
        """Raises ValueError if a prompt is longer than `max_tokens`.

        Args:
            encode: gives the token ids that the model is sent for each prompt.
            max_tokens: most tokens of a prompt.
        """
        too_long = []
        for draws in self._draws.values():
            prompts = list(chain.from_iterable(draws.items.values()))
            for start in range(0, len(prompts), _ENCODED_AT_ONCE):
                batch = prompts[start : start + _ENCODED_AT_ONCE]
                for prompt, ids in zip(batch, encode(batch)):
                    if len(ids) > max_tokens:
                        too_long.append(f"{prompt.id}: {len(ids)} tokens")
        if too_long:
            more = f" ... and {len(too_long) - _MAX_SHOWN} more" if len(too_long) > _MAX_SHOWN else ""
            raise ValueError(
                f"data: {len(too_long)} prompts are longer than data.max_prompt_tokens={max_tokens}: "
                f"{'; '.join(too_long[:_MAX_SHOWN])}{more}. "
                "Raise data.max_prompt_tokens (and the model's context), drop these rows, "
                "or have `r1 data prepare` drop them "
                "(prepare.max_prompt)"
            )


class Draws(Generic[T]):
    """Draws items of several sources by number: the prompts of one domain, or SFT pairs."""

    def __init__(self, items: dict[str, list[T]], weights: dict[str, float], key: str):
        """Prepares to draw.

        Args:
            items: the items of each source, by its name.
            weights: the weight of each source, by its name.
            key: makes the draws differ from those of other streams.
        """
        self.items, self._key = items, key
        self.num_items = sum(map(len, items.values()))
        self._shares = block_shares({name: weights[name] for name in items}) if items else {}
        # The latest order of each source and of the block, with its number: neighbouring draws need the same one.
        self._orders: dict[str, tuple[int, list]] = {}

    def in_order(self, index: int) -> T:
        """Returns item `index` of all sources one after the other, from the first again after the last."""
        index %= self.num_items
        for mine in self.items.values():
            if index < len(mine):
                return mine[index]
            index -= len(mine)
        raise AssertionError("an index below the number of items is in some source")

    def draw(self, index: int) -> T:
        """Returns the item of draw `index`."""
        if len(self.items) == 1:
            (name,), place = self.items, index
        else:
            block, offset = divmod(index, BLOCK)
            order = self._shuffled("the block", block, self._block)
            name = order[offset]
            place = block * self._shares[name] + order[:offset].count(name)
        mine = self.items[name]
        epoch, position = divmod(place, len(mine))
        return mine[self._shuffled(name, epoch, lambda: list(range(len(mine))))[position]]

    def _block(self) -> list[str]:
        """Returns the source of each draw of a block, before it is shuffled."""
        names = []
        for name, share in self._shares.items():
            names += [name] * share
        return names

    def _shuffled(self, what: str, number: int, make: Callable[[], list]) -> list:
        """Returns the list of `make`, shuffled for the number of a block or an epoch."""
        if what not in self._orders or self._orders[what][0] != number:
            order = make()
            random.Random(f"{self._key}/{what}/{number}").shuffle(order)
            self._orders[what] = number, order
        return self._orders[what][1]


def weights_of(config: DataConfig) -> dict[str, float]:
    """Returns the weight of each source, by its name; a source that is not part of a mixture has the weight 1."""
    return {name: getattr(source, "weight", 1.0) for name, source in config.all_sources.items()}


def block_shares(weights: dict[str, float]) -> dict[str, int]:
    """Returns how many of BLOCK draws each source gets, at least one each, by the method of largest remainders.

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
        shares[max(shares, key=lambda name: shares[name])] -= 1
    return shares


def serves_prompts(source: SourceConfig) -> bool:
    """Returns whether a source can supply prompts.

    Reasoning prompts need a reference, which pairs and labels lack; other prompts can be those of pairs and labels.
    """
    return source.rows == "prompts" or source.domain != "reasoning" or source.domain_column is not None


def _read(config: DataConfig, split: str) -> tuple[dict[str, list[Prompt]], dict[str, Tally]]:
    """Returns the prompts of the split and the tally of each source, by its name."""
    tallies = {name: Tally() for name in config.all_sources}
    rows: dict[str, list[Row]] = {}
    for name, source in config.all_sources.items():
        if serves_prompts(source):
            rows[name] = _rows_of_prompts(source, source_key(config, name), tallies[name])
    hashes = {name: [prompt_hash(row.prompt) for row in mine] for name, mine in rows.items()}
    chosen = held_out(map(set, hashes.values()), config.eval_fraction)
    prompts = {}
    for name, mine in rows.items():
        source = config.all_sources[name]
        sides = ["test" if value in chosen else "train" for value in hashes[name]]
        all_of = [to_prompt(row, name, side) for row, side in zip(mine, sides)]
        require_judge_of(all_of)
        unusable = count_unusable(all_of, mine, tallies[name]) if source.check_answers else set()
        tallies[name].check(source_key(config, name), source.path, config.malformed)
        prompts[name] = [
            prompt for place, (prompt, side) in enumerate(zip(all_of, sides)) if side == split and place not in unusable
        ]
    return prompts, tallies


def _rows_of_prompts(source: SourceConfig, key: str, tally: Tally) -> list[Row]:
    """Returns the rows of a source that are prompts; of pairs and labels the first row of each different prompt.

    Those are in the order in which their prompts occur for the last time; draws depend on it.
    """
    rows = tally.usable(distinct_ids(rows_of(source, key)))
    if not tally.num_rows:
        raise ValueError(f"{key}.path={source.path} is empty: it needs at least one row")
    if source.rows == "prompts":
        return rows
    first: dict[int, Row] = {}
    for row in reversed(rows):
        if row.domain != "reasoning":
            first[prompt_hash(row.prompt)] = row
    return list(reversed(first.values()))


def source_key(config: DataConfig, name: str) -> str:
    """Returns the key of a source in the configuration."""
    return f"data.sources.{name}" if config.sources else "data"


def to_prompt(row: Row, name: str, split: str) -> Prompt:
    """Turns a row of source `name` into a prompt of a split."""
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


def distinct_ids(items: Iterator[Row | Malformed]) -> Iterator[Row | Malformed]:
    """Yields the items, with rows whose id occurred before as malformed: a prompt's draws are seeded by its id."""
    seen: dict[str, str] = {}
    for item in items:
        if isinstance(item, Row) and item.id and item.id in seen:
            yield Malformed(item.where, "id not unique", f"the id {item.id!r} is that of {seen[item.id]} too")
        else:
            if isinstance(item, Row) and item.id:
                seen[item.id] = item.where
            yield item


def count_unusable(prompts: list[Prompt], rows: list[Row], tally: Tally) -> set[int]:
    """Counts the rows whose reference their verifier cannot use as malformed, and returns their places."""
    problems = unusable_references(prompts)
    for place, why in problems.items():
        verifier = prompts[place].verifier
        tally.num_rows -= 1  # it was counted as a row
        tally.add(
            Malformed(rows[place].where, f"answer not read by {verifier}", f"{why} (it is read by verifier={verifier})")
        )
    return set(problems)
