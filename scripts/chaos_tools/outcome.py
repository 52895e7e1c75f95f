"""What a finished stage has made, as hashes, and where two of them differ."""

import hashlib
import json
import re
from pathlib import Path

from stages.contract.files import read_jsonl, sha256
from stages.contract.manifest import Manifest


def outcome(directory: Path) -> dict[str, str]:
    """Hashes of all that a finished stage leaves to others, by name; clocks and the machine's speed are left out."""
    found = {
        str(path.relative_to(directory)): sha256(path)
        for pattern in ("model/**/*", "adapter/**/*", "data/**/*", "rollouts/**/*", "results.json")
        for path in directory.glob(pattern)
        if path.is_file()
    }
    for name in ("metrics.jsonl", "samples.jsonl", "alarms.jsonl"):
        if rows := read_jsonl(directory / name):  # alarms that were cut back leave an empty file
            found[name] = digest(without_clocks(rows))
    manifest = Manifest.read(directory)
    names = ("stage", "kind", "version", "fingerprint", "inputs", "files", "metrics")
    decided = {name: getattr(manifest, name) for name in names}
    # every attempt pays for its own judge calls
    decided["metrics"] = {name: value for name, value in manifest.metrics.items() if not name.startswith("judge/")}
    found["manifest.json"] = digest(decided)
    return found


def without_clocks(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if not name.startswith(("time/", "perf/"))} for row in rows]


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names the files that differ.

    Which rollouts are still there depends on which checkpoints were written (a stop writes one more); those that both
    runs have must be the same, and there must be some.
    """
    names = found.keys() | expected.keys()
    rollouts = {name for name in names if name.startswith("rollouts/")}
    both = rollouts & found.keys() & expected.keys()
    different = [name for name in sorted(names - rollouts | both) if found.get(name) != expected.get(name)]
    return different + (["rollouts/"] if rollouts and not both else [])


def left_over(directory: Path, undisturbed: Path) -> list[str]:
    """Files of a finished stage that the undisturbed one does not have; logs and rollouts do not count."""

    def names(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    return sorted(
        name
        for name in names(directory) - names(undisturbed)
        if not name.startswith("logs/")
        and not re.fullmatch(
            r"rollouts/step_\d+/(rank_\d+\.arrow|manifest\.jsonl)|\.verified\.json|alarms\.jsonl", name
        )
    )
