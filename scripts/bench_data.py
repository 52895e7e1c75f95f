"""How fast `data prepare` is and how much memory it takes: `python scripts/bench_data.py --rows 100000 1000000`.

Writes files of made-up word problems (some repeated, some nearly, some of an evaluation set), prepares each in a
process of its own and prints rows a second, processor seconds and the largest memory of all its processes together.
Nothing of it is kept.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stages.config import DataConfig, MixtureSource, PrepareConfig, RolloutConfig, to_dict  # noqa: E402

NUM_WORDS, VOCABULARY = (20, 100), 30_000
COPIES, NEAR_COPIES, CONTAMINATED = 0.05, 0.05, 0.001  # shares of the rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--processes", type=int, default=0, help="0 = one a core")
    parser.add_argument("--directory", type=Path, help="where the files go while it runs; else the system's own")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'rows':>10} {'file MiB':>9} {'seconds':>8} {'rows/s':>8} {'core s':>7} {'peak MiB':>9} {'kept':>10}")
    for num_rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            measure(num_rows, options.processes, Path(directory))


def measure(num_rows: int, processes: int, directory: Path) -> None:
    path, evaluation = directory / "rows.jsonl", directory / "evaluation.jsonl"
    write_rows(path, evaluation, num_rows)
    data = DataConfig(name="file", path=str(path), malformed="skip")
    prepare = PrepareConfig(
        output=str(directory / "out"),
        against={"evaluation": MixtureSource(path=str(evaluation))},
        min_prompt=5,
        max_prompt=90,
        languages=["en"],
        processes=processes,
    )
    config = directory / "config.json"
    config.write_text(
        json.dumps(
            {
                "data": to_dict(data),
                "prepare": to_dict(prepare),
                "rollout": to_dict(RolloutConfig()),
                "sandbox": {},
                "seed": 0,
                "model_dir": None,
            }
        )
    )
    started, used = time.monotonic(), processor_seconds()
    child = subprocess.Popen(
        [sys.executable, "-m", "stages.data", "prepare", str(config)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    peak = watch(child)
    seconds = time.monotonic() - started
    if child.returncode:
        sys.exit(f"data prepare failed with exit code {child.returncode}")
    kept = json.loads((directory / "out" / "card.json").read_text())["kept"]["rows"]
    print(
        f"{num_rows:>10,} {path.stat().st_size / 2**20:>9.0f} {seconds:>8.1f} {num_rows / seconds:>8,.0f} "
        f"{processor_seconds() - used:>7.0f} {peak / 2**20:>9.0f} {kept:>10,}",
        flush=True,
    )


def processor_seconds() -> float:
    """Of all processes that were started here and have ended: what a busy machine does not change much."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watch(child: subprocess.Popen) -> int:
    """The most memory, bytes, that the process and its children had together, looked at five times a second."""
    peak, process = 0, psutil.Process(child.pid)
    while child.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(peak, sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))
        time.sleep(0.2)
    return peak


def write_rows(path: Path, evaluation: Path, num_rows: int) -> None:
    """The same rows every time. The words are short made-up ones with numbers between them, as in word problems."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(VOCABULARY)]
    held_out = [" ".join(rng.choices(words, k=40)) for _ in range(2000)]
    evaluation.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in held_out))
    recent: list[list[str]] = []
    with open(path, "w", encoding="utf-8") as stream:
        for number in range(num_rows):
            draw = rng.random()
            if recent and draw < COPIES:
                text = rng.choice(recent)
            elif recent and draw < COPIES + NEAR_COPIES:
                text = list(rng.choice(recent))
                text[rng.randrange(len(text))] = str(number)
            else:
                text = [*rng.choices(words, k=rng.randint(*NUM_WORDS)), str(rng.randrange(1000)), "?"]
                if draw > 1 - CONTAMINATED:
                    text = [*rng.choice(held_out).split()[5:25], *text]
            recent = [*recent[-999:], text] if number % 50 == 0 else recent
            stream.write(json.dumps({"prompt": " ".join(text), "answer": str(number)}) + "\n")


if __name__ == "__main__":
    main()
