"""Families with adapters: two steps of each kind of training, and the table of them in docs/lora.md."""

from pathlib import Path
from typing import Any

from family_tools.families import write_model
from family_tools.table import BEGIN, END
from family_tools.trials import ROOT, run_grpo, run_sft, sampler_difference, write_samples
from stages.contract.files import read_json

ROWS = ROOT / "docs" / "assets" / "lora_models.json"
PAGE = ROOT / "docs" / "lora.md"
LORA = {"rank": 8, "alpha": 8.0}
HEADER = "| family | layers with adapters | 2 SFT steps | 2 GRPO steps | sampler |\n|" + " --- |" * 5 + "\n"
AGREEMENT = 1e-5  # of the sampler with the trainer, in nats: what fp32 leaves


def check_family(family: str, scratch: Path, timeout_s: float) -> dict[str, Any]:
    """Two steps of each kind of training of a family; a row of the table."""
    model = write_model(family, scratch / "model")
    row: dict[str, Any] = {
        "sft": run_sft(scratch / "sft", model, write_samples(scratch / "samples"), timeout_s, LORA),
        "grpo": run_grpo(scratch / "grpo", model, "vllm", timeout_s, LORA),
        "engine": "vllm",
    }
    if row["grpo"] != "works":
        row["engine"], again = "transformers", scratch / "grpo_transformers"
        row["grpo"] = run_grpo(again, model, "transformers", timeout_s, LORA)
        row["difference"] = sampler_difference(again)
    else:
        row["difference"] = sampler_difference(scratch / "grpo")
    row["layers"] = layers_of(scratch / "sft" / "adapter") if row["sft"] == "works" else []
    return row


def layers_of(directory: Path) -> list[str]:
    """The last parts of the names of the layers with adapters, by the adapter that a stage exported."""
    targets = read_json(directory / "adapter_config.json")["target_modules"]
    return sorted({name.rpartition(".")[2] for name in targets})


def is_sound(row: dict[str, Any]) -> bool:
    """Whether each kind of training works, with a sampler that agrees with the trainer."""
    return row["sft"] == row["grpo"] == "works" and row["difference"] <= 10 * AGREEMENT


def verdict(row: dict[str, Any]) -> str:
    """What is said of a row as it is done."""
    return "works" if is_sound(row) else f"sft {row['sft']}; grpo {row['grpo']}; sampler {row['difference']}"


def page_with(page: str, rows: dict[str, dict[str, Any]]) -> str:
    """The page with the table of these rows between its marks."""
    before, rest = page.split(BEGIN)
    lines = []
    for family, row in rows.items():
        layers = ", ".join(f"`{name}`" for name in row["layers"])
        difference = "" if row["difference"] is None else f", {row['difference']:.0e}"
        lines.append(f"| {family} | {layers} | {row['sft']} | {row['grpo']} | {row['engine']}{difference} |\n")
    return before + BEGIN + HEADER + "".join(lines) + END + rest.split(END)[1]
