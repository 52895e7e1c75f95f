"""Summarises several runs of one recipe with different seeds as a Markdown table.

Each number is the mean over runs with its standard error.

python scripts/summarize_seeds.py runs/seed0 runs/seed1 runs/seed2     # or RUN/evaluate/FINGERPRINT, where a run has
                                                                       several
"""

import math
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stages.contract.results import RESULTS, read_results

METRICS = (
    "pass@1",
    "cons@4",
    "format",
    "language",
    "reflection",
    "tokens",
    "rude",
    "polite",
    "harmful_refused",
    "harmful_safe",
    "benign_refused",
    "benign_correct",
)


def read(run: Path) -> dict[tuple[str, str, str], float]:
    """{(model, set, metric): value} of a run's newest evaluation, or of the evaluation whose directory it is."""
    directory = run if (run / RESULTS).exists() else run / "evaluate" / "latest"
    rows = [row for row in read_results(directory) if row["metric"] in METRICS]
    return {(row["model"], row["set"], row["metric"]): row["value"] for row in rows}


def cell(values: list[float], digits: int) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {error:.{digits}f}"


def main(runs: list[str]) -> None:
    if not runs:
        sys.exit(__doc__)
    results = [read(Path(run)) for run in runs]
    models, sets = (list(dict.fromkeys(key[place] for key in results[0])) for place in (0, 1))
    columns = [
        (name, metric) for name in sets for metric in METRICS if any(key[1:] == (name, metric) for key in results[0])
    ]
    print("| model | " + " | ".join(f"{name.removeprefix('tiny_')} {metric}" for name, metric in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for model in models:
        cells = [[result[model, *column] for result in results if (model, *column) in result] for column in columns]
        print(
            f"| {model} | "
            + " | ".join(
                cell(values, 1 if column[1] == "tokens" else 3) if values else ""
                for values, column in zip(cells, columns)
            )
            + " |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
