"""Draws a figure: works out where lines, bars and axes stand; `assets/chart.svg.j2` writes them down as SVG.

The pictures are part of the page: they need no library in the browser, follow its dark mode, and print as they are. A
figure comes as `figures.figure` makes it, in the words of plotly: traces of type scatter or bar, and a layout.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.report.axis import Axis, limits, tick_texts, ticks
from pipeline.report.figures import number

WIDTH, WIDE = 340, 640  # units of the drawing, about pixels
LETTER = 6.2  # mean width of a letter beside an axis
MAX_LABEL = 22  # letters beside a bar
TOP, RIGHT, BOTTOM, LEFT = 8, 10, 38, 54  # room around the curves
SLANT = 0.64  # sine of the angle of slanting labels
BAR = 0.7  # share of its place that a bar takes


@dataclass(frozen=True)
class Text:
    """A label; x and y of its anchor."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    turn: int = 0  # degrees


@dataclass(frozen=True)
class Line:
    """A curve, or a single point where `path` is empty."""

    path: str
    color: str
    width: float
    opacity: float
    x: float = 0
    y: float = 0


@dataclass(frozen=True)
class Bar:
    """A bar; `whisker` is the path of its interval, `tip` what is said of it."""

    x: float
    y: float
    width: float
    height: float
    color: str
    tip: str
    whisker: str = ""


@dataclass
class Drawing:
    """All that a chart shows, in units of its view box."""

    width: int
    height: int
    about: str  # for those who cannot see it
    texts: list[Text] = field(default_factory=list)
    grid: list[str] = field(default_factory=list)  # paths
    frame: str = ""  # path of the two axes
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # (name, color)
    values: Axis | None = None  # of the steps, where a curve can be read by hovering
    top: float = TOP
    bottom: float = 0


def draw(figure: dict[str, Any], is_wide: bool = False) -> Drawing:
    """The drawing of a figure.

    Args:
        figure: {"title", "caption", "data", "layout"}, as `figures.figure` makes it.
        is_wide: Whether it stands alone in the width of the page.
    """
    layout, traces = figure["layout"], figure["data"]
    drawing = Drawing(WIDE if is_wide else WIDTH, int(layout["height"]), _about(figure))
    if layout.get("showlegend"):
        drawing.legend = [(trace["name"], _color(trace)) for trace in traces]
    if traces and traces[0]["type"] == "scatter":
        _draw_curves(drawing, traces, layout)
    elif traces and traces[0].get("orientation") == "h":
        _draw_stacked_bars(drawing, traces, layout)
    elif traces:
        _draw_bars(drawing, traces, layout)
    return drawing


def _draw_curves(drawing: Drawing, traces: list[dict], layout: dict) -> None:
    x_axis, y_axis = layout["xaxis"], layout["yaxis"]
    is_log = y_axis.get("type") == "log"
    drawing.bottom = drawing.height - BOTTOM
    xs, ys = ([float(value) for trace in traces for value in trace[name]] for name in "xy")
    down = Axis(*limits(ys, y_axis, is_log), drawing.bottom, drawing.top, is_log)
    left = _draw_values(drawing, down, y_axis)
    low, high = min(min(xs), 0), max(max(xs), 1)
    across = Axis(low, high, left, drawing.width - RIGHT)
    steps = [tick for tick in ticks(low, high) if tick == int(tick)]
    for tick, text in zip(steps, tick_texts(steps)):
        drawing.texts.append(Text(across.place(tick), drawing.bottom + 15, text))
    drawing.texts.append(Text((left + drawing.width - RIGHT) / 2, drawing.height - 6, x_axis["title"]["text"]))
    drawing.values = across
    for trace in traces:
        points = [(across.place(x), down.place(y)) for x, y in zip(trace["x"], trace["y"])]
        path = "M" + "L".join(f"{x:g},{y:g}" for x, y in points) if len(points) > 1 else ""
        width, opacity = trace["line"]["width"], trace.get("opacity", 1)
        drawing.lines.append(Line(path, trace["line"]["color"], width, opacity, *points[-1]))


def _draw_bars(drawing: Drawing, traces: list[dict], layout: dict) -> None:
    """Bars that stand, one group for each label."""
    labels = [str(label) for label in traces[0]["x"]]
    turn = int(layout["xaxis"].get("tickangle", 0))
    longest = max((len(label) for label in labels), default=0)
    if not turn and longest * LETTER * len(labels) > drawing.width - LEFT - RIGHT:
        turn = -40
    title = layout["xaxis"].get("title", {}).get("text", "")
    room = min(longest, MAX_LABEL) * LETTER * SLANT if turn else 0
    drawing.bottom = drawing.height - 22 - room - (14 if title else 0)
    spans = [_interval(trace, place) for trace in traces for place in range(len(labels))]
    ends = [value for span in spans for value in span]
    y_axis = layout["yaxis"]
    down = Axis(*limits(ends, {"rangemode": "tozero"} | y_axis), drawing.bottom, drawing.top)
    left = _draw_values(drawing, down, y_axis)
    place_width = (drawing.width - RIGHT - left) / max(len(labels), 1)
    bar_width = BAR * place_width / len(traces)
    for number_of_trace, trace in enumerate(traces):
        for place, value in enumerate(trace["y"]):
            x = left + place_width * (place + (1 - BAR) / 2) + bar_width * number_of_trace
            low, high = _interval(trace, place)
            whisker = _whisker(x + bar_width / 2, down.place(low), down.place(high)) if low < high else ""
            top, zero = down.place(value), down.place(max(0, down.low))
            color = _color(trace, place)
            tip = _tip(trace, labels[place], value, low, high)
            drawing.bars.append(
                Bar(round(x, 1), min(top, zero), round(bar_width, 1), round(abs(zero - top), 1), color, tip, whisker)
            )
    for place, label in enumerate(labels):
        x = round(left + place_width * (place + 0.5), 1)
        text = _short(label)
        if turn:
            drawing.texts.append(Text(x + 3, drawing.bottom + 12, text, "end", turn))
        else:
            drawing.texts.append(Text(x, drawing.bottom + 15, text))
    if title:
        drawing.texts.append(Text((left + drawing.width - RIGHT) / 2, drawing.height - 6, title))


