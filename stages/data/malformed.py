"""Rows that cannot be used: how they are recorded, and the errors by which mapping and adapters say why."""

from dataclasses import dataclass

from stages.config.quoting import printable


@dataclass(slots=True)
class Malformed:
    """A row that cannot be used.

    Attributes:
        where: its place for people.
        reason: why, in few words; rows are counted by it.
        detail: why, for people.
        is_fatal: whether data.malformed=fail makes it an error. False for rows that an adapter leaves out on purpose
            (proofs, ties).
    """

    where: str
    reason: str
    detail: str
    is_fatal: bool = True

    def __post_init__(self) -> None:
        """Makes the words printable: they may quote a column or a value that is no text."""
        self.reason, self.detail = printable(self.reason), printable(self.detail)


class RowError(ValueError):
    """Raised for a row that cannot be used; `reason` is what is counted, the message is for people."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(detail or reason)
        self.reason = reason


class LeftOut(Exception):
    """Raised by an adapter for a row that is of no use for training; it is counted by the reason and is no mistake."""
