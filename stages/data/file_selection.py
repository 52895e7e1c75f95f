"""Which files of a source are read: all of a plain directory, the training split of a set that names its splits.

A clone of a set of the hub holds its test rows beside its training rows, and often several configurations. Which files
are what is taken from its README, as the hub does, or from the names of files and directories. Where that leaves a
choice, the user makes it with `files`.
"""

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.config import SourceConfig
from stages.config.quoting import hydra_quoted, override, printable
from stages.data import file_kinds
from stages.data.hub import locate

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".arrow")
COMPRESSIONS = (".gz", ".zst")
# Files that describe a set and hold none of its rows.
_SIDE_FILES = ("dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "package.json")
MAX_SHOWN = 5

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "heldout", "holdout"), TEST),
    **dict.fromkeys(("held_out", "held-out", "hold_out", "hold-out"), TEST),
}
_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![a-z])")
_UNNAMED = ""  # stands for the split where a README names files and no split
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\b")  # how the hub names the files of a split


@dataclass(frozen=True)
class Selection:
    """The files of a source that are read.

    Attributes:
        files: the files, in order.
        note: which part of the source they are, and what is left out, for people; "" where they are all of it.
    """

    files: list[Path]
    note: str = ""


def data_files(source: SourceConfig, key: str = "data") -> list[Path]:
    """Returns the files of a source, in the order of their names; raises ValueError where there are none."""
    return select(source, key).files


def select(source: SourceConfig, key: str = "data") -> Selection:
    """Chooses the files of a source.

    Evaluation sets that data is compared with (`prepare.against`) are read where they are held out, all others where
    they are for training.

    Args:
        source: the source.
        key: its key in the configuration, for messages.

    Raises:
        ValueError: there are no files, a file is not here, or the source leaves a choice that the user has to make.
    """
    path = locate(source, key)
    name = printable(f"{key}.path={path}")
    if path.is_file():
        if not kind_of(path):
            raise ValueError(f"{name}{_unknown_kind(path)}")
        return Selection([path])
    if not path.is_dir():
        raise ValueError(f"{name} is neither a file nor a directory")
    if source.files:
        return _matching(path, source.files, name, key)
    wanted = TEST if key.startswith("prepare.against.") else TRAIN
    found = _saved_to_disk(path, name, key, wanted) or _of_readme(path, name, key, wanted)
    selection = found or _by_names(path, _all_files(path, name), name, key, wanted)
    _check_kinds(path, selection.files, name, key)
    return selection


def shown(source: SourceConfig, key: str = "data") -> str | None:
    """Returns which files of a directory are read, in one line; None for a single file and where none can be read."""
    try:
        selection = select(source, key)
    except ValueError:
        return None
    root = locate(source, key)
    if root.is_file():
        return None
    names = [str(file.relative_to(root)) for file in selection.files]
    note = f" ({selection.note})" if selection.note else ""
    return printable(f"{source.path}: reads {some(names)}{note}")


def kind_of(path: Path) -> str:
    """Returns the suffix that says how a file is read, as ".json", also for a compressed file.

    It is "" for files that are not read, among them those that the datasets library writes beside its data.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    is_side_file = path.name in _SIDE_FILES or path.name.startswith((".", "cache-"))
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES and not is_side_file else ""


def some(names: list[str]) -> str:
    """Returns the first of these names, and how many more there are."""
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more or "none"


def split_of(relative: Path) -> str | None:
    """Returns the split that the name of a file says, or the nearest directory's that says one; None for no split.

    >>> split_of(Path("data/train-00000-of-00002.parquet")), split_of(Path("test/part.jsonl")), split_of(Path("a.csv"))
    ('train', 'test', None)
    """
    for part in reversed(relative.parts):
        if found := _WORD.search(part.lower()):
            return _WORDS[found[1]]
    return None


def _unknown_kind(path: Path) -> str:
    """What is wrong with a file whose name has no suffix that is known."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(file_kinds.SNIFFED_BYTES)
    except OSError as error:
        return f" cannot be read: {error.strerror}"
    if why := file_kinds.foreign_kind(head, path):
        return f" {why}"
    return (
        f": unknown file type {path.suffix!r}; use {', '.join(SUFFIXES)}, with .gz or .zst where it is text "
        "(rename the file to what it holds)"
    )


