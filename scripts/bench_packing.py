"""Measures how full packed rows are, on lengths as in the paper's SFT data.

Best fit stands beside the consecutive runs that were cut before.

    python scripts/bench_packing.py

Lengths are log-normal around the mean of each domain, mixed as in [V2 Table 5], up to 32,768 tokens; batches of 64 and
128, rows of 32,768. Prints the tokens of all ranks' rows that are used, and the forward passes a step (the slowest
rank's; all make as many).
"""

import argparse
import math
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from stages.modeling.batching import _deal, micro_batches

DOMAINS = (
    (395_285, 6094.2),
    (211_129, 7435.7),
    (10_124, 4928.8),
    (10_395, 2739.0),
    (177_812, 1419.8),
)  # samples, mean tokens [V2 Table 5]
BUDGET, SPREAD = 32_768, 0.8  # SPREAD: standard deviation of the logarithm, not published


def draw_length(rng: random.Random) -> int:
    ((_, mean),) = rng.choices(DOMAINS, [count for count, _ in DOMAINS])
    while True:
        length = round(rng.lognormvariate(math.log(mean) - SPREAD**2 / 2, SPREAD))
        if 16 <= length <= BUDGET:
            return length


def consecutive_runs(lengths: list[int], world_size: int) -> list[int]:
    """Rows of each rank as they were cut before: neighbours in length, short to long."""
    counts = []
    for share in _deal(sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)), world_size):
        rows, size = 0, BUDGET + 1
        for index in share[::-1]:
            size += lengths[index]
            if size > BUDGET:
                rows, size = rows + 1, lengths[index]
        counts.append(rows)
    return counts


def main(num_batches: int, seed: int) -> None:
    rng = random.Random(seed)
    print(
        "| batch | ranks | fill before | fill, best fit | passes a step before | best fit | least possible "
        "|\n|---|---|---|---|---|---|---|"
    )
    for batch_size, world_size in ((64, 1), (64, 8), (128, 1), (128, 8)):
        tokens = before = after = 0
        least = 0
        for _ in range(num_batches):
            lengths = [draw_length(rng) for _ in range(batch_size)]
            tokens += sum(lengths)
            before += max(consecutive_runs(lengths, world_size))
            after += len(micro_batches(lengths, world_size, 0, BUDGET, packed=True))
            least += math.ceil(sum(lengths) / world_size / BUDGET)
        full = tokens / (BUDGET * world_size)
        print(
            f"| {batch_size} | {world_size} | {full / before:.1%} | {full / after:.1%} | {before / num_batches:.2f} "
            f"| {after / num_batches:.2f} "
            f"| {least / num_batches:.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    main(options.batches, options.seed)
