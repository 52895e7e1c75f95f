"""The rows of a source, adapted, mapped and checked; a row that cannot be used comes as a Malformed in its place."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stages.config import SourceConfig
from stages.data.adapters import Adapter, adapter_of
from stages.data.malformed import LeftOut, Malformed, RowError
from stages.data.mapping import Row, to_row
from stages.data.readers import read

MAX_SHOWN = 5


def rows_of(source: SourceConfig, key: str = "data") -> Iterator[Row | Malformed]:
    """Yields all rows of a source in their order; an adapter may make several rows of one.

    Args:
        source: where the rows are and what their columns mean.
        key: the source's key in the configuration, for messages.
    """
    adapt = adapter_of(source.adapter)
    for number, where, raw in read(source, key):
        if isinstance(raw, Malformed):
            yield raw
        else:
            yield from map_one(raw, source, adapt, number, where)


def map_one(
    raw: dict[str, Any], source: SourceConfig, adapt: Adapter | None, number: int, where: str
) -> list[Row | Malformed]:
    """Adapts and maps raw row `number` of a source; it gives one item, or several where the adapter makes several."""
    try:
        adapted = adapt(raw) if adapt else raw
        return [_mapped(one, source, number, where) for one in (adapted if isinstance(adapted, list) else [adapted])]
    except LeftOut as left_out:
        return [Malformed(where, str(left_out), str(left_out), is_fatal=False)]
    except RowError as error:
        return [Malformed(where, error.reason, str(error))]
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        return [
            Malformed(
                where,
                f"not a row of {source.adapter}",
                f"adapter={source.adapter} cannot use it ({type(error).__name__}: {error}); "
                f"it has {', '.join(map(str, raw)) or 'no columns'}",
            )
        ]


def _mapped(raw: dict[str, Any], source: SourceConfig, number: int, where: str) -> Row | Malformed:
    try:
        return to_row(raw, source, number, where)
    except RowError as error:
        return Malformed(where, error.reason, str(error))


@dataclass
class Tally:
    """Counts the rows of a source and those that cannot be used.

    Attributes:
        num_rows: all rows that were read.
        reasons: reason -> rows that cannot be used.
        fatal: the same, without the rows that an adapter leaves out on purpose.
        examples: the first fatal rows, for people.
    """

    num_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    fatal: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def usable(self, items: Iterable[Row | Malformed]) -> list[Row]:
        """Counts the items and returns those that are rows."""
        return [item for item in items if self.add(item) and isinstance(item, Row)]

    def add(self, item: Row | Malformed) -> bool:
        """Counts an item and returns whether it is a row."""
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
        """Number of rows that data.malformed=fail does not accept."""
        return sum(self.fatal.values())

    def shown(self) -> str:
        """Returns the first fatal rows, and how many more there are, in one line."""
        more = self.num_fatal - len(self.examples)
        return "; ".join(self.examples) + (f" ... and {more} more" if more > 0 else "")

    def check(self, key: str, path: str | None, policy: str) -> None:
        """Raises ValueError where there are fatal rows and the configuration does not skip them.

        Args:
            key: the source's key in the configuration.
            path: its path, for the message.
            policy: `data.malformed`, "fail" or "skip".
        """
        if self.num_fatal and policy == "fail":
            raise ValueError(
                f"{key}.path={path}: {self.num_fatal} of {self.num_rows} rows cannot be used: {self.shown()}. "
                f"Name its columns ({key}.prompt_column, {key}.answer_column ...), mend the file, "
                "or leave such rows out with "
                "data.malformed=skip"
            )

    def summary(self) -> str:
        """Returns a line for the log, or "" where every row was used."""
        if not self.reasons:
            return ""
        return f"{sum(self.reasons.values())} of {self.num_rows} rows left out: " + ", ".join(
            f"{reason} {count}" for reason, count in self.reasons.most_common()
        )
