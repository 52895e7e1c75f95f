"""Reads a judge's reply: a JSON object with the verdict in it.

What does not parse, or says two things, is None and never guessed.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

CORRECTNESS = {"correct": True, "incorrect": False}  # [V2 Listing 4]
SAFETY = {"safe": True, "unsafe": False}
COMPARISON = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}  # Arena-Hard's five verdicts [V2 B.2]

Value = TypeVar("Value")

_BRACKETED = re.compile(r"\[\[\s*([AB][<>=]{1,2}[AB])\s*\]\]")


def schema_of(verdict: str, choices: Mapping[str, object], *before: str) -> dict[str, Any]:
    """The JSON schema of a reply: texts that come `before` the verdict, in order, then the verdict itself."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in before}
    properties[verdict] = {"type": "string", "enum": list(choices)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_verdict(text: str, name: str, choices: Mapping[str, Value]) -> Value | None:
    """The value of the one choice that the reply's JSON names under `name`, or None.

    >>> read_verdict('Sure: {"analysis": "same", "correctness": "correct"}', "correctness", CORRECTNESS)
    True
    """
    said = {value.strip() for found in json_objects(text) if isinstance(value := found.get(name), str)}
    return choices.get(said.pop()) if len(said) == 1 else None


def read_comparison(text: str) -> int | None:
    """2 .. -2 (positive: A is better) of {"verdict": "A>B"} or of Arena-Hard's [[A>B]].

    None where there is no verdict, or where there are different ones.
    """
    by_json = read_verdict(text, "verdict", COMPARISON)
    if by_json is not None:
        return by_json
    said = set(_BRACKETED.findall(text))
    return COMPARISON.get(said.pop()) if len(said) == 1 else None


def json_objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in a text, in order; judges like to talk around them."""
    decoder = json.JSONDecoder()
    found = []
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found.append(value)
        start = text.find("{", end)
    return found