def _draw_stacked_bars(drawing: Drawing, traces: list[dict], layout: dict) -> None:
    """Bars that lie, one for each label from the bottom up, of parts that follow one another."""
    labels = [str(label) for label in traces[0]["y"]]
    left = 12 + LETTER * min(max(map(len, labels), default=0), MAX_LABEL)
    drawing.bottom = drawing.height - BOTTOM
    sums = [sum(trace["x"][place] for trace in traces) for place in range(len(labels))]
    across = Axis(*limits(sums, {"rangemode": "tozero"}), left, drawing.width - RIGHT)
    place_height = (drawing.bottom - drawing.top) / max(len(labels), 1)
    marks = ticks(across.low, across.high)
    for tick, text in zip(marks, tick_texts(marks)):
        x = across.place(tick)
        drawing.grid.append(f"M{x:g},{drawing.top}V{drawing.bottom:g}")
        drawing.texts.append(Text(x, drawing.bottom + 15, text))
    for place, label in enumerate(labels):
        y = drawing.bottom - place_height * (place + 0.5)
        drawing.texts.append(Text(left - 6, round(y + 4, 1), _short(label), "end"))
        done = 0.0
        for trace in traces:
            value = trace["x"][place]
            start, end = across.place(done), across.place(done + value)
            done += value
            height = round(BAR * place_height, 1)
            tip = f"{label}, {trace['name']}: {value:,.1f} s"
            bar = Bar(start, round(y - height / 2, 1), round(end - start, 1), height, _color(trace), tip)
            drawing.bars.append(bar)
    drawing.frame = f"M{left:g},{drawing.top}V{drawing.bottom:g}"
    drawing.texts.append(Text((left + drawing.width) / 2, drawing.height - 6, layout["xaxis"]["title"]["text"]))


def _draw_values(drawing: Drawing, down: Axis, settings: dict) -> float:
    """The axis of the values, with its grid; returns where the curves begin, pixels from the left."""
    marks = ticks(down.low, down.high, down.is_log)
    texts = tick_texts(marks, settings.get("tickformat", ""), down.is_log)
    unit = settings.get("title", {}).get("text", "")
    left = 12 + LETTER * max(map(len, texts), default=0) + (14 if unit else 0)
    for tick, text in zip(marks, texts):
        y = down.place(tick)
        drawing.grid.append(f"M{left:g},{y:g}H{drawing.width - RIGHT}")
        drawing.texts.append(Text(left - 6, round(y + 4, 1), text, "end"))
    if unit:
        drawing.texts.append(Text(11, round((drawing.top + drawing.bottom) / 2, 1), unit, turn=-90))
    drawing.frame = f"M{left:g},{drawing.top}V{drawing.bottom:g}H{drawing.width - RIGHT}"
    return left


def _interval(trace: dict, place: int) -> tuple[float, float]:
    """The interval of a bar; twice its value where it has none."""
    value, error = trace["y"][place], trace.get("error_y")
    return (value - error["arrayminus"][place], value + error["array"][place]) if error else (value, value)


def _whisker(x: float, low: float, high: float) -> str:
    return f"M{x - 3:.1f},{low:g}h6M{x:.1f},{low:g}V{high:g}M{x - 3:.1f},{high:g}h6"


def _tip(trace: dict, label: str, value: float, low: float, high: float) -> str:
    template = trace.get("hovertemplate", "")
    form = template.partition("%{y:")[2].partition("}")[0] or ",.3g"
    name = f", {trace['name']}" if trace.get("name") else ""
    interval = f" [{low:{form}}, {high:{form}}]" if low < high else ""
    return f"{label}{name}: {value:{form}}{interval}"


def _color(trace: dict, place: int = 0) -> str:
    found = trace["line"]["color"] if "line" in trace else trace["marker"]["color"]
    return found if isinstance(found, str) else found[place]


def _short(label: str) -> str:
    return label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"


def _about(figure: dict) -> str:
    """The figure in words: its title, and of each curve where it begins and ends."""
    parts = []
    for trace in _named_curves(figure["data"]):
        ys = [value for value in trace["y"] if number(value) is not None]
        if ys:
            parts.append(f"{trace['name']} from {ys[0]:.3g} to {ys[-1]:.3g}")
    return figure["title"] + (f": {', '.join(parts)}" if parts else "")


def _named_curves(traces: Iterable[dict]) -> list[dict]:
    """The last trace of each name: of a curve with its running mean the mean."""
    return list({trace["name"]: trace for trace in traces if trace["type"] == "scatter"}.values())
