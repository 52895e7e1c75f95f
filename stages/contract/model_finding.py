"""One line of what `models check` says of a model directory: the worker writes it as JSON, the driver shows it."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

# ok: as it should be; note: the recipe does without it; problem: the recipe cannot use the model.
Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class ModelFinding:
    """What was looked at, how it is, and what there is to say."""

    name: str
    level: Level
    text: str

    def as_line(self) -> str:
        """The finding as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> "ModelFinding | None":
        """The finding of a line; None where the line is none (libraries print too)."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None
