"""Results of several runs of the same recipe with different seeds, as a Markdown table: mean over runs and its standard error.

    python scripts/summarize_seeds.py runs/seed0 runs/seed1 runs/seed2
"""
import json
import math
import statistics
import sys
from pathlib import Path

COLUMNS = [("tiny_math", "pass@1"), ("tiny_math", "cons@4"), ("tiny_math", "format"), ("tiny_math", "language"), ("tiny_math", "reflection"),
           ("tiny_math", "tokens"), ("tiny_general", "pass@1"), ("tiny_general", "rude"), ("tiny_general", "polite"),
           ("tiny_safety", "harmful_refused"), ("tiny_safety", "harmful_safe"), ("tiny_safety", "benign_refused"), ("tiny_safety", "benign_correct")]


def read(run: Path) -> dict[tuple[str, str, str], float]:
    rows = json.loads((run / "evaluate" / "latest" / "results.json").read_text())
    return {(row["model"], row["set"], row["metric"]): row["value"] for row in rows}


def cell(values: list[float], digits: int) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {error:.{digits}f}"


def main(runs: list[str]) -> None:
    if not runs:
        sys.exit(__doc__)
    results = [read(Path(run)) for run in runs]
    models = list(dict.fromkeys(model for model, _, _ in results[0]))
    print("| model | " + " | ".join(f"{name.removeprefix('tiny_')} {metric}" for name, metric in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for model in models:
        cells = [[result[model, *column] for result in results if (model, *column) in result] for column in COLUMNS]
        print(f"| {model} | " + " | ".join(cell(values, 1 if column[1] == "tokens" else 3) if values else "" for values, column in zip(cells, COLUMNS)) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