def _matching(path: Path, pattern: str, name: str, key: str) -> Selection:
    """The files that match the user's pattern, which is taken at its word."""
    try:
        matching = sorted(path.glob(pattern))
    except (ValueError, NotImplementedError) as error:  # an absolute pattern, or "**x"
        raise ValueError(f"{name}: {key}.files={pattern} is no pattern within it: {error}") from None
    _check_links(matching, name)
    files = [file for file in matching if file.is_file() and kind_of(file)]
    if not files:
        there = [str(file.relative_to(path)) for file in _all_files(path, name)]
        raise ValueError(f"{name}: no data file matches {key}.files={pattern}; there are {some(there)}")
    splits = sorted({split for file in files if (split := split_of(file.relative_to(path)))})
    note = f"{key}.files={pattern} takes the splits {' and '.join(splits)}" if len(splits) > 1 else ""
    return Selection(files, note)


def _all_files(path: Path, name: str) -> list[Path]:
    """The data files below a directory, without those in hidden directories; raises ValueError for broken links."""
    if not os.access(path, os.R_OK | os.X_OK):
        raise ValueError(f"{name} may not be read by you: chmod u+rx it, or ask its owner")
    found = []
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        if kind_of(file) and not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            found.append(file)
    _check_links(found, name)
    return sorted((file for file in found if file.is_file()), key=lambda file: str(file.relative_to(path)))


def _check_links(files: list[Path], name: str) -> None:
    for file in files:
        if why := file_kinds.broken_link(file):
            raise ValueError(f"{name}: {printable(file.name)} {why}")


def _saved_to_disk(path: Path, name: str, key: str, wanted: str) -> Selection | None:
    """The files of what `datasets.save_to_disk` wrote; None for any other directory."""
    note = ""
    if (path / "dataset_dict.json").is_file():
        splits = _read_json(path / "dataset_dict.json", name).get("splits") or []
        if wanted not in splits:
            example = f"{splits[0] if splits else 'NAME'}/*"
            raise ValueError(f"{name} has the splits {', '.join(splits)}: choose one, as {_files(key, example)}")
        path = path / wanted
        note = _note(wanted, [split for split in splits if split != wanted])
        if not path.is_dir():
            raise ValueError(f"{name} names the split {wanted}, which is not there: fetch or copy it again")
    if not (path / "state.json").is_file():
        return None
    entries = _read_json(path / "state.json", name).get("_data_files") or []
    files = [path / entry["filename"] for entry in entries if isinstance(entry, dict) and "filename" in entry]
    _check_links(files, name)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{name} lacks {some(missing)}: copy it again")
    return Selection(files, note) if files else None


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: {path.name} cannot be read: {error}") from None
    return value if isinstance(value, dict) else {}


def _of_readme(path: Path, name: str, key: str, wanted: str) -> Selection | None:
    """The files that the README of a set names for its training split; None where it names none that are here.

    Raises:
        ValueError: it has several configurations, or no such split.
    """
    there: dict[str, dict[str, list[str]]] = {}
    for config, splits in _readme_configs(path).items():
        patterns = {split: patterns for split, patterns in splits.items() if _glob(path, patterns)}
        if patterns:
            there[config] = patterns
    if not there:
        return None
    if len(there) > 1:
        ways = [f"{config}: {_files(key, _wanted_patterns(splits, wanted)[0])}" for config, splits in there.items()]
        raise ValueError(f"{name} has {len(there)} configurations, choose one: {'; '.join(ways)}")
    (splits,) = there.values()
    if set(splits) == {_UNNAMED}:
        return _by_names(path, _glob(path, splits[_UNNAMED]), name, key, wanted)
    chosen = [split for split in splits if _is_split(split, wanted)]
    if len(chosen) != 1:
        raise ValueError(_no_split(name, key, {split: patterns[0] for split, patterns in splits.items()}, wanted))
    files = _glob(path, splits[chosen[0]])
    _check_links(files, name)
    return Selection(files, _note(chosen[0], [split for split in splits if split != chosen[0]]))


def _is_split(name: str, wanted: str) -> bool:
    return name == wanted or split_of(Path(name)) == wanted


def _wanted_patterns(splits: dict[str, list[str]], wanted: str) -> list[str]:
    return next(
        (patterns for split, patterns in splits.items() if _is_split(split, wanted)), next(iter(splits.values()))
    )


