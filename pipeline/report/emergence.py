"""What emerged in RL: words of reflection and where they first appeared, accuracy and thinking by difficulty.

Also the panels that show the learned rewards beside what can be verified. As in the paper's Fig. 8, Fig. 9 and Fig. 6
[V2 C.1, C.2, B.5]. Pure functions of what `read` found.
"""

from pipeline.report.figures import MAX_DRAWN, Panel, figure, number, running_mean, share_axis, thin
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
    """A figure for each stage: how often each word comes in 1,000 tokens, against the step."""
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
    """How often each word comes in 1,000 tokens, early and late, a row for each stage.

    Early and late are the first and the last tenth of the steps. The paper saw the sum of the ten words grow five- to
    sevenfold.

    Returns:
        [{"shown", "cells", "growth"}]: a cell is {"word", "first", "last", "per_step"}, the last cell is of all ten
        words; "per_step" is how often a step of the last tenth says it; "growth" is last / first of all ten.
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
    """The cell of one word, or of several together, from the rows of the first and of the last steps."""
    per_step = [_density(row, keys) * (number(row.get("train/tokens")) or 0.0) / 1000 for row in last]
    return {
        "word": word,
        "first": sum(_density(row, keys) for row in first) / len(first),
        "last": sum(_density(row, keys) for row in last) / len(last),
        "per_step": sum(per_step) / len(last),
    }


def _density(row: dict, keys: list[str]) -> float:
    """How often the words of these metrics come in 1,000 tokens of a step."""
    return sum(number(row.get(key)) or 0.0 for key in keys)


def level_figures(stages: list[StageRecord]) -> list[dict]:
    """Two figures for each stage, where its prompts have levels of difficulty.

    Accuracy at each level against the step; and the length of the completions against the level, early and late.
    """
    found = []
    for stage in stages:
        metrics = {key for row in stage.metrics for key in row}
        measured = {key.split("/")[1] for key in metrics if key.startswith("level/") and key.endswith("/accuracy")}
        levels = sorted(measured, key=_natural)
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
        found.append(_length_figure(stage, levels, label))
    return found


def _length_figure(stage: StageRecord, levels: list[str], label: str) -> dict:
    count = max(1, round(len(stage.metrics) * ENDS))
    traces = []
    for name, rows, color in (
        ("first tenth of the steps", stage.metrics[:count], "#9ca3af"),
        ("last tenth", stage.metrics[-count:], stage_name(stage.name).color),
    ):
        traces.append(
            {
                "type": "bar",
                "x": levels,
                "y": [_mean_tokens(rows, level) for level in levels],
                "name": name,
                "marker": {"color": color},
            }
        )
    axes = _axes("tokens", showlegend=True)
    axes["xaxis"] = {"type": "category", "title": {"text": "difficulty", "standoff": 4}}
    return figure(
        f"level-tokens-{stage.name}",
        f"Thinking against difficulty, {label}",
        "Mean tokens of the completions.",
        traces,
        axes | {"barmode": "group"},
    )


def _mean_tokens(rows: list[dict], level: str) -> float:
    """Mean length of the completions of one level, over the steps that have any."""
    lengths = [value for row in rows if (value := number(row.get(f"level/{level}/tokens"))) is not None]
    return sum(lengths) / len(lengths) if lengths else 0


def first_words(stages: list[StageRecord]) -> list[dict]:
    """Where each word first appeared, in the order of the steps: [{"shown", "rows"}]. Damaged rows are left out."""
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
    """(steps, values) of a metric, where it was measured, thinned for a figure."""
    pairs = [(row["step"], value) for row in stage.metrics if (value := number(row.get(metric))) is not None]
    return thin([step for step, _ in pairs], [value for _, value in pairs], MAX_DRAWN)


def _natural(level: str) -> tuple:
    """Sorting key of a level: 2 before 10, Level 2 before Level 10."""
    digits = "".join(char for char in level if char.isdigit())
    return (int(digits) if digits else 0, level)


def _axes(unit: str, showlegend: bool) -> dict:
    return {
        "xaxis": {"title": {"text": "step", "standoff": 4}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": unit, "standoff": 6}, "rangemode": "tozero"},
        "showlegend": showlegend,
    }
