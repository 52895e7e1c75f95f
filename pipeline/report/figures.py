"""The figures, as plain data for plotly.js: {id, title, caption, data, layout}. Pure functions of what `read` found."""

import math
from dataclasses import dataclass

from pipeline.report.names import stage_name
from pipeline.report.read import StageRecord

MAX_POINTS = 800  # of one curve; longer ones are averaged into that many bins
MIN_POINTS_TO_SMOOTH = 20
INK, GRID = "#1f2937", "#e5e7eb"


@dataclass(frozen=True)
class Panel:
    """One small chart: a metric against the step, one curve a stage."""

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
    """One figure a panel that any of the stages has numbers for."""
    figures = []
    for panel in panels:
        traces = [trace for stage in stages for trace in curve(stage, panel)]
        if traces:
            name = f"{prefix}-{panel.metric.replace('/', '-')}"
            figures.append(figure(name, panel.title, panel.caption, traces, _axes(panel, traces)))
    return figures


def curve(stage: StageRecord, panel: Panel) -> list[dict]:
    """A stage's metric: one line, or, where it is long enough to smooth, the faint raw values under their running mean."""
    pairs = [(row["step"], number(row.get(panel.metric, row.get(panel.fallback)))) for row in stage.metrics]
    pairs = [pair for pair in pairs if pair[1] is not None]
    if not pairs:
        return []
    steps, values = thin(*zip(*pairs))
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
    """Centred mean over about an eighth of the curve: [1, 2, 3] over three is [1.5, 2, 2.5]."""
    half = max(1, len(values) // 16)
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [round(sum(window) / len(window), 8) for window in windows]


def thin(steps: tuple, values: tuple) -> tuple[list, list[float]]:
    """At most MAX_POINTS points: means over equal runs of steps."""
    width = math.ceil(len(steps) / MAX_POINTS)
    if width <= 1:
        return list(steps), list(values)
    starts = range(0, len(steps), width)
    return [steps[i] for i in starts], [sum(values[i : i + width]) / len(values[i : i + width]) for i in starts]


def number(value) -> float | None:
    """A finite number, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def figure(name: str, title: str, caption: str, data: list[dict], axes: dict) -> dict:
    """A figure with the report's look; `axes` holds what is special about its axes."""
    plain = {
        "gridcolor": GRID,
        "linecolor": "#9ca3af",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": "#9ca3af",
    }
    layout = {
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "margin": {"l": 52, "r": 10, "t": 8, "b": 40},
        "height": 230,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "closest",
        "showlegend": False,
    }
    layout |= {
        axis: plain | ({"showgrid": False} if axis == "xaxis" else {}) | axes.get(axis, {})
        for axis in ("xaxis", "yaxis")
    }
    layout |= {key: value for key, value in axes.items() if key not in ("xaxis", "yaxis")}
    return {
        "id": "".join(char if char.isalnum() else "-" for char in name),
        "title": title,
        "caption": caption,
        "data": data,
        "layout": layout,
    }


def share_axis(values: list[float]) -> dict:
    """Percent ticks; the whole range where values are large, from zero to the data where all are small."""
    if not any(values):
        return {"tickformat": ".1~%", "range": [0, 0.05]}
    return (
        {"tickformat": ".0%", "range": [0, 1.04]}
        if max(values, default=0) > 0.3
        else {"tickformat": ".1~%", "rangemode": "tozero"}
    )


def _axes(panel: Panel, traces: list[dict]) -> dict:
    values = [value for trace in traces for value in trace["y"]]
    yaxis = {"title": {"text": panel.unit, "standoff": 6}}
    if panel.is_log and all(value > 0 for value in values):
        yaxis |= {"type": "log", "tickformat": ".1e", "nticks": 5}
    elif panel.is_share:
        yaxis |= share_axis(values)
    elif min(values) >= 0:
        yaxis |= {"rangemode": "tozero", "exponentformat": "e" if max(values) < 0.01 else "SI"}
    return {"xaxis": {"title": {"text": "step", "standoff": 4}, "rangemode": "tozero"}, "yaxis": yaxis}


def phase_figure(stages: list[StageRecord]) -> list[dict]:
    """Where the steps' time went: seconds by phase, one bar a stage."""
    totals = {
        stage.name: {
            phase: sum(number(row.get(f"time/{phase}")) or 0 for row in stage.metrics) for phase in PHASE_COLORS
        }
        for stage in stages
    }
    shown = [stage.name for stage in stages if sum(totals[stage.name].values()) > 0][
        ::-1
    ]  # plotly draws the first at the bottom
    labels = [stage_name(name).label for name in shown]
    return stacked_bars(
        "time-by-phase",
        "Seconds by phase, all steps",
        labels,
        {phase: ([totals[name][phase] for name in shown], color) for phase, color in PHASE_COLORS.items()},
    )


def stacked_bars(name: str, title: str, labels: list[str], parts: dict[str, tuple[list[float], str]]) -> list[dict]:
    """Horizontal bars of seconds, one a label, stacked by part, with a legend; none where there is nothing to show."""
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
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "height": 110 + 26 * len(labels),
        "margin": {"l": 52, "r": 10, "t": 34, "b": 40},
        "xaxis": {"title": {"text": "seconds", "standoff": 4}, "showgrid": True},
        "yaxis": {"type": "category"},
    }
    return [figure(name, title, "", data, axes)] if data else []
