"""Searches for a wrong answer that is paid: the policy will find what this finds.

    python scripts/red_team.py [--tries 5000] [--seed 0] [--verifiers math integer choice exact]

For each text verifier it makes wrong answers out of right ones: other digits, signs, letters, units and operators,
hedges and negations in many languages, wrappers, several answers, invisible characters. It prints those that were paid,
and ends with 1 where there are any. The suite runs a few thousand of the same tries (tests/unit/test_red_team.py).
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.red_team_tools.search import VERIFIERS, search


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5000, help="wrong answers for each verifier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verifiers", nargs="+", choices=VERIFIERS, default=VERIFIERS)
    parser.add_argument("--shown", type=int, default=200, help="most paid answers that are printed")
    options = parser.parse_args()
    started = time.perf_counter()
    outcome = search(options.seed, options.tries, tuple(options.verifiers))
    seconds = time.perf_counter() - started
    for one in outcome.paid[: options.shown]:
        print(f"PAID {one.prompt.verifier} {one.prompt.id}, {one.how}: {one.prompt.answer!r}, {one.completion!r}")
    paid = Counter(one.prompt.verifier for one in outcome.paid)
    for name, tries in outcome.num_tries.items():
        right, of_right = outcome.num_right_paid[name], outcome.num_right[name]
        print(f"{name}: {paid[name]} of {tries:,} wrong answers paid; {right:,} of {of_right:,} right ones")
    print(f"{sum(outcome.num_tries.values()):,} tries in {seconds:.0f} s, seed {options.seed}")
    return int(bool(outcome.paid))


if __name__ == "__main__":
    sys.exit(main())
