"""JSON files that hold rows in another form than a row a line or an array of rows, and how to convert them."""

import shlex
from pathlib import Path
from typing import Any

# Keys under which an object wraps the rows of a whole file.
WRAPPERS = ("data", "rows", "examples", "instances", "items", "records", "questions", "problems", "train", "test")


def wrapped(value: dict[str, Any], path: Path) -> str | None:
    """Returns what an object is that makes up a whole file and holds many rows, and how to convert it.

    Args:
        value: the object.
        path: the file, for the command.

    Returns:
        A sentence that goes on from the file's name; None where the object is one row.
    """
    for key, part in value.items():
        if not (isinstance(part, list) and part and all(isinstance(row, dict) for row in part)):
            continue
        if key in WRAPPERS or (len(value) == 1 and not {"role", "from"} & part[0].keys()):
            inner = ".row" if set(part[0]) >= {"row_idx", "row"} else ""  # as the hub's server writes rows
            return (
                f"is one JSON object with its {len(part)} rows in the list {key!r}: write them one a line with "
                f"{_jq(f'.[{_quoted(key)}][]{inner}', path)}"
            )
    lists = [part for part in value.values() if isinstance(part, list)]
    is_columns = len(value) > 1 and len(lists) == len(value) and len(set(map(len, lists))) == 1 and len(lists[0]) > 1
    if is_columns and not any(isinstance(cell, (list, dict)) for part in lists for cell in part):
        return f"is one JSON object of columns: {_pandas(path)}"
    mappings = [part for part in value.values() if isinstance(part, dict)]
    if len(value) > 1 and len(mappings) == len(value) and len({tuple(part) for part in mappings}) == 1 and mappings[0]:
        if all(name.isdigit() for name in mappings[0]):
            return f"is one JSON object of columns: {_pandas(path)}"
        return f"is one JSON object with a row under each key: write them one a line with {_jq('.[]', path)}"
    return None


def several_objects(path: Path) -> str:
    """Returns what a file is whose JSON objects take several lines each, and how to convert it."""
    return f"is JSON objects of several lines each: write each on one line with {_jq('.', path)}"


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _target(path: Path) -> str:
    return str(path.with_name(f"{path.name.split('.')[0]}-rows.jsonl"))


def _jq(expression: str, path: Path) -> str:
    return f"jq -c {shlex.quote(expression)} {shlex.quote(str(path))} > {shlex.quote(_target(path))}"


def _pandas(path: Path) -> str:
    code = f"import pandas; pandas.read_json({str(path)!r}).to_json({_target(path)!r}, orient='records', lines=True)"
    return f"write a row a line with python -c {shlex.quote(code)}"
