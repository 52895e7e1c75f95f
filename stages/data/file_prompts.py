"""Prompts with reference answers from a JSONL or Parquet file, split into training and held-out rows by a hash of the prompt."""
import hashlib
import json
import random
from pathlib import Path
from typing import Any

from stages.config import DataConfig
from stages.prompt import Prompt

SPLITS = ("train", "test")
_MAX_SHOWN = 5


class FilePrompts:
    """Rows of a file as prompts. `get` walks epochs of permutations determined by (seed, stream, epoch); held-out rows keep their order."""

    def __init__(self, path: str, config: DataConfig, split: str = "train", seed: int = 0, stream: str = ""):
        if split not in SPLITS:
            raise ValueError(f"a data file has the splits {' and '.join(SPLITS)}, got {split!r}")
        self.path, self.split = str(path), split
        self._key = f"{seed}/{stream}"
        self._prompts = _read_prompts(Path(path), config, split)
        self._permutation: tuple[int, list[int]] = (-1, [])
        if not self._prompts:
            wish = ("smaller" if split == "train" else "larger") + " data.eval_fraction or more rows"
            raise ValueError(f"data.path={path}: no rows left for the {split} split with data.eval_fraction={config.eval_fraction}; use a {wish}")

    def __len__(self) -> int:
        return len(self._prompts)

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        if domain != "reasoning":
            raise ValueError(f"data.path={self.path} holds reasoning prompts only, but {domain} prompts were asked for: set mix.{domain}=0")
        epoch, position = divmod(index, len(self._prompts))
        if self.split == "test":
            return self._prompts[position]
        if self._permutation[0] != epoch:
            order = list(range(len(self._prompts)))
            random.Random(f"{self._key}/{epoch}").shuffle(order)
            self._permutation = epoch, order
        return self._prompts[self._permutation[1][position]]

    def check_lengths(self, tokenizer: Any, template: Any, max_tokens: int) -> None:
        """Raises if a templated prompt is longer than `max_tokens`. `template` maps the prompt's text to what the model sees."""
        too_long = [f"{prompt.id}: {length} tokens" for prompt in self._prompts
                    if (length := len(tokenizer(template(prompt.text))["input_ids"])) > max_tokens]
        if too_long:
            raise ValueError(f"data.path={self.path}: {len(too_long)} prompts are longer than data.max_prompt_tokens={max_tokens}: "
                             f"{_some(too_long)}. Raise data.max_prompt_tokens (and the model's context) or drop these rows")


def language_of_text(text: str) -> str:
    """zh where CJK characters outnumber half the Latin letters (a character says more than a letter), else en."""
    num_chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    num_latin = sum(character.isascii() and character.isalpha() for character in text)
    return "zh" if num_chinese * 2 > num_latin else "en"


def _some(lines: list[str]) -> str:
    more = f" ... and {len(lines) - _MAX_SHOWN} more" if len(lines) > _MAX_SHOWN else ""
    return "; ".join(lines[:_MAX_SHOWN]) + more


def _read_prompts(path: Path, config: DataConfig, split: str) -> list[Prompt]:
    rows = _read_rows(path)
    if not rows:
        raise ValueError(f"data.path={path} is empty: it needs at least one row with {config.prompt_column!r} and {config.answer_column!r}")
    _check_rows(path, rows, config)
    held_out = _held_out(rows, config)
    return [_as_prompt(where, row, config, split) for where, row in rows if (_prompt_hash(row, config) in held_out) == (split == "test")]


def _as_prompt(where: str, row: dict, config: DataConfig, split: str) -> Prompt:
    text = row[config.prompt_column].strip()
    language = _of_column(row, config.language_column) or (language_of_text(text) if config.language == "auto" else config.language)
    return Prompt(id=f"file-{split}-{int(where.split()[-1]):06d}", text=text, kind="file", domain="reasoning", language=language,
                  answer=_of_column(row, config.answer_column), verifier=_of_column(row, config.verifier_column) or config.verifier,
                  checks=_of_column(row, config.checks_column))


