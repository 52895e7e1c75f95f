"""The figures, as plain data in the words of plotly: {id, title, caption, data, layout}. `drawing` draws them.

Pure functions of what `read` found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.names import stage_name
from pipeline.report.read import StageRecord

MAX_POINTS = 800  # longer series are averaged into that many bins
MAX_DRAWN = 300  # points of one curve: a chart has about that many pixels, and a report dozens of curves
MIN_POINTS_TO_SMOOTH = 20
HEIGHT = 205  # of a chart, in units of its drawing


@dataclass(frozen=True)
class Panel:
    """One small chart: a metric against the step, with a curve for each stage."""

    metric: str
    title: str
    unit: str
    caption: str = ""
    is_share: bool = False
    is_log: bool = False
    is_exact: bool = False  # no noise to smooth away
    fallback: str = ""  # read where a row has no `metric`


R1_PANELS = (
    Panel(
        "reward/accuracy",
        "Accuracy on training prompts",
        "share correct",
        "Share of completions with the right answer.",
        is_share=True,
    ),
    Panel(
        "completion/reasoning_tokens",
        "Completion length",
        "tokens",
        "Mean over the completions of reasoning prompts.",
        fallback="completion/mean_tokens",
    ),
    Panel(
        "completion/reflection_rate",
        "Reflection",
        "share of completions",
        "Completions with at least one of the paper's reflection words.",
        is_share=True,
    ),
    Panel(
        "completion/language",
        "Language consistency",
        "share of words",
        "Words of the chain of thought in the prompt's language.",
        is_share=True,
    ),
)
REWARD_PANELS = (
    Panel("reward/mean", "Reward", "weighted sum", "Mean of the whole reward, all prompts."),
    Panel(
        "reward/format",
        "Format reward",
        "share well formed",
        "Completions of the form think, then answer.",
        is_share=True,
    ),
    Panel(
        "reward/language", "Language reward", "reward", "A part of the reward only where the stage gives it a weight."
    ),
    Panel("reward/preference", "Preference reward", "reward", "From the reward models; general prompts only."),
    Panel(
        "reward/helpful",
        "Helpful reward",
        "reward",
        "The helpful reward model's, standardised; helpfulness prompts only.",
    ),
    Panel("reward/safety", "Safety reward", "reward", "The safety reward model's; safety prompts only."),
    Panel("reward/std", "Spread of the reward", "standard deviation", "Over the completions of a step."),
    Panel(
        "reward/grader_errors",
        "Answers that could not be graded",
        "completions",
        "They got 0 for the answer; the reasons are in the log.",
    ),
    Panel(
        "reward/zero_std_frac",
        "Groups without signal",
        "share of groups",
        "All completions of the prompt earned the same.",
        is_share=True,
    ),
)
POLICY_PANELS = (
    Panel(
        "policy/kl", "KL to the reference", "nats per token", "k3 estimator; drops where the reference is refreshed."
    ),
    Panel("policy/entropy", "Entropy of the policy", "nats per token"),
    Panel(
        "policy/clip_frac",
        "Clipped tokens",
        "share of tokens",
        "Tokens whose ratio left the clip range.",
        is_share=True,
    ),
    Panel("completion/truncated_frac", "Truncated completions", "share", "Cut off at the length limit.", is_share=True),
    Panel(
        "policy/mismatch_max",
        "Sampler against trainer",
        "largest |Δ logprob|",
        "How far the two engines' log-probabilities differ.",
        is_log=True,
    ),
    Panel("train/grad_norm", "Gradient norm", "before clipping"),
    Panel("train/lr", "Learning rate", "per step", is_exact=True),
    Panel("perf/tokens_per_s", "Speed", "tokens per second"),
)
REWARD_MODEL_PANELS = (
    Panel("helpful/loss", "Helpful: pairwise loss", "nats per pair"),
    Panel("safety/loss", "Safety: point-wise loss", "nats per completion"),
)
LOSS_PANELS = (
    Panel("train/loss", "Training loss", "nats per token"),
    Panel("train/lr", "Learning rate", "per step", is_exact=True),
    Panel("train/grad_norm", "Gradient norm", "before clipping"),
)
PHASE_COLORS = {"rollout": "#1d4ed8", "reward": "#9a7b00", "train": "#d9480f", "sync": "#0b7a62", "save": "#8b3fa8"}


def step_figures(stages: list[StageRecord], panels: tuple[Panel, ...], prefix: str) -> list[dict]:
    """A figure for each panel that any of the stages has numbers for. `prefix` keeps the figures' ids apart."""
    figures = []
    for panel in panels:
        traces = [trace for stage in stages for trace in curve(stage, panel)]
        if traces:
            name = f"{prefix}-{panel.metric.replace('/', '-')}"
            figures.append(figure(name, panel.title, panel.caption, traces, _axes(panel, traces)))
    return figures


