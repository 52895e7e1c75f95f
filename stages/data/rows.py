"""The rows of a source, adapted, mapped and checked; every row that cannot be used comes as a Malformed in its place."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from stages.config import SourceConfig
from stages.data.adapters import adapter_of
from stages.data.mapping import Bad, LeftOut, Malformed, Row, to_row
from stages.data.readers import read

MAX_SHOWN = 5


def rows_of(source: SourceConfig, key: str = "data") -> Iterator[Row | Malformed]:
    """All rows of a source in their order. An adapter may make several of one."""
    adapt = adapter_of(source.adapter)
    for number, where, raw in read(source, key):
        if isinstance(raw, Malformed):
            yield raw
        else:
            yield from map_one(raw, source, adapt, number, where)


def map_one(raw: dict, source: SourceConfig, adapt, number: int, where: str) -> list[Row | Malformed]:
    try:
        adapted = adapt(raw) if adapt else raw
        return [_mapped(one, source, number, where) for one in (adapted if isinstance(adapted, list) else [adapted])]
    except LeftOut as left_out:
        return [Malformed(where, str(left_out), str(left_out), is_fatal=False)]
    except Bad as bad:
        return [Malformed(where, bad.reason, str(bad))]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return [
            Malformed(
                where,
                f"not a row of {source.adapter}",
                f"adapter={source.adapter} cannot use it ({type(error).__name__}: {error}); "
                f"it has {', '.join(map(str, raw)) or 'no columns'}",
            )
        ]


def _mapped(raw: dict, source: SourceConfig, number: int, where: str) -> Row | Malformed:
    try:
        return to_row(raw, source, number, where)
    except Bad as bad:
        return Malformed(where, bad.reason, str(bad))


@dataclass
class Tally:
    """How many rows of a source were read, and which could not be used."""

    num_rows: int = 0
    reasons: Counter = field(default_factory=Counter)
    fatal: Counter = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, item: Row | Malformed) -> bool:
        """Counts an item; whether it is a row."""
        self.num_rows += 1
        if not isinstance(item, Malformed):
            return True
        self.reasons[item.reason] += 1
        if item.is_fatal:
            self.fatal[item.reason] += 1
            if len(self.examples) < MAX_SHOWN:
                self.examples.append(f"{item.where}: {item.detail}")
        return False

    @property
    def num_fatal(self) -> int:
        return sum(self.fatal.values())

    def shown(self) -> str:
        more = self.num_fatal - len(self.examples)
        return "; ".join(self.examples) + (f" ... and {more} more" if more > 0 else "")

    def check(self, key: str, path: str | None, policy: str) -> None:
        """Raises ValueError where rows cannot be used and the configuration does not skip them."""
        if self.num_fatal and policy == "fail":
            raise ValueError(
                f"{key}.path={path}: {self.num_fatal} of {self.num_rows} rows cannot be used: {self.shown()}. "
                f"Name its columns ({key}.prompt_column, {key}.answer_column ...), mend the file, "
                "or leave such rows out with "
                "data.malformed=skip"
            )

    def summary(self) -> str:
        """For the log; empty where every row was used."""
        if not self.reasons:
            return ""
        return f"{sum(self.reasons.values())} of {self.num_rows} rows left out: " + ", ".join(
            f"{reason} {count}" for reason, count in self.reasons.most_common()
        )
