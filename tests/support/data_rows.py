"""Files of rows for the tests of data: sentences of random words, and a file with rows of every fate."""

import json
import random
from pathlib import Path
from typing import Any

from stages.config import DataConfig

WORDS = [f"word{number}" for number in range(2000)]


def sentence(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def write_lines(path: Path, rows: list[Any]) -> str:
    """Writes a line for each row, as JSON unless it is text; returns the path."""
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return str(path)


def mixed_file(tmp_path):
    """Rows of every fate; 30 that stay."""
    good = [{"prompt": sentence(number), "answer": str(number)} for number in range(30)]
    nearly = good[3]["prompt"].split()
    nearly[20] = "changed"
    rows = [
        *good,
        "{broken",
        {"prompt": "why", "answer": "1"},
        {"prompt": sentence(50, 300), "answer": "1"},
        {"prompt": "求一加一等于几求一加一等于几", "answer": "2"},
        {"prompt": sentence(99), "answer": "1"},
        {"prompt": good[5]["prompt"].upper(), "answer": "5"},
        {"prompt": " ".join(nearly), "answer": "3"},
        {"prompt": sentence(60), "answer": "seven"},
    ]
    return DataConfig(path=write_lines(tmp_path / "rows.jsonl", rows), malformed="skip")