def curve(stage: StageRecord, panel: Panel) -> list[dict]:
    """A stage's metric as one line, or, where it is long enough to smooth, as faint raw values under their mean."""
    found = [(row["step"], number(row.get(panel.metric, row.get(panel.fallback)))) for row in stage.metrics]
    pairs = [(step, value) for step, value in found if value is not None]
    if not pairs:
        return []
    steps, values = thin([step for step, _ in pairs], [value for _, value in pairs], MAX_DRAWN)
    shown = stage_name(stage.name)
    form = ".3s" if not panel.is_share else ".1%"
    base = {
        "type": "scatter",
        "mode": "lines" if len(steps) > 1 else "markers",
        "x": steps,
        "name": shown.label,
        "showlegend": False,
        "hovertemplate": f"{shown.label}, step %{{x}}: %{{y:{form}}}<extra></extra>",
    }
    if len(steps) < MIN_POINTS_TO_SMOOTH or panel.is_log or panel.is_exact:
        return [
            base
            | {"y": values, "line": {"color": shown.color, "width": 2}, "marker": {"color": shown.color, "size": 7}}
        ]
    raw = base | {
        "y": values,
        "line": {"color": shown.color, "width": 1},
        "opacity": 0.35,
        "hoverinfo": "skip",
        "hovertemplate": None,
    }
    return [raw, base | {"y": running_mean(values), "line": {"color": shown.color, "width": 2.5}}]


