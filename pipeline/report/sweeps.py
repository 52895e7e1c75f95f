"""The sweeps of a run: their leaderboards, as `leaderboard.csv` has them."""

import csv
from pathlib import Path

SWEEPS, LEADERBOARD = "sweeps", "leaderboard.csv"
MAX_SWEEPS = 5  # the newest ones
MAX_JOBS = 50  # of each


def leaderboards(run_dir: Path) -> list[dict]:
    """The newest leaderboards of a run: [{"name", "objective", "head", "rows", "num_left_out"}], the newest first.

    A damaged file is left out: the sweep writes it again when it goes on.
    """
    paths = sorted((run_dir / SWEEPS).glob(f"*/{LEADERBOARD}"), key=lambda path: path.parent.name, reverse=True)
    found = [_read(path) for path in paths[:MAX_SWEEPS]]
    return [board for board in found if board]


def _read(path: Path) -> dict | None:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()))
    except (OSError, csv.Error):
        return None
    head, *jobs = rows or [[]]
    jobs = [row for row in jobs if len(row) == len(head)]
    if not jobs:
        return None
    objectives = {row[head.index("objective")] for row in jobs} if "objective" in head else set()
    return {
        "name": path.parent.name,
        "objective": " or ".join(sorted(objectives)),
        "head": [name for name in head if name != "objective"],
        "rows": [[cell for name, cell in zip(head, row) if name != "objective"] for row in jobs[:MAX_JOBS]],
        "num_left_out": max(0, len(jobs) - MAX_JOBS),
    }
