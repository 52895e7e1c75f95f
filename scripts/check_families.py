"""Checks which model families the recipe can use, on tiny random models; needs no network.

    python scripts/check_families.py                                  # all families: about a minute each
    python scripts/check_families.py --families Llama "Gemma 3"       # these again; the others' rows are kept
    python scripts/check_families.py --missing                        # those that have no row yet
    python scripts/check_families.py --lora                           # the two kinds of steps with adapters

For each family, in processes of its own and with a time limit: the logprobs of training, padded and packed, against the
model's own; export and reload; the sync of both samplers; two GRPO steps and two SFT steps through the real worker,
whose export is loaded with plain transformers. The rows are kept in docs/assets/models.json, and the table in
docs/models.md is written from them. With --lora the rows are in docs/assets/lora_models.json and the table is in
docs/lora.md. Ends with exit code 1 where a row has a failure that nobody refused.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from family_tools import lora
from family_tools.families import FAMILIES
from family_tools.table import is_sound, page_with, verdict
from family_tools.trials import ROOT, run_grpo, run_limited, run_sft, sampler_difference, write_samples

import stages  # noqa: F401  (first: hides a torchvision build that does not match torch)

ROWS = ROOT / "docs" / "assets" / "models.json"
PAGE = ROOT / "docs" / "models.md"


def check_family(family: str, scratch: Path, timeout_s: float) -> dict:
    """All that is asked of a family; a row of the table."""
    row = ask(family, scratch, timeout_s)
    model = scratch / "model"
    row["sft"] = run_sft(scratch / "sft", model, write_samples(scratch / "samples"), timeout_s)
    row["grpo"] = run_grpo(scratch / "grpo", model, "vllm", timeout_s)
    row["vllm"] = sampler_difference(scratch / "grpo")
    if row["grpo"] != "works":
        row["grpo_transformers"] = run_grpo(scratch / "grpo_transformers", model, "transformers", timeout_s)
    return {key: without_paths(value, scratch) for key, value in row.items()}


def ask(family: str, scratch: Path, timeout_s: float) -> dict:
    """The answers of family_tools/questions.py, those up to a crash or the time limit too."""
    result = scratch / "answers.json"
    program = str(ROOT / "scripts/family_tools/questions.py")
    _, output = run_limited([sys.executable, program, family, str(scratch / "model"), str(result)], timeout_s)
    return json.loads(result.read_text()) if result.exists() else {"padded": f"failed: {output.strip()[-300:]}"}


def without_paths(value: object, scratch: Path) -> object:
    """An answer without the path of the temporary directory."""
    return value.replace(str(scratch / "model"), "DIR") if isinstance(value, str) else value


def main() -> int:
    """Checks the families that were asked for, one after the other; each is kept as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--missing", action="store_true", help="only families that have no row yet")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one process may take")
    parser.add_argument("--lora", action="store_true", help="only two steps of each kind of training, with adapters")
    parser.add_argument("--rows", type=Path, help="the JSON file with the rows")
    parser.add_argument("--page", type=Path, help="the page with the table")
    options = parser.parse_args()
    check, page, is_good, told = check_family, page_with, is_sound, verdict
    if options.lora:
        check, page, is_good, told = lora.check_family, lora.page_with, lora.is_sound, lora.verdict
    options.rows = options.rows or (lora.ROWS if options.lora else ROWS)
    options.page = options.page or (lora.PAGE if options.lora else PAGE)
    if options.missing and options.rows.exists():
        known = json.loads(options.rows.read_text())
        options.families = [family for family in options.families if family not in known]
    for family in options.families:
        with tempfile.TemporaryDirectory() as scratch:
            row = check(family, Path(scratch), options.timeout)
        rows = json.loads(options.rows.read_text()) if options.rows.exists() else {}
        rows[family] = row
        rows = {name: rows[name] for name in FAMILIES if name in rows}
        options.rows.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        options.page.write_text(page(options.page.read_text(), rows))
        print(f"{family}: {told(row)}", flush=True)
    rows = json.loads(options.rows.read_text()) if options.rows.exists() else {}
    return 0 if all(is_good(rows[family]) for family in options.families) else 1


if __name__ == "__main__":
    sys.exit(main())
