"""Finds sets that are named by their name on the Hugging Face Hub, in the local cache.

Only `r1 data fetch` downloads a set; every stage runs offline.
"""

import importlib
import os
import re
from pathlib import Path

from stages.config import SourceConfig
from stages.data.file_kinds import broken_link

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What people write for a set of the hub: an address, or a name with a part of the set behind it.
_ADDRESS = re.compile(r"(?:hf://|https?://(?:huggingface\.co|hf\.co)/)?datasets/([\w.-]+/[\w.-]+)(.*)")
_WITH_PART = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:[:@/]([\w.-]+)|\[([\w.-]+)\])/?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
DATA_PATTERNS = [
    f"*{suffix}{compression}"
    for suffix in (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".arrow")
    for compression in ("", ".gz", ".zst")
]


def is_hub_name(path: str) -> bool:
    """Returns whether a path does not exist here but could be the name of a set on the hub."""
    return (
        bool(_NAME.fullmatch(path))
        and not re.search(r"\.(jsonl?|ndjson|parquet|csv|tsv|arrow|gz|zst)$", path)
        and not _is_here(Path(path))
    )


def locate(source: SourceConfig, key: str = "data") -> Path:
    """Returns the file or directory of a source.

    Args:
        source: the source, whose path is a file, a directory or a hub name.
        key: its key in the configuration, for messages.

    Raises:
        ValueError: it is not here; the message says how to get it.
    """
    if not source.path:
        raise ValueError(f"{key}.path is not set: name a file, a directory or a hub name, as {key}.path=FILE")
    try:
        path = Path(source.path).expanduser()
        is_here = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no permission, too long a name, no such user, a NUL
        raise ValueError(f"{key}.path={source.path[:200]} cannot be looked at: {error}") from None
    if is_here:
        return path
    if why := broken_link(path):
        raise ValueError(f"{key}.path={source.path} {why}")
    if not is_hub_name(source.path):
        raise ValueError(f"{key}.path={source.path}: {_not_here(source.path, key)}")
    return _snapshot(source, key)


def _is_here(path: Path) -> bool:
    try:
        return path.expanduser().exists() or path.is_symlink()
    except (OSError, RuntimeError, ValueError):
        return False


def _not_here(path: str, key: str) -> str:
    """What is wrong with a path that is neither here nor the name of a set."""
    if address := _ADDRESS.fullmatch(path):
        return f"an address: name the set itself, {key}.path={address[1]}"
    if "://" in path:
        return "an address: fetch the file, and name where it is"
    if part := _WITH_PART.fullmatch(path):
        name = part[2] or part[3]
        if not re.search(r"\.(jsonl?|ndjson|parquet|csv|tsv|arrow|gz|zst)$", path):
            return (
                f"no such file, and a set of the hub has a name of two parts: {key}.path={part[1]} with a part of its "
                f"files as {key}.files='{name}/*' or {key}.files='**/{name}-*'"
            )
    return "no such file or directory" + ("" if Path(path).is_absolute() else f" in {Path.cwd()}")


def commit_of(source: SourceConfig) -> str | None:
    """Returns the commit of a fetched set of the hub; None for a set that was not fetched and for other files."""
    if not source.path or not is_hub_name(source.path):
        return None
    try:
        return _snapshot(source, "data").name
    except ValueError:
        return None


def is_pinned(source: SourceConfig) -> bool:
    """Returns whether a source names a commit; a branch or a tag may point to other files tomorrow."""
    return bool(_COMMIT.fullmatch(source.revision or ""))


def pin_advice(source: SourceConfig, key: str = "data") -> str | None:
    """Returns how to pin a hub name to a commit; None where it is pinned, and for other files."""
    if not source.path or not is_hub_name(source.path) or is_pinned(source):
        return None
    commit = commit_of(source)
    if commit is None:
        return (
            f"{source.path} is not pinned: it is what the hub has as {source.revision or 'main'} when it is "
            f"fetched. {key}.revision=COMMIT pins it"
        )
    return (
        f"{source.path} is not pinned: here {source.revision or 'main'} is commit {commit}, "
        "and may be another where it is fetched again. "
        f"{key}.revision={commit} pins it"
    )


def cache_directory() -> Path:
    """Returns the directory of the Hugging Face Hub's cache."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given)
    return Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"


def _snapshot(source: SourceConfig, key: str) -> Path:
    """Returns the directory of a fetched revision, where the hub's own library puts it."""
    assert source.path
    repository = cache_directory() / f"datasets--{source.path.replace('/', '--')}"
    revision = source.revision or "main"
    reference = repository / "refs" / revision
    snapshot = repository / "snapshots" / (reference.read_text().strip() if reference.is_file() else revision)
    if snapshot.is_dir():
        return snapshot
    pattern = f" --include '{source.files}'" if source.files else ""
    raise ValueError(
        f"{key}.path={source.path} (revision {revision}) is neither a file or directory here nor a fetched set of "
        f"the hub; looked in {repository}. "
        f"Fetch it where the hub can be reached: python -m pipeline data fetch with the same data keys, or "
        f"hf download --repo-type dataset {source.path} --revision {revision}{pattern}. "
        "To use a cache elsewhere set HF_HOME=DIRECTORY; "
        f"a copy of its files serves too: {key}.path=DIRECTORY"
    )


def fetch(source: SourceConfig, key: str = "data") -> Path:
    """Downloads the data files of a hub name into the cache.

    Args:
        source: the source, whose path is a hub name.
        key: its key in the configuration, for messages.

    Returns:
        The directory of the files, which is named after the commit.

    Raises:
        ValueError: the hub cannot be reached or has no such set.
    """
    assert source.path
    os.environ["HF_HUB_OFFLINE"] = "0"  # a worker's environment is offline, and this downloads on purpose
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                source.path,
                repo_type="dataset",
                revision=source.revision,
                allow_patterns=source.files or [*DATA_PATTERNS, "README.md"],
            )
        )
    except hub_errors() as error:
        raise ValueError(
            f"{key}.path={source.path} (revision {source.revision or 'main'}) cannot be fetched: "
            f"{str(error).splitlines()[0]}. "
            f"Is {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')} reachable, "
            "and does a gated set need HF_TOKEN?"
        ) from error


def hub_errors() -> tuple[type[Exception], ...]:
    """The exceptions of a hub that refuses, lacks what is asked for, or cannot be reached.

    The hub's client speaks HTTP with httpx, from version 2 on with httpx2, and lets its errors through.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import get_session

    http = importlib.import_module(type(get_session()).__module__.split(".")[0])
    return (HfHubHTTPError, LocalEntryNotFoundError, http.HTTPError, OSError)
