"""Overrides that change nothing in any planned stage: each is said, with the reason.

A key reaches the stages by its own place or by interpolation: `rollout.temperature` is what `stages.X.rollout` follows.
It is ignored where every place that it reaches is read by nobody: a stage that is not planned, a suite that is not
asked for, a field that counts for nothing beside the values of its neighbours (`Checked.idle`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pipeline.configuration.data_sources import all_nodes
from pipeline.configuration.graph import Graph, build, family_of, upstream
from pipeline.configuration.keys import groups
from pipeline.configuration.resolve import uses_judge
from pipeline.configuration.schema import RunConfig
from stages.config import SHAPE, Checked

SHARED = ("data", "judge", "rollout", "deepspeed", "health", "sandbox")  # they count where stages follow them
OF_RATES = ("path", "revision")  # of a model, whose size decides the rates that nobody gave
COMPOSED = ("stage", "recipe", "experiment", "sweep", "local", "reward")  # groups that set keys in many places
OF_PROGRAMS = ("livecodebench", "codeforces")  # loaders of suites whose answers are programs
READERS_OF_TRACKER_KEYS = {"entity": ("wandb",), "uri": ("mlflow",), "project": ("wandb", "trackio", "mlflow"),
                           "group": ("wandb", "trackio", "mlflow")}  # fmt: skip
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_RATE = re.compile(r"\$\{rate:[^,]+,(\w+),[^}]+\}")  # follows the path and the revision of a model


def ignored(overrides: Sequence[str], tree: DictConfig, config: RunConfig, is_sweep: bool = False) -> list[str]:
    """A line for each override that changes nothing.

    Args:
        overrides: as Hydra wants them, all of them right.
        tree: what they compose to, not resolved.
        config: the same, checked.
        is_sweep: whether they describe a sweep.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    places = _places(tree)
    reader = _Reader(config, is_sweep)
    lines = []
    for number, override in enumerate(parsed):
        key = _key_of(override)
        if key is None or override.is_sweep_override():
            continue
        text = str(override.input_line).lstrip("+")
        if any(_key_of(later) == key for later in parsed[number + 1 :]):
            lines.append(f"{text} changes nothing: the same key is set again behind it")
            continue
        reasons = [reader.why_not(place) for place in sorted(_reached(key, places))]
        if reasons and all(reasons):
            lines.append(f"{text} changes nothing here: {_most_telling(reasons)}")
    return lines


def _most_telling(reasons: list[str]) -> str:
    """The reason that is said: what a planned stage makes of the key comes before what is not planned."""
    of_planned = [reason for reason in reasons if reason != _Reader.NOBODY and _Reader.NOT_PLANNED not in reason]
    others = [reason for reason in reasons if reason != _Reader.NOBODY]
    return Counter(of_planned or others or reasons).most_common(1)[0][0]


def _key_of(override: Override) -> str | None:
    """The key that an override sets, or the section that an option of a group fills; None for what is not looked at."""
    key = override.key_or_group
    if override.package:
        return override.package
    if key.startswith("hydra") or key.split(".")[0] == "selected" or (key in groups() and key in COMPOSED):
        return None
    return key


def _places(tree: DictConfig) -> dict[str, list[str]]:
    """Every key that holds a value, with the keys that it follows by interpolation."""
    found: dict[str, list[str]] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            text = value if isinstance(value, str) else ""
            models = _RATE.findall(text)
            found[prefix] = [*_REFERENCE.findall(text), *(f"{node}.{key}" for node in models for key in OF_RATES)]

    walk("", OmegaConf.to_container(tree, resolve=False))
    return found


def _reached(key: str, places: dict[str, list[str]]) -> set[str]:
    """The places that a key sets: itself and what is in it, and what follows these by interpolation."""
    reached = {place for place in places if _is_within(place, key)}
    frontier = set(reached)
    while frontier:
        following = {
            place
            for place, sources in places.items()
            if place not in reached
            and any(_is_within(one, source) or _is_within(source, one) for source in sources for one in frontier)
        }
        reached |= following
        frontier = following
    return reached


def _is_within(place: str, key: str) -> bool:
    return place == key or place.startswith(f"{key}.")


