"""Reads a run directory for the report. What is missing or damaged becomes a problem to show, never an exception."""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline.configuration.graph import FAMILIES, NODES, family_of
from pipeline.report.names import STAGES, stage_order
from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.inputs import StageInput, read_inputs
from stages.contract.json_file import DamagedFile
from stages.contract.manifest import Manifest, Timing, verify
from stages.contract.outcome import FAILED, Outcome
from stages.contract.progress import StageProgress
from stages.contract.results import Comparison, Result, read_comparisons, read_results

T = TypeVar("T")

MAX_EVALUATION_SAMPLES = 600
NUM_TRAINING_SAMPLES = 3  # shown from the first and from the last steps of a stage


@dataclass
class StageRecord:
    """One stage of a run, as found on disk. `status` is done (it has a manifest), incomplete, failed or missing."""

    name: str
    path: Path | None
    status: str = "missing"
    description: StageDescription | None = None
    inputs: dict[str, StageInput] = field(default_factory=dict)
    manifest: Manifest | None = None
    failure: str = ""  # why its newest attempt failed
    progress: StageProgress | None = None
    metrics: list[dict] = field(default_factory=list)
    samples: list[dict] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    alarms: list[dict] = field(default_factory=list)
    first_words: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of the stage, such as grpo; "" where its files do not say it."""
        known = self.manifest or self.description
        return known.kind if known else ""

    @property
    def timing(self) -> Timing | None:
        """How long it took; None where it is not done."""
        return self.manifest.timing if self.manifest else None

    @property
    def fingerprint(self) -> str:
        """The stage's fingerprint; of a directory whose files do not say it, the short one in its name."""
        known = self.manifest or self.description
        return (known.fingerprint if known else "") or (self.path.name if self.path else "")


@dataclass
class RunRecord:
    """A run: its resolved configuration and its stages in the recipe's order."""

    name: str
    path: Path
    config_text: str
    config: dict
    stages: dict[str, StageRecord]
    problems: list[str]


def read_run(run_dir: Path, stage_dirs: dict[str, Path] | None = None) -> RunRecord:
    """Reads everything that the report shows.

    Args:
        run_dir: runs/<run>; it may be empty or not be there.
        stage_dirs: The directory of each stage to show; None for the latest of each.
    """
    problems: list[str] = []
    config_text = _read_text(run_dir / "config.yaml", problems)
    config = _parse_yaml(config_text, problems)
    if stage_dirs is None:
        stage_dirs = find_stage_dirs(run_dir)
    names = set(stage_dirs) | _expected_stages(config)
    stages = {name: read_stage(name, stage_dirs.get(name)) for name in sorted(names - {"report"}, key=stage_order)}
    return RunRecord(run_dir.resolve().name, run_dir, config_text, config, stages, problems)


def find_stage_dirs(run_dir: Path) -> dict[str, Path]:
    """The directory of each stage: where `latest` points, else the one that was changed last."""
    found: dict[str, Path] = {}
    for folder in sorted(run_dir.iterdir()) if run_dir.is_dir() else []:
        candidates = [path for path in folder.iterdir() if (path / "config.json").is_file()] if folder.is_dir() else []
        if candidates:
            latest = folder / "latest"
            found[folder.name] = (
                latest.resolve() if latest.is_dir() else max(candidates, key=lambda path: path.stat().st_mtime)
            )
    return found


def read_stage(name: str, path: Path | None) -> StageRecord:
    """Reads one stage directory, as far as it is there."""
    if path is None or not path.is_dir():
        return StageRecord(name, None)
    path = path.resolve()
    stage = StageRecord(name, path)
    stage.description = _read_file(StageDescription.read, stage)
    stage.inputs = _read_file(read_inputs, stage) or {}
    stage.manifest = _read_file(Manifest.read, stage)
    if stage.manifest:
        stage.problems += [f"{name} is damaged: {problem}" for problem in verify(path).problems]
    stage.failure = _failure(stage)
    stage.progress = _read_file(StageProgress.read, stage)
    stage.results = _read_file(read_results, stage) or []
    stage.comparisons = _read_file(read_comparisons, stage) or []
    stage.metrics = steps_in_order(read_jsonl(path / "metrics.jsonl", stage.problems))
    alarms = [*read_jsonl(path / "alarms.jsonl", stage.problems), *read_jsonl(path / "skipped.jsonl", stage.problems)]
    stage.alarms = [row for row in alarms if {"step", "message", "advice"} <= set(row)]
    stage.first_words = list(read_jsonl(path / "first_words.jsonl", stage.problems))
    rows = read_jsonl(path / "samples.jsonl", stage.problems)
    stage.samples = (
        _first_rows(rows, MAX_EVALUATION_SAMPLES) if name == "evaluate" else first_and_last(rows, NUM_TRAINING_SAMPLES)
    )
    stage.status = _status(stage)
    if stage.status == "failed":
        stage.problems.append(stage.failure)
    elif stage.status == "incomplete":
        progress = stage.progress
        at = f" at step {progress.step} of {progress.num_steps or '?'}" if progress and progress.step else ""
        stage.problems.append(f"{name} is not complete{at}: what it has so far is shown")
    return stage


