"""The report's tables besides the results: time and cost, lineage, reward models, configuration.

Pure functions of what `read` found.
"""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.planning.fingerprint import short_fingerprint
from pipeline.report import cost
from pipeline.report.figures import number
from pipeline.report.names import set_label, stage_name, stage_order
from pipeline.report.read import RunRecord, StageRecord, mapping
from pipeline.report.results import by_level
from stages.contract.inputs import StageInput
from stages.contract.results import Result


def costs(stages: list[StageRecord]) -> list[dict]:
    """Time and memory of every stage that has any, as numbers or None."""
    rows = []
    for stage in stages:
        if stage.path is None:
            continue
        timing = stage.timing
        total = number(timing.total_s) if timing else None
        startup = number(timing.startup_s) if timing else None
        speeds = [speed for row in stage.metrics if (speed := number(row.get("perf/tokens_per_s"))) is not None]
        rows.append(
            {
                "name": stage.name,
                "shown": stage_name(stage.name),
                "status": stage.status,
                "total_s": total,
                "startup_s": startup,
                "work_s": None if total is None else total - (startup or 0),
                "attempts": timing.attempts if timing else None,
                "memory_gib": (number(stage.manifest.peak_memory_gib) or None) if stage.manifest else None,
                "steps": stage.metrics[-1]["step"] if stage.metrics else None,
                "tokens_per_s": sum(speeds) / len(speeds) if speeds else None,
            }
        )
    return rows


def cost_totals(rows: list[dict]) -> dict:
    """Seconds summed over the stages, memory of the largest."""
    sums = {key: sum(row[key] or 0 for row in rows) for key in ("total_s", "startup_s", "work_s")}
    return sums | {"memory_gib": max((row["memory_gib"] or 0 for row in rows), default=0)}


def level_tables(rows: Sequence[Result]) -> list[dict]:
    """Accuracy and thinking tokens by difficulty, a table for each evaluation set.

    Returns:
        [{"label", "levels", "rows": [{"shown", "cells": [{"accuracy", "tokens"}]}]}]; the cells are texts.
    """
    found: dict[str, dict[str, dict[str, dict]]] = {}  # by set, model and level
    for row in by_level(rows):
        found.setdefault(row["set"], {}).setdefault(row["model"], {})[row["level"]] = row
    tables = []
    for set_name, of_model in found.items():
        levels = list(dict.fromkeys(level for of_level in of_model.values() for level in of_level))
        lines = [
            {"shown": stage_name(model), "cells": [_level_text(of_model[model].get(level)) for level in levels]}
            for model in sorted(of_model, key=stage_order)
        ]
        tables.append({"label": set_label(set_name), "levels": levels, "rows": lines})
    return tables


def _level_text(row: dict | None) -> dict:
    if row is None:
        return {"accuracy": "", "tokens": ""}
    return {
        "accuracy": f"{100 * row['pass@1']:.1f}",
        "tokens": f"{row['thinking_tokens']:,.0f} tokens" if row["thinking_tokens"] is not None else "",
    }


def ledger(stages: list[StageRecord], config: dict) -> dict:
    """What the stages have cost, and the rows of the paper's table.

    Returns:
        {"price", "lines", "total", "paper"}. A line, and the total, is {"shown", "is_done", "hours", "sampled",
        "trained", "judge_calls", "money"}; the paper's rows are left out where no time was spent yet.
    """
    price = number(mapping(config.get("cost")).get("price_per_hour")) or 0.0
    lines = [cost.line_of(stage.name, stage.path) for stage in stages if stage.path is not None]
    shown = [
        {
            "shown": stage_name(line.stage),
            "is_done": line.is_done,
            "hours": cost.hours_text(line.hours),
            "sampled": line.sampled,
            "trained": line.trained,
            "judge_calls": line.judge_calls,
            "money": line.money(price),
        }
        for line in [*lines, cost.total(lines)]
    ]
    paper = [
        {
            "name": name,
            "hours": cost.hours_text(hours),
            "share": share,
            "paper_hours": published,
            "paper_share": there,
            "paper_money": 2 * published,
        }
        for name, hours, share, published, there in cost.beside_the_paper(lines)
    ]
    return {
        "price": price,
        "lines": shown[:-1],
        "total": shown[-1],
        "paper": paper if any(line.hours for line in lines) else [],
    }


def lineage_rows(stages: list[StageRecord]) -> list[dict]:
    """Every stage with its fingerprint and what it was made from."""
    rows = []
    for stage in stages:
        inputs = [{"role": role, "source": source_text(source)} for role, source in stage.inputs.items()]
        known = stage.manifest or stage.description
        rows.append(
            {
                "name": stage.name,
                "shown": stage_name(stage.name),
                "status": stage.status,
                "kind": stage.kind,
                "fingerprint": stage.fingerprint,
                "inputs": inputs,
                "created": stage.manifest.created if stage.manifest else "",
                "version": known.version if known else "",
                "path": f"{stage.name}/{stage.path.name}" if stage.path else "",
            }
        )
    return rows


def source_text(source: StageInput) -> str:
    """An input as people read it: reasoning_rl@1a2b3c4d; of a model from outside, its directory and fingerprint."""
    return f"{source.stage or source.model_dir or source.path}@{short_fingerprint(source.fingerprint)}"


def manifest_metrics(stage: StageRecord) -> list[tuple[str, str]]:
    """A stage's final numbers, as it wrote them."""
    metrics = stage.manifest.metrics if stage.manifest else {}
    return [(name, f"{value:,.4g}" if number(value) is not None else str(value)) for name, value in metrics.items()]


def reward_model_bars(stage: StageRecord | None) -> list[tuple[str, float]]:
    """The accuracies among the reward models' final numbers: [("helpful, held out", 0.89), ...]."""
    metrics = stage.manifest.metrics if stage and stage.manifest else {}
    return [(name, value) for name, value in metrics.items() if "accuracy" in name and number(value) is not None]


def configuration(run: RunRecord) -> list[dict]:
    """The run's whole configuration, then each stage's own as it was handed to the worker: [{"title", "text"}]."""
    parts = [{"title": "config.yaml, whole", "text": run.config_text}] if run.config_text else []
    return parts + [
        {"title": f"{stage.name} ({stage.kind})", "text": flat(stage.description.config)}
        for stage in run.stages.values()
        if stage.description
    ]


def flat(config: Any) -> str:
    """Nested configuration as text, one `a.b = value` in each line."""
    lines: list[str] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            lines.append(f"{prefix} = {json.dumps(value, ensure_ascii=False)}")

    walk("", config)
    return "\n".join(lines)
