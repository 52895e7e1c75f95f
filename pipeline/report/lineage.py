"""The lineage graph: which stage was made from which, top to bottom, read from each stage's inputs.json.

Works out where everything stands; `assets/lineage.svg.j2` draws it.
"""

from dataclasses import dataclass

from pipeline.configuration.graph import NODES
from pipeline.planning.fingerprint import short_fingerprint
from pipeline.report.names import stage_name, stage_order
from pipeline.report.read import StageRecord
from stages.contract.inputs import StageInput

WIDTH, HEIGHT = 176, 44  # pixels of a box
COLUMN_GAP, ROW_GAP = 36, 26
MARGIN = 92  # where long edges bend
MAX_LABEL = 24  # letters that fit into a box
STATUS_COLORS = {
    "done": "#15803d",
    "incomplete": "#b45309",
    "failed": "#b91c1c",
    "missing": "#9ca3af",
    "outside": "#374151",
}


@dataclass(frozen=True)
class Arrow:
    """An edge of the graph: an SVG path, and the three corners of the arrow head at its end."""

    path: str
    head: str
    color: str


@dataclass(frozen=True)
class Box:
    """A node of the graph; x and y of its upper left corner in pixels."""

    x: float
    y: float
    name: str
    status: str
    label: str
    detail: str
    color: str

    @property
    def is_dashed(self) -> bool:
        """Whether no stage of this run has made it."""
        return self.status in ("missing", "outside")

    @property
    def status_color(self) -> str:
        """The color of the dot that shows the status."""
        return STATUS_COLORS[self.status]


@dataclass(frozen=True)
class LineageGraph:
    """The whole drawing; width and height in pixels."""

    width: int
    height: int
    arrows: list[Arrow]
    boxes: list[Box]
    box_width: int = WIDTH
    box_height: int = HEIGHT


def edges(stages: dict[str, StageRecord]) -> list[tuple[str, str, str]]:
    """(source, target, role) of each edge: as a stage was made, or, where it is missing, as the recipe makes it.

    A model from outside is a source of its own. The evaluation reads every model and is left out.
    """
    planned = {node.name: node.inputs for node in NODES}  # of named students nothing is drawn before they are made
    found: list[tuple[str, str, str]] = []
    for target, stage in stages.items():
        if target == "evaluate":
            continue
        if stage.status == "missing":
            inputs = planned.get(target, {})
            found += [(source, target, role) for role, source in inputs.items() if source in stages]
        else:
            found += [(_source(source), target, role) for role, source in stage.inputs.items()]
    return found


def _source(source: StageInput) -> str:
    """The name of the node that an input comes from: a stage, or a model from outside."""
    if source.stage:
        return source.stage
    directory = source.model_dir or source.path or "?"
    return "outside: " + directory.rstrip("/").split("/")[-1]


def depths(names: list[str], links: list[tuple[str, str, str]]) -> dict[str, int]:
    """The row of each node: the length of the longest way to it from a node without sources.

    A cycle, which damaged files may hold, ends after len(names) rounds.

    >>> depths(["a", "b", "c"], [("a", "b", ""), ("b", "c", ""), ("a", "c", "")])
    {'a': 0, 'b': 1, 'c': 2}
    """
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for source, target, _role in links:
            depth[target] = min(max(depth[target], depth[source] + 1), len(names))
    return depth


def lineage_graph(stages: dict[str, StageRecord]) -> LineageGraph | None:
    """The graph of a run; None where there is nothing to draw."""
    links = edges(stages)
    linked = {name for source, target, _ in links for name in (source, target)}
    names = sorted({name for name in stages if name != "evaluate"} | linked, key=stage_order)
    if not names:
        return None
    rows: dict[int, list[str]] = {}
    for name, depth in depths(names, links).items():
        rows.setdefault(depth if name in linked else -1, []).append(name)
    place = {
        name: (column, row)
        for row, depth in enumerate(sorted(rows, key=lambda depth: (depth < 0, depth)))  # what has no edge comes last
        for column, name in enumerate(rows[depth])
    }
    columns = 1 + max(column for column, _ in place.values())
    return LineageGraph(
        width=2 * MARGIN + columns * WIDTH + (columns - 1) * COLUMN_GAP,
        height=len(rows) * (HEIGHT + ROW_GAP) + 8,
        arrows=[_arrow(place[source], place[target], stage_name(target).color) for source, target, _ in links],
        boxes=[_box(name, stages.get(name), *place[name]) for name in names],
    )


def _corner(column: int, row: int) -> tuple[float, float]:
    """Upper left corner of the box at this place of the grid, pixels."""
    return MARGIN + column * (WIDTH + COLUMN_GAP), 4 + row * (HEIGHT + ROW_GAP)


def _arrow(source: tuple[int, int], target: tuple[int, int], color: str) -> Arrow:
    """An edge between two places of the grid: straight down to the next row, around the side where rows lie between."""
    (x1, y1), (x2, y2) = _corner(*source), _corner(*target)
    if target[1] - source[1] <= 1:
        x1, x2, y1 = x1 + WIDTH / 2, x2 + WIDTH / 2, y1 + HEIGHT
        middle = (y1 + y2) / 2
        path = f"M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2 - 3}"
        return Arrow(path, _head(x2, y2, "down"), color)
    is_left = source[0] == 0 and target[0] == 0
    side = 0 if is_left else WIDTH
    bend = min(MARGIN - 12, 14 + 11 * (target[1] - source[1])) * (-1 if is_left else 1)
    x1, x2 = x1 + side, x2 + side
    y1, y2 = y1 + HEIGHT / 2, y2 + HEIGHT / 2
    reach = min(x1, x2) + bend if is_left else max(x1, x2) + bend
    path = (
        f"M{x1} {y1} C{reach} {y1} {reach} {y1} {reach} {y1 + 18} L{reach} {y2 - 18} C{reach} {y2} {reach} {y2} "
        f"{x2} {y2}"
    )
    return Arrow(path, _head(x2, y2, "right" if is_left else "left"), color)


def _head(x: float, y: float, direction: str) -> str:
    """Corners of an arrow head whose tip is at (x, y)."""
    heads = {
        "down": f"{x - 4},{y - 7} {x + 4},{y - 7} {x},{y}",
        "right": f"{x - 7},{y - 4} {x - 7},{y + 4} {x},{y}",
        "left": f"{x + 7},{y - 4} {x + 7},{y + 4} {x},{y}",
    }
    return heads[direction]


def _box(name: str, stage: StageRecord | None, column: int, row: int) -> Box:
    """The box of a stage, or of a model from outside (`stage` is None)."""
    x, y = _corner(column, row)
    shown, status = stage_name(name), stage.status if stage else "outside"
    label = shown.label if len(shown.label) <= MAX_LABEL else shown.label[: MAX_LABEL - 1] + "…"
    details = [name] if name != label else []
    if stage and stage.fingerprint:
        details.append(short_fingerprint(stage.fingerprint))
    elif status != "outside":
        details.append(status)
    return Box(x, y, name, status, label, " · ".join(details), shown.color)
