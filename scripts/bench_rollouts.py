"""What it costs to keep, share, log and replay rollouts: columns of tokens beside the Python lists of older versions.

    python scripts/bench_rollouts.py                       # 8,192 completions of 32,768 tokens on two ranks
    python scripts/bench_rollouts.py --rows 512 --tokens 4096 --before-rows 128 --before-tokens 1024

Tokens, logprobs, texts and rewards are simulated; everything behind them is the product's own code. Each side runs in
processes of its own, under torchrun:

    after     rows to every rank, choice of groups, advantages, metrics, the log, its replay, and all tokens to the rank
              that trains on them, laid out in micro-batches
    before    lists in objects: pickled to every rank, written as JSON by rank 0, read by every rank, and the texts of
              all measured on every rank. It is run scaled down, and its time and memory are multiplied: all of it is
              linear in the tokens
    texts     what the metrics need of a text, measured at the size of the side `before`. Now the rank that drew it does
              so, while other groups are sampled, and the language is taken from its reward where that is not 0

A profile of the side `after` follows, and the number of bytecodes that Python executes for completions of 1,024 and of
16,384 tokens: where any code of ours ran over tokens, the second would be 16 times the first.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from scripts.bench_common import peak_gib, run_side, write_result  # noqa: E402
from scripts.rollout_tools.after import after, bytecodes  # noqa: E402
from scripts.rollout_tools.before import before  # noqa: E402

GROUP = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8192, help="completions of a rollout, over all ranks")
    parser.add_argument("--tokens", type=int, default=32_768, help="of each")
    parser.add_argument("--updates", type=int, default=16, help="optimizer steps on a rollout")
    parser.add_argument("--before-rows", type=int, default=256)
    parser.add_argument("--before-tokens", type=int, default=2048)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, help="where to work, on the disk to measure")
    parser.add_argument("--worker", choices=("after", "before", "bytecodes"), help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        options.work = Path(directory)
        print(f"{options.processes} process(es), load {os.getloadavg()[0]:.1f} at the start, disk of {directory}")
        sides = {side: measure(side, options) for side in ("before", "after")}
        report(sides["before"], sides["after"], options)
        for tokens, counts in measure("bytecodes", options, 1)[0].items():
            print(f"bytecodes of Python for 64 completions of {tokens} tokens: {counts:,}")
    return 0


def measure(side: str, options: argparse.Namespace, processes: int = 0) -> list[dict]:
    """What each rank of a side measured."""
    numbers = ("rows", "tokens", "updates", "before_rows", "before_tokens")
    arguments = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in numbers]
    place = options.work / side
    place.mkdir()
    return run_side(
        Path(__file__),
        ["--worker", side, *arguments, "--work", str(place)],
        options.work / f"{side}.json",
        processes or options.processes,
        1,
    )


def work(options: argparse.Namespace) -> None:
    """One rank of one side."""
    import torch.distributed as dist

    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        dist.init_process_group("gloo")
    if options.worker == "before":
        found = before(options.before_rows, options.before_tokens, GROUP, rank, world_size, options.work)
    elif options.worker == "after":
        found = after(options.rows, options.tokens, GROUP, options.updates, rank, world_size, options.work)
    else:
        found = {str(tokens): bytecodes(64, tokens, GROUP, options.work / str(tokens)) for tokens in (1024, 16_384)}
    write_result(options.result, {**found, **({"peak_gib": peak_gib()} if options.worker != "bytecodes" else {})})
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def report(old: list[dict], new: list[dict], options: argparse.Namespace) -> None:
    """The two sides beside each other: seconds of the slowest rank, GiB of the largest."""
    factor = options.rows * options.tokens / (options.before_rows * options.before_tokens)

    def most(ranks: list[dict], name: str) -> float:
        return max(rank.get(name, 0.0) for rank in ranks)

    print(
        f"\n{options.rows:,} completions of {options.tokens:,} tokens, {options.rows * options.tokens / 1e6:,.0f} M in "
        f"all; before: {options.before_rows:,} of {options.before_tokens:,}, times {factor:,.0f}\n"
    )
    print("| | before | processor time | after | processor time |\n|---|---|---|---|---|")
    for name in ("share", "log", "replay", "metrics", "deliver"):
        was = [f"{most(old, key) * factor:,.0f}" if key in old[0] else "" for key in (name, f"{name}_cpu")]
        now = [f"{most(new, key):,.1f}" for key in (name, f"{name}_cpu")]
        print(f"| {name}, s | {' | '.join([*was, *now])} |")
    texts, words = (most(old, name) * factor for name in ("texts_cpu", "words_cpu"))
    print(f"| texts measured by each rank, s | | {texts:,.0f} | | {words / options.processes:,.0f} |")
    print(f"| held on each rank, GiB | {most(old, 'held_gib') * factor:,.1f} | | {most(new, 'held_gib'):.2f} | |")
    print(f"| peak of a rank, GiB | | | {most(new, 'peak_gib'):.2f} | |")
    print(
        f"| log on the disk, GiB | {most(old, 'disk_gib') * factor:,.1f} | | {sum(r['disk_gib'] for r in new):.2f} | |"
    )
    print("\nprofile of rank 0, own seconds, calls:")
    for line in new[0]["profile"]:
        print(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