def running_mean(values: list[float]) -> list[float]:
    """Centred mean over about an eighth of the curve.

    >>> running_mean([1.0, 2.0, 3.0])
    [1.5, 2.0, 2.5]
    """
    half = max(1, len(values) // 16)
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [round(sum(window) / len(window), 8) for window in windows]


def thin(steps: Sequence[float], values: Sequence[float], most: int = MAX_POINTS) -> tuple[list, list[float]]:
    """The curve in at most `most` points, each the mean over as many steps."""
    width = math.ceil(len(steps) / most)
    if width <= 1:
        return list(steps), list(values)
    starts = range(0, len(steps), width)
    return [steps[i] for i in starts], [sum(values[i : i + width]) / len(values[i : i + width]) for i in starts]


def number(value: Any) -> float | None:
    """The value as a number where it is a finite one, else None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def figure(name: str, title: str, caption: str, data: list[dict], axes: dict) -> dict:
    """A figure with the report's look.

    Args:
        name: Becomes the id of the figure in the page.
        title: Stands above it.
        caption: Small text below the title.
        data: plotly's traces.
        axes: What is special about its "xaxis" and "yaxis", and about "height", "showlegend" and "barmode".
    """
    layout: dict[str, Any] = {"height": HEIGHT, "showlegend": False, "xaxis": {}, "yaxis": {}} | axes
    return {
        "id": "".join(char if char.isalnum() else "-" for char in name),
        "title": title,
        "caption": caption,
        "data": data,
        "layout": layout,
    }


def share_axis(values: list[float]) -> dict:
    """An axis in percent: from 0 to 100 where a value is large, from 0 to the largest one where all are small."""
    if not any(values):
        return {"tickformat": ".1~%", "range": [0, 0.05]}
    if max(values) > 0.3:
        return {"tickformat": ".0%", "range": [0, 1.04]}
    return {"tickformat": ".1~%", "rangemode": "tozero"}


def _axes(panel: Panel, traces: list[dict]) -> dict:
    values = [value for trace in traces for value in trace["y"]]
    yaxis: dict[str, Any] = {"title": {"text": panel.unit, "standoff": 6}}
    if panel.is_log and all(value > 0 for value in values):
        yaxis |= {"type": "log", "tickformat": ".1e", "nticks": 5}
    elif panel.is_share:
        yaxis |= share_axis(values)
    elif min(values) >= 0:
        yaxis |= {"rangemode": "tozero", "exponentformat": "e" if max(values) < 0.01 else "SI"}
    return {"xaxis": {"title": {"text": "step", "standoff": 4}, "rangemode": "tozero"}, "yaxis": yaxis}


def phase_figure(stages: list[StageRecord]) -> list[dict]:
    """Where the time of the steps went: a bar for each stage, of the seconds in each phase."""
    totals = {stage.name: {phase: _seconds_in(phase, stage) for phase in PHASE_COLORS} for stage in stages}
    shown = [stage.name for stage in stages if sum(totals[stage.name].values()) > 0]
    shown.reverse()  # the first is drawn at the bottom
    labels = [stage_name(name).label for name in shown]
    parts = {phase: ([totals[name][phase] for name in shown], color) for phase, color in PHASE_COLORS.items()}
    return stacked_bars("time-by-phase", "Seconds by phase, all steps", labels, parts)


def _seconds_in(phase: str, stage: StageRecord) -> float:
    return sum(number(row.get(f"time/{phase}")) or 0 for row in stage.metrics)


def stacked_bars(name: str, title: str, labels: list[str], parts: dict[str, tuple[list[float], str]]) -> list[dict]:
    """Horizontal bars of seconds, one for each label, stacked by part, with a legend; no figure where all is zero.

    Args:
        name: The id of the figure.
        title: Stands above it.
        labels: The bars, from the bottom up.
        parts: {name of a part: (its seconds in each bar, color)}.
    """
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "y": labels,
            "x": seconds,
            "name": part,
            "marker": {"color": color},
            "hovertemplate": f"%{{y}}, {part}: %{{x:.1f}} s<extra></extra>",
        }
        for part, (seconds, color) in parts.items()
        if any(seconds)
    ]
    axes = {
        "barmode": "stack",
        "showlegend": True,
        "height": 50 + 24 * len(labels),
        "xaxis": {"title": {"text": "seconds", "standoff": 4}, "showgrid": True},
        "yaxis": {"type": "category"},
    }
    return [figure(name, title, "", data, axes)] if data else []


def time_figures(rows: list[dict], stages: list[StageRecord]) -> list[dict]:
    """Start-up and work of each stage, and the phases of the RL steps.

    Args:
        rows: What `tables.costs` says of the stages.
        stages: The stages themselves.
    """
    shown = [row for row in rows if row["total_s"]]
    shown.reverse()  # the first is drawn at the bottom
    parts = {
        "work": ([row["work_s"] for row in shown], "#1d4ed8"),
        "start-up": ([row["startup_s"] or 0 for row in shown], "#9ca3af"),
    }
    labels = [row["shown"].label for row in shown]
    return stacked_bars("time-by-stage", "Time of each stage", labels, parts) + phase_figure(stages)


def reward_model_figures(stage: StageRecord | None, accuracies: list[tuple[str, float]]) -> list[dict]:
    """The reward models' accuracies, in training and held out, as bars; and the two losses against the step."""
    if stage is None:
        return []
    losses = step_figures([stage], REWARD_MODEL_PANELS, "rm")
    if not accuracies:
        return losses
    names = [
        name.replace("_", " ").replace("/", ": ").replace("holdout", "held-out").removesuffix(" accuracy")
        for name, _ in accuracies
    ]
    trace = {
        "type": "bar",
        "x": names,
        "y": [value for _, value in accuracies],
        "width": 0.6,
        "marker": {"color": stage_name("reward_models").color},
        "text": [f"{value:.1%}" for _, value in accuracies],
        "textposition": "auto",
        "textangle": 0,
        "hovertemplate": "%{x}: %{y:.1%}<extra></extra>",
    }
    axes = {"xaxis": {"type": "category", "tickangle": -25}, "yaxis": share_axis([1.0])}
    title, caption = "Accuracy of the reward models", "Pairs ordered rightly, completions labelled rightly."
    return [figure("reward-model-accuracy", title, caption, [trace], axes), *losses]