class _Reader:
    """Knows who reads a place of a configuration."""

    NOBODY = "no planned stage reads it"
    NOT_PLANNED = "is not among the planned stages"

    def __init__(self, config: RunConfig, is_sweep: bool):
        self.config, self.is_sweep = config, is_sweep
        self.graph: Graph = build(config)
        chosen = [name for name in config.selection if name in self.graph.nodes]
        needed = upstream(self.graph, [name for name in chosen if not self.graph.nodes[name].optional])
        self.planned = set(chosen) | set(needed)
        self.families = {family_of(name) for name in self.planned}

    def why_not(self, place: str) -> str:
        """Why nobody reads a place; "" where somebody does."""
        top, *rest = place.split(".")
        if top in SHARED:
            return self.NOBODY
        if top == "prepare":
            return "only `r1 data prepare` reads it"
        if top == "sweep":
            return "" if self.is_sweep else "this is no sweep"
        if top == "tracker" and rest:
            return self._of_tracker(rest[0])
        if top == "notify" and rest == ["on"]:
            ways = (self.config.notify.command, self.config.notify.webhook, self.config.notify.desktop)
            return "" if any(ways) else "nobody is told: set notify.command, notify.webhook or notify.desktop"
        if top == "stages":
            return self._of_stage(rest)
        if top == "eval":
            return self._of_suite(rest)
        if top == "model":
            return self._of_model(self.config.model, rest, "base", "")
        if top in ("student", "students"):
            return self._of_student(top, rest)
        return self._idle(getattr(self.config, top, None), rest) if rest else ""

    def _of_stage(self, rest: list[str]) -> str:
        name = rest[0]
        if name not in self.families:
            left_out = self.graph.left_out.get(name)
            if left_out:
                return f"{name} is left out ({left_out})"
            return f"{name} {self.NOT_PLANNED}"
        stage = getattr(self.config.stages, name)
        if rest[1:2] == ["judge"] and not uses_judge(stage):
            return "no planned stage asks a judge"
        if rest[1:2] == ["sandbox"] and not _runs_programs(stage):
            return "no planned stage runs programs"
        return self._idle(stage, rest[1:])

    def _of_tracker(self, name: str) -> str:
        chosen, readers = self.config.tracker.names, READERS_OF_TRACKER_KEYS.get(name)
        if name in ("name", "use") or (chosen and (not readers or set(readers) & set(chosen))):
            return ""
        return (
            f"only {' and '.join(readers)} read{'' if readers[1:] else 's'} it"
            if readers and chosen
            else "no tracker is chosen: tracker=NAME"
        )

    def _of_suite(self, rest: list[str]) -> str:
        name = rest[0]
        if "evaluate" not in self.planned:
            return f"evaluate {self.NOT_PLANNED}"
        suite = self.config.stages.evaluate.settings.get(name)
        if suite is None:
            return f"the suite {name} is not asked for: eval=[{name}]"
        return self._idle(suite, rest[1:])

    def _of_model(self, model: Any, rest: list[str], base: str, suffix: str) -> str:
        """A key of a model: its shape counts where it is pretrained, the rest where any stage descends from it."""
        if rest[0] in SHAPE and not model.path and base + suffix not in self.planned:
            return f"{base}{suffix} {self.NOT_PLANNED}"
        if not suffix and base == "base" and not any(family_of(name) == name for name in self.planned):
            return self.NOBODY
        return self._idle(model, rest)

    def _of_student(self, top: str, rest: list[str]) -> str:
        if top == "student" and self.config.students:
            return f"there are several students: students.{next(iter(self.config.students))}.KEY"
        name, keys = ("", rest) if top == "student" else (rest[0], rest[1:])
        student = self.config.all_students.get(name)
        if student is None or not keys:
            return ""
        suffix = f"_{name}" if name else ""
        stages = {"distill": "distill", "base": "student_base"}
        wanted = [stages[keys[0]]] if keys[0] in stages else ["student_base", "distill", "student_rl"]
        if not any(f"{stage}{suffix}" in self.planned for stage in wanted):
            return f"{wanted[0]}{suffix} {self.NOT_PLANNED}"
        if keys[0] in stages:
            return self._idle(self.config.stage(f"{wanted[0]}{suffix}"), keys[1:])
        return self._of_model(student, keys, "student_base", suffix)

    def _idle(self, section: Any, names: list[str]) -> str:
        """Why a field within a section counts for nothing, by the classes on the way to it."""
        for name in names:
            if not isinstance(section, Checked):
                return ""
            why = section.idle().get(name)
            if why:
                return why
            section = getattr(section, name, None)
        return ""


def _runs_programs(stage: Any) -> bool:
    if any(suite.loader in OF_PROGRAMS for suite in getattr(stage, "settings", {}).values()):
        return True
    sources = [source for node in all_nodes(stage).values() for source in node.all_sources.values()]
    return any(source.verifier == "code" or source.verifier_column for source in sources)
