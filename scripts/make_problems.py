"""Writes a small JSONL file of problems with answers, to try `data.path=FILE` with.

    python scripts/make_problems.py problems.jsonl

The problems are those the embedded base model can read, so that the whole example runs without downloads.
"""

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from stages.worlds.tiny_world.problems import draw_problem


def rows(num: int, seed: int) -> list[dict]:
    """`num` different problems: [{"prompt": "what is31-3-7?", "answer": "21"}, ...]."""
    rng, found = random.Random(seed), {}
    while len(found) < num:
        problem = draw_problem(rng, "train")
        found[problem.text] = {"prompt": problem.text, "answer": str(problem.answer)}
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--num", type=int, default=400, help="number of problems")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(arguments.num, arguments.seed)]
    arguments.path.write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} problems in {arguments.path}")


if __name__ == "__main__":
    main()