def _of_column(row: dict, column: str | None) -> str:
    """A cell as text, lists and mappings as JSON; empty where there is no such column or nothing in it."""
    value = row.get(column) if column else None
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).strip()


def _prompt_hash(row: dict, config: DataConfig) -> int:
    return int.from_bytes(hashlib.sha256(row[config.prompt_column].strip().encode()).digest()[:6], "big")


def _held_out(rows: list[tuple[str, dict]], config: DataConfig) -> set[int]:
    """Hashes of the held-out prompts; at least one where anything is to be held out and there is more than one prompt."""
    hashes = {_prompt_hash(row, config) for _, row in rows}
    chosen = {value for value in hashes if value < config.eval_fraction * 2 ** 48}
    if not chosen and config.eval_fraction > 0 and len(hashes) > 1:
        chosen = {min(hashes)}
    return chosen


def _read_rows(path: Path) -> list[tuple[str, dict]]:
    """Rows with where they stand in the file ("line 3", "row 3")."""
    if not path.is_file():
        raise ValueError(f"data.path={path}: no such file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix in (".jsonl", ".json", ".ndjson"):
        return _read_jsonl(path)
    raise ValueError(f"data.path={path}: unknown file type {path.suffix!r}; use .jsonl or .parquet")


def _read_parquet(path: Path) -> list[tuple[str, dict]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"data.path={path} is not a readable Parquet file: {error}") from error
    return [(f"row {number}", row) for number, row in enumerate(table.to_pylist(), 1)]


def _read_jsonl(path: Path) -> list[tuple[str, dict]]:
    rows, errors = [], []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except json.JSONDecodeError as error:
                errors.append(f"line {number}: {error.msg} at column {error.colno}")
                continue
            except UnicodeDecodeError as error:
                errors.append(f"line {number}: not UTF-8 text (byte {error.start + 1})")
                continue
            if isinstance(row, dict):
                rows.append((f"line {number}", row))
            else:
                errors.append(f"line {number}: expected an object with columns, got {type(row).__name__}")
    if errors:
        raise ValueError(f"data.path={path}: {len(errors)} lines are not JSON objects, one a line: {_some(errors)}")
    return rows


def _check_rows(path: Path, rows: list[tuple[str, dict]], config: DataConfig) -> None:
    from stages.rewards.verifiers import VERIFIERS, problem_of

    errors, unreadable = [], []
    for where, row in rows:
        has_checks = bool(_of_column(row, config.checks_column))  # the tests of a program are its reference
        missing = [name for name in (config.prompt_column, *([] if has_checks else [config.answer_column])) if name not in row]
        if missing:
            errors.append(f"{where}: no column {', '.join(missing)}; it has {', '.join(row) or 'none'}")
        elif not isinstance(row[config.prompt_column], str) or not row[config.prompt_column].strip():
            errors.append(f"{where}: {config.prompt_column} is empty or not text")
        elif not has_checks and not _of_column(row, config.answer_column):
            errors.append(f"{where}: {config.answer_column} is empty")
        elif (verifier := _of_column(row, config.verifier_column)) and verifier not in VERIFIERS:
            errors.append(f"{where}: {config.verifier_column} names {verifier!r}; verifiers are {', '.join(VERIFIERS)}")
        elif why := problem_of(_as_prompt(where, row, config, "train")):
            unreadable.append(f"{where}: {why}")
    if errors:
        raise ValueError(f"data.path={path}: {len(errors)} of {len(rows)} rows cannot be used: {_some(errors)}. "
                         "Set data.prompt_column and data.answer_column, or mend the file")
    if unreadable:
        raise ValueError(f"data.path={path}: {len(unreadable)} of {len(rows)} answers cannot be read by data.verifier={config.verifier}: "
                         f"{_some(unreadable)}. Use another data.verifier or mend the answers")