def _failure(stage: StageRecord) -> str:
    """Why the newest attempt failed, in the driver's words, or without a driver in those of a rank; "" otherwise."""
    assert stage.path is not None
    error, outcome = _read_file(ErrorReport.read, stage), Outcome.find(stage.path / "logs" / "latest")
    if outcome is not None and outcome.state == FAILED:
        return outcome.message or f"{stage.name} failed"
    return f"{stage.name} failed: {error.message}" if error is not None else ""


def _status(stage: StageRecord) -> str:
    if stage.manifest:
        return "done"
    return "failed" if stage.failure else "incomplete"


def _expected_stages(config: dict) -> set[str]:
    """The stages that a complete run of this configuration has; the graph of the driver knows which it leaves out."""
    expected = set(STAGES) - {"report"} - set(FAMILIES)
    model, data = mapping(config.get("model")), mapping(config.get("data"))
    is_own_data = data.get("name") == "file" or bool(data.get("path"))
    if model.get("path"):
        expected -= {"base"}
    is_tiny = data.get("name", "tiny_world") == "tiny_world" and not data.get("path")
    if not is_tiny and data.get("general", "none") == "none":
        expected -= {"reward_models"}
    students = config.get("students") or {"": config.get("student")}
    for name, settings in mapping(students).items():
        student, suffix = mapping(settings), f"_{name}" if name else ""
        if student.get("path"):
            expected |= {f"distill{suffix}"}
        elif not (is_own_data and model.get("path")):
            expected |= {f"student_base{suffix}", f"distill{suffix}"}
        expected |= {f"student_rl{suffix}"} if student.get("rl") else set()
    return expected - _unread(mapping(config.get("stages")), expected)


def _unread(stages: dict, expected: set[str]) -> set[str]:
    """The builders whose data nobody reads, because their readers are given traces of the user's."""
    readers = {node.name: node.inputs["data"] for node in NODES if "data" in node.inputs}
    reads = {
        readers[family_of(name)]
        for name in expected
        if family_of(name) in readers and not mapping(mapping(stages.get(family_of(name))).get("traces")).get("path")
    }
    return set(readers.values()) - reads


def steps_in_order(rows: Iterator[dict]) -> list[dict]:
    """Metric rows by step. Of a step that was done twice, before and after an interruption, the last row counts."""
    by_step = {row["step"]: row for row in rows if is_finite(row.get("step"))}
    return [by_step[step] for step in sorted(by_step)]


def first_and_last(rows: Iterator[dict], count: int) -> list[dict]:
    """The first `count` rows and the last `count` rows, no row twice."""
    first: list[dict] = []
    last: deque[dict] = deque(maxlen=count)
    for row in rows:
        if len(first) < count:
            first.append(row)
        else:
            last.append(row)
    return first + list(last)


def _first_rows(rows: Iterator[dict], count: int) -> list[dict]:
    return [row for _, row in zip(range(count), rows)]


def read_jsonl(path: Path, problems: list[str]) -> Iterator[dict]:
    """The objects of a JSON-lines file. A line that is not one becomes a problem: the last may be half written."""
    if not path.is_file():
        return
    bad = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError:
                row, bad = None, bad + 1
            if isinstance(row, dict):
                yield row
    if bad:
        problems.append(f"{path.parent.parent.name}: {bad} unreadable line(s) in {path.name} left out")


def mapping(value: Any) -> dict:
    """The value where it is a mapping, else an empty one: files may be damaged, keys may be missing."""
    return value if isinstance(value, dict) else {}


def is_finite(value: Any) -> bool:
    """Whether a value read from a file is a number that can be compared and drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _read_file(read: Callable[[Path], T], stage: StageRecord) -> T | None:
    """What `read` makes of a stage's directory; None where the file is missing or, which is a problem, damaged."""
    assert stage.path is not None
    try:
        return read(stage.path)
    except FileNotFoundError:
        return None
    except DamagedFile as error:
        stage.problems.append(f"{stage.name}: {error.path.name} is not a {error.what}: {error.reason}")
    except OSError as error:
        stage.problems.append(f"{stage.name}: {error.filename} cannot be read: {error.strerror or error}")
    return None


def _read_text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
        return ""


def _parse_yaml(text: str, problems: list[str]) -> dict:
    try:
        data = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        problems.append(f"config.yaml is not YAML: {error}")
        return {}
    return mapping(data)
