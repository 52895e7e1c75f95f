"""What emerged: words of reflection, accuracy and thinking by difficulty, first appearances; and the learned rewards
beside what can be verified.

As in the paper's Fig. 8, Fig. 9 and Fig. 6 [V2 C.1, C.2, B.5]. Pure functions of what `read` found.
"""

from pipeline.report.figures import Panel, figure, number, running_mean, share_axis, thin
from pipeline.report.names import stage_name
from pipeline.report.read import StageRecord

WORDS = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")  # [V2 C.2]
COLORS = ("#d9480f", "#0b7a62", "#1d4ed8", "#c2255c", "#9a7b00", "#6b7280", "#8b3fa8", "#0e7490", "#65a30d", "#7c2d12")
ENDS = 0.1  # share of the steps that "first" and "last" mean
WATCH_PANELS = (
    Panel(
        "watch/accuracy",
        "Held-out accuracy",
        "share correct",
        "The same few reasoning prompts from the same seeds; no training prompts.",
        is_share=True,
    ),
    Panel("reward/helpful", "Helpful reward", "reward", "What the reward model says meanwhile."),
    Panel("reward/safety", "Safety reward", "reward", "What the reward model says meanwhile."),
    Panel("watch/tokens", "Held-out length", "tokens"),
    Panel(
        "watch/repetition",
        "Held-out repetition",
        "share of 4-grams",
        "4-grams that stood in the completion before.",
        is_share=True,
    ),
)


def word_figures(stages: list[StageRecord]) -> list[dict]:
    """One figure a stage: each word's count for 1,000 tokens against the step."""
    found = []
    for stage in stages:
        traces = []
        for word, color in zip(WORDS, COLORS):
            steps, values = _series(stage, f"words/{word}")
            if any(values):
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "lines" if len(steps) > 1 else "markers",
                        "x": steps,
                        "y": running_mean(values),
                        "name": word,
                        "line": {"color": color, "width": 2},
                        "hovertemplate": f"{word}, step %{{x}}: %{{y:.3s}}<extra></extra>",
                    }
                )
        if traces:
            found.append(
                figure(
                    f"words-{stage.name}",
                    f"Words of reflection, {stage_name(stage.name).label}",
                    "Each word for 1,000 tokens of reasoning completions.",
                    traces,
                    _axes("per 1,000 tokens", showlegend=True),
                )
            )
    return found


def word_table(stages: list[StageRecord]) -> list[dict]:
    """[{"shown", "cells": [{"word", "per_step", "first", "last"}], "total": {...}, "growth"}]: for 1,000 tokens in the
    first and last tenth of the steps, and how often a step of the last tenth says it. The paper saw the sum of the ten
    grow five- to sevenfold.
    """
    rows = []
    for stage in stages:
        metrics = [row for row in stage.metrics if any(number(row.get(f"words/{word}")) is not None for word in WORDS)]
        if len(metrics) < 2:
            continue
        count = max(1, round(len(metrics) * ENDS))
        cells = [_cell(word, [f"words/{word}"], metrics[:count], metrics[-count:]) for word in WORDS]
        total = _cell("all ten", [f"words/{word}" for word in WORDS], metrics[:count], metrics[-count:])
        rows.append(
            {
                "shown": stage_name(stage.name),
                "cells": [*cells, total],
                "growth": total["last"] / total["first"] if total["first"] else None,
            }
        )
    return rows


def _cell(word: str, keys: list[str], first: list[dict], last: list[dict]) -> dict:
    mean = lambda rows, of: sum(of(row) for row in rows) / len(rows)
    density = lambda row: sum(number(row.get(key)) or 0.0 for key in keys)
    return {
        "word": word,
        "first": mean(first, density),
        "last": mean(last, density),
        "per_step": mean(last, lambda row: density(row) * (number(row.get("train/tokens")) or 0.0) / 1000),
    }


def level_figures(stages: list[StageRecord]) -> list[dict]:
    """Two figures a stage: accuracy by difficulty against the step, and the length of the completions against the
    difficulty, early and late.
    """
    found = []
    for stage in stages:
        levels = sorted(
            {
                key.split("/")[1]
                for row in stage.metrics
                for key in row
                if key.startswith("level/") and key.endswith("/accuracy")
            },
            key=_natural,
        )
        label = stage_name(stage.name).label
        if not levels:
            continue
        traces = []
        for level, color in zip(levels, [*COLORS, *COLORS]):
            steps, values = _series(stage, f"level/{level}/accuracy")
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(steps) > 1 else "markers",
                    "x": steps,
                    "y": running_mean(values),
                    "name": level,
                    "line": {"color": color, "width": 2},
                    "hovertemplate": f"difficulty {level}, step %{{x}}: %{{y:.1%}}<extra></extra>",
                }
            )
        axes = _axes("share correct", showlegend=True)
        axes["yaxis"] |= share_axis([1.0])
        found.append(
            figure(f"levels-{stage.name}", f"Accuracy by difficulty, {label}", "On training prompts.", traces, axes)
        )
        found += _length_figure(stage, levels, label)
    return found


def _length_figure(stage: StageRecord, levels: list[str], label: str) -> list[dict]:
    count = max(1, round(len(stage.metrics) * ENDS))
    traces = []
    for name, rows, color in (
        ("first tenth of the steps", stage.metrics[:count], "#9ca3af"),
        ("last tenth", stage.metrics[-count:], stage_name(stage.name).color),
    ):
        lengths = [
            [value for row in rows if (value := number(row.get(f"level/{level}/tokens"))) is not None]
            for level in levels
        ]
        traces.append(
            {
                "type": "bar",
                "x": levels,
                "y": [sum(some) / len(some) if some else 0 for some in lengths],
                "name": name,
                "marker": {"color": color},
            }
        )
    axes = _axes("tokens", showlegend=True)
    axes["xaxis"] = {"type": "category", "title": {"text": "difficulty", "standoff": 4}}
    return [
        figure(
            f"level-tokens-{stage.name}",
            f"Thinking against difficulty, {label}",
            "Mean tokens of the completions.",
            traces,
            axes | {"barmode": "group"},
        )
    ]


def first_words(stages: list[StageRecord]) -> list[dict]:
    """[{"shown", "rows"}]: where each word first appeared, in the order of the steps; rows that are none are left out."""
    needed = {"step", "word", "before", "found", "after"}
    found = [
        {
            "shown": stage_name(stage.name),
            "rows": sorted((row for row in stage.first_words if needed <= set(row)), key=lambda row: row["step"]),
        }
        for stage in stages
    ]
    return [entry for entry in found if entry["rows"]]


def _series(stage: StageRecord, metric: str) -> tuple[list, list[float]]:
    pairs = [(row["step"], value) for row in stage.metrics if (value := number(row.get(metric))) is not None]
    steps, values = thin(*zip(*pairs)) if pairs else ([], [])
    return steps, values


def _natural(level: str) -> tuple:
    """2 before 10, Level 2 before Level 10."""
    digits = "".join(char for char in level if char.isdigit())
    return (int(digits) if digits else 0, level)


def _axes(unit: str, showlegend: bool) -> dict:
    return {
        "xaxis": {"title": {"text": "step", "standoff": 4}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": unit, "standoff": 6}, "rangemode": "tozero"},
        "showlegend": showlegend,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "height": 260,
        "margin": {"l": 52, "r": 10, "t": 44, "b": 40},
    }