def _readme_configs(path: Path) -> dict[str, dict[str, list[str]]]:
    """configuration -> split -> patterns of its files, as the head of the README says it, where it does."""
    readme = path / "README.md"
    if not readme.is_file():
        return {}
    text = readme.read_text(encoding="utf-8", errors="replace")
    found = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
    try:
        card = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    entries = card.get("configs") if isinstance(card, dict) else None
    configs: dict[str, dict[str, list[str]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("data_files"):
            configs[str(entry.get("config_name", "default"))] = _readme_splits(entry)
    return configs


def _readme_splits(entry: dict[str, Any]) -> dict[str, list[str]]:
    """split -> patterns of one entry of `configs`, in any of the forms that the hub takes."""
    given, prefix = entry["data_files"], f"{entry['data_dir'].strip('/')}/" if entry.get("data_dir") else ""
    if isinstance(given, dict):
        given = [{"split": split, "path": paths} for split, paths in given.items()]
    if isinstance(given, str) or (isinstance(given, list) and all(isinstance(one, str) for one in given)):
        given = [{"split": _UNNAMED, "path": given}]
    splits: dict[str, list[str]] = defaultdict(list)
    for one in given if isinstance(given, list) else []:
        if isinstance(one, dict) and one.get("path"):
            paths = one["path"] if isinstance(one["path"], list) else [one["path"]]
            splits[str(one.get("split", TRAIN))] += [f"{prefix}{path}" for path in paths]
    return dict(splits)


def _glob(path: Path, patterns: list[str]) -> list[Path]:
    """The data files that match patterns of a README; patterns that lead out of the set match nothing."""
    files: set[Path] = set()
    for pattern in patterns:
        if not pattern.startswith("/") and ".." not in Path(pattern).parts and "://" not in pattern:
            try:
                files |= {file for file in path.glob(pattern) if kind_of(file) and not file.is_dir()}
            except (ValueError, NotImplementedError):
                continue
    return sorted(files)


def _by_names(path: Path, files: list[Path], name: str, key: str, wanted: str) -> Selection:
    """The files of the wanted split by their names and directories; all of them where no name says a split."""
    if not files:
        raise ValueError(f"{name}: a directory without data files ({', '.join(SUFFIXES)})")
    by_split: dict[str | None, list[Path]] = defaultdict(list)
    for file in files:
        by_split[split_of(file.relative_to(path))].append(file)
    if set(by_split) == {None}:
        return Selection(files)
    order = (TRAIN, None) if wanted == TRAIN else (TEST, VALIDATION, None, TRAIN)
    chosen = next((split for split in order if split in by_split), VALIDATION)
    if chosen not in order:
        examples = {str(split): str(mine[0].relative_to(path)) for split, mine in by_split.items()}
        raise ValueError(_no_split(name, key, examples, wanted))
    mine = by_split[chosen]
    if chosen:
        _check_one_set(path, mine, name, key)
    others = [split or "files without a split" for split in by_split if split != chosen]
    return Selection(mine, _note(chosen or "files without a split", others))


def _check_one_set(path: Path, files: list[Path], name: str, key: str) -> None:
    """Raises ValueError where the files of a split belong to several sets: by directory, or by name as train_sft."""
    roots: dict[str, Path] = {}
    for file in files:
        relative = file.relative_to(path)
        depth = max((at for at, part in enumerate(relative.parts) if _WORD.search(part.lower())), default=0)
        shard = _SHARD.match(relative.name) if depth == len(relative.parts) - 1 else None
        root = "/".join((*relative.parts[:depth], shard[1] if shard else ""))
        roots.setdefault(root, relative)
    if len(roots) > 1:
        ways = [_files(key, _pattern(relative)) for relative in list(roots.values())[:MAX_SHOWN]]
        raise ValueError(
            f"{name} holds {len(roots)} sets with splits of their own, choose one: {'; '.join(ways)}"
            + ("; ..." if len(roots) > MAX_SHOWN else "")
        )


def _pattern(relative: Path) -> str:
    """A pattern of the files that belong to the same split as this one."""
    shard = _SHARD.match(relative.name)
    return str(relative.with_name(f"{shard[1]}-*{relative.suffix}" if shard else relative.name))


def _no_split(name: str, key: str, examples: dict[str, str], wanted: str) -> str:
    ways = [_files(key, pattern) for pattern in examples.values()]
    return f"{name} has the splits {', '.join(examples)} and not one {wanted}: choose one, as {' or '.join(ways)}"


def _files(key: str, pattern: str) -> str:
    """The override that chooses files by a pattern, as it is typed into a shell."""
    return f"{key}.files='{pattern}'" if hydra_quoted(pattern) == pattern else override(f"{key}.files", pattern)


def _note(chosen: str, others: list[str]) -> str:
    return f"{chosen} of it; {', '.join(others)} left out" if others else ""


def _check_kinds(path: Path, files: list[Path], name: str, key: str) -> None:
    """Raises ValueError where a directory has files of several formats, which may be copies of each other."""
    counts: dict[str, int] = defaultdict(int)
    for file in files:
        counts[{".ndjson": ".jsonl"}.get(kind_of(file), kind_of(file))] += 1
    if len(counts) > 1:
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        kind = max(counts, key=lambda one: counts[one])
        raise ValueError(
            f"{name} has files of several formats ({found}), which may hold the same rows: choose, as "
            f"{key}.files='**/*{kind}'"
        )
