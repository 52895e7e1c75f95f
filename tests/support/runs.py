"""Finished and unfinished stage directories for the driver's tests: files as a worker leaves them, with a fingerprint
that the driver planned.
"""

import functools
import json
from pathlib import Path

from pipeline.configuration import compose, spelling
from pipeline.configuration.schema import RunConfig
from pipeline.execution.execute import prepare
from pipeline.planning.plan import Plan, Step, make_plan
from stages.contract.files import file_table
from stages.contract.manifest import Manifest, Timing


def config(*overrides: str) -> RunConfig:
    return compose.compose_config(spelling.rewrite(list(overrides)))


def plan(*overrides: str) -> Plan:
    return make_plan(config(*overrides))


@functools.cache
def shared_config(*overrides: str) -> RunConfig:
    """A configuration that is composed once for all tests: for those that name files and runs by relative paths."""
    return config(*overrides)


def shared_plan(*overrides: str) -> Plan:
    return make_plan(shared_config(*overrides))


def step(made: Plan, stage: str) -> Step:
    return next(step for step in made.steps if step.stage == stage)


def finish(made: Plan, *stages: str, metrics: dict | None = None) -> None:
    """Writes what a worker of each stage would leave: a model, numbers, a manifest."""
    for stage in stages:
        one = step(made, stage)
        prepare(one, made)
        name = {"collect": "data/train.parquet", "evaluate": "results.json", "report": "report.html"}.get(
            one.kind, "model/model.safetensors"
        )
        path = one.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[]" if stage == "evaluate" else f"content of {stage}")
        Manifest(
            stage=stage,
            kind=one.kind,
            version=1,
            fingerprint=one.fingerprint,
            inputs={role: source.fingerprint for role, source in one.inputs.items()},
            files=file_table(one.dir, [name]),
            metrics=metrics or {"train/loss": 0.5},
            timing=Timing(total_s=12.5, startup_s=8.0),
            peak_memory_gib=1.5,
            created="2026-01-01T00:00:00+00:00",
        ).write(one.dir)


def weights_file(note: str) -> bytes:
    """The content of a safetensors file with one number, whose header also holds a note."""
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"note": note}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"1234"


def model_directory(path: Path, weights: str = "model.safetensors") -> Path:
    """A directory that looks like a model; the driver reads only the headers of the weights."""
    path.mkdir(parents=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "eos_token_id": 0}
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text("{}")
    (path / weights).write_bytes(weights_file(path.name))
    return path
