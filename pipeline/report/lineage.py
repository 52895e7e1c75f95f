"""The lineage graph as SVG: which stage was made from which, top to bottom, read from each stage's inputs.json."""

from html import escape

from pipeline.configuration.graph import NODES
from pipeline.report.names import stage_name, stage_order
from pipeline.report.read import StageRecord
from stages.contract.inputs import StageInput

WIDTH, HEIGHT, COLUMN_GAP, ROW_GAP, MARGIN = 176, 44, 36, 26, 92  # pixels; the margin is where long edges bend
STATUS_COLORS = {
    "done": "#15803d",
    "incomplete": "#b45309",
    "failed": "#b91c1c",
    "missing": "#9ca3af",
    "outside": "#374151",
}


def edges(stages: dict[str, StageRecord]) -> list[tuple[str, str, str]]:
    """(source, target, role): of a stage that is there, as it was made; of one that is missing, as the recipe has it.

    A model from outside is a source of its own. The evaluation reads every model and is left out.
    """
    planned = {node.name: node.inputs for node in NODES}  # of named students nothing is drawn before they are made
    found = []
    for target, stage in stages.items():
        if stage.status == "missing":
            found += [
                (source, target, role)
                for role, source in planned.get(target, {}).items()
                if source in stages and target != "evaluate"
            ]
        elif target != "evaluate":
            found += [(_source(source), target, role) for role, source in stage.inputs.items()]
    return found


def _source(source: StageInput) -> str:
    return source.stage or "outside: " + (source.model_dir or source.path or "?").rstrip("/").split("/")[-1]


def depths(names: list[str], links: list[tuple[str, str, str]]) -> dict[str, int]:
    """Row of each node: the longest way to it from a source. a -> b -> c, a -> c gives 0, 1, 2. A cycle ends after
    len(names) rounds.
    """
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for source, target, _role in links:
            depth[target] = min(max(depth[target], depth[source] + 1), len(names))
    return depth


def lineage_svg(stages: dict[str, StageRecord]) -> str:
    """The graph; an empty text where there is nothing to draw."""
    links = edges(stages)
    names = sorted(
        {name for name in stages if name != "evaluate"}
        | {name for source, target, _ in links for name in (source, target)},
        key=stage_order,
    )
    if not names:
        return ""
    rows: dict[int, list[str]] = {}
    linked = {name for source, target, _ in links for name in (source, target)}
    for name, depth in depths(names, links).items():
        rows.setdefault(depth if name in linked else -1, []).append(name)
    place = {
        name: (column, row)
        for row, depth in enumerate(sorted(rows, key=lambda d: (d < 0, d)))
        for column, name in enumerate(rows[depth])
    }
    columns = 1 + max(column for column, _ in place.values())
    width = 2 * MARGIN + columns * WIDTH + (columns - 1) * COLUMN_GAP
    height = len(rows) * (HEIGHT + ROW_GAP) + 8
    drawn = [_edge(place[source], place[target], stage_name(target).color) for source, target, _ in links]
    drawn += [_node(name, stages.get(name), *place[name]) for name in names]
    return (
        f'<svg class="lineage" viewBox="0 0 {width} {height}" role="img" aria-label="Lineage of the stages" '
        f'style="max-width:{width}px">{"".join(drawn)}</svg>'
    )


def _corner(column: int, row: int) -> tuple[float, float]:
    return MARGIN + column * (WIDTH + COLUMN_GAP), 4 + row * (HEIGHT + ROW_GAP)


def _edge(source: tuple[int, int], target: tuple[int, int], color: str) -> str:
    """Straight down to the next row; around the side where rows lie between."""
    (x1, y1), (x2, y2) = _corner(*source), _corner(*target)
    if target[1] - source[1] <= 1:
        x1, x2, y1 = x1 + WIDTH / 2, x2 + WIDTH / 2, y1 + HEIGHT
        middle = (y1 + y2) / 2
        path = f"M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2 - 3}"
        return _arrow(path, x2, y2, color, "down")
    is_left = source[0] == 0 and target[0] == 0
    side = 0 if is_left else WIDTH
    bend = min(MARGIN - 12, 14 + 11 * (target[1] - source[1])) * (-1 if is_left else 1)
    x1, x2, y1, y2 = x1 + side, x2 + side, y1 + HEIGHT / 2, y2 + HEIGHT / 2
    reach = min(x1, x2) + bend if is_left else max(x1, x2) + bend
    path = (
        f"M{x1} {y1} C{reach} {y1} {reach} {y1} {reach} {y1 + 18} L{reach} {y2 - 18} C{reach} {y2} {reach} {y2} "
        f"{x2} {y2}"
    )
    return _arrow(path, x2, y2, color, "right" if is_left else "left")


def _arrow(path: str, x: float, y: float, color: str, direction: str) -> str:
    heads = {
        "down": f"{x - 4},{y - 7} {x + 4},{y - 7} {x},{y}",
        "right": f"{x - 7},{y - 4} {x - 7},{y + 4} {x},{y}",
        "left": f"{x + 7},{y - 4} {x + 7},{y + 4} {x},{y}",
    }
    return (
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6" opacity="0.75"/>'
        f'<polygon points="{heads[direction]}" fill="{color}"/>'
    )


def _node(name: str, stage: StageRecord | None, column: int, row: int) -> str:
    x, y = _corner(column, row)
    shown, status = stage_name(name), stage.status if stage else "outside"
    fingerprint = stage.fingerprint[:8] if stage else ""
    dashes = ' stroke-dasharray="4 3"' if status in ("missing", "outside") else ""
    label = shown.label if len(shown.label) <= 24 else shown.label[:23] + "…"
    detail = " · ".join(
        part for part in (name if name != label else "", fingerprint or (status if status != "outside" else "")) if part
    )
    return (
        f"<g><title>{escape(f'{name}: {status}')}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff" stroke="{shown.color}" '
        f'stroke-width="1.6"{dashes}/>'
        f'<circle cx="{x + WIDTH - 12}" cy="{y + 12}" r="4" fill="{STATUS_COLORS[status]}"/>'
        f'<text x="{x + 10}" y="{y + 18}" font-size="13" font-weight="600" fill="#111827">{escape(label)}</text>'
        f'<text x="{x + 10}" y="{y + 35}" font-size="10.5" fill="#4b5563">{escape(detail)}</text></g>'
    )
