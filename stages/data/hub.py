"""Hub names: a copy in the Hugging Face cache stands for the name. Nothing is fetched but by `r1 data fetch`: every
stage runs offline.
"""

import os
import re
from pathlib import Path

from stages.config import SourceConfig

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
DATA_PATTERNS = [
    f"*{suffix}{compression}"
    for suffix in (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".arrow")
    for compression in ("", ".gz", ".zst")
]


def is_hub_name(path: str) -> bool:
    """Whether a path that does not exist here could be the name of a set on the hub."""
    return (
        bool(_NAME.fullmatch(path))
        and not re.search(r"\.(jsonl?|ndjson|parquet|csv|tsv|arrow|gz|zst)$", path)
        and not Path(path).expanduser().exists()
    )


def locate(source: SourceConfig, key: str = "data") -> Path:
    """The file or directory of a source. Raises ValueError that says what is missing and how to get it."""
    if not source.path:
        raise ValueError(f"{key}.path is not set: name a file, a directory or a hub name, as {key}.path=FILE")
    path = Path(source.path).expanduser()
    if path.exists():
        return path
    if not is_hub_name(source.path):
        raise ValueError(f"{key}.path={source.path}: no such file")
    return _snapshot(source, key)


def commit_of(source: SourceConfig) -> str | None:
    """The commit whose files stand for a hub name here; None for files of your own, and for a name that was not
    fetched.
    """
    if not source.path or not is_hub_name(source.path):
        return None
    try:
        return _snapshot(source, "data").name
    except ValueError:
        return None


def is_pinned(source: SourceConfig) -> bool:
    """Whether a source names a commit: a branch or a tag may be another one tomorrow."""
    return bool(_COMMIT.fullmatch(source.revision or ""))


def pin_advice(source: SourceConfig, key: str = "data") -> str | None:
    """What must be said of a hub name without a commit; None where there is one, and for files of your own."""
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
    return Path(
        os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    )


def _snapshot(source: SourceConfig, key: str) -> Path:
    """The directory of a fetched revision, found as the hub's own library lays it out."""
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
    """Brings a hub name's data files into the cache: a directory named after the commit. Raises ValueError where the
    hub cannot be reached or has no such set.
    """
    os.environ["HF_HUB_OFFLINE"] = "0"  # asked for by name: a worker's environment is offline
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.path, repo_type="dataset", revision=source.revision, allow_patterns=source.files or DATA_PATTERNS
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        raise ValueError(
            f"{key}.path={source.path} (revision {source.revision or 'main'}) cannot be fetched: "
            f"{str(error).splitlines()[0]}. "
            f"Is {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')} reachable, "
            "and does a gated set need HF_TOKEN?"
        ) from error
