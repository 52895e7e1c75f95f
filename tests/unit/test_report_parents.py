"""Each stage of the report is compared with the model that it started from, also where that comes from outside."""

import pytest
import yaml

from pipeline.report.context import parent_of, what_it_did
from pipeline.report.read import StageRecord, read_run
from pipeline.report.results import columns
from stages.contract.inputs import StageInput


def result(model: str, value: float) -> dict:
    row = {"model": model, "set": "mine", "metric": "pass@1", "value": value, "n": 100}
    return {**row, "low": value - 0.05, "high": value + 0.05}


def from_outside(path: str) -> StageInput:
    return StageInput(path=path, model_dir=path, fingerprint=path[-1] * 64)


@pytest.mark.parametrize(
    "stage, policy, evaluated, parent",
    [
        ("r1_zero", StageInput(stage="base", path="/b", fingerprint="b"), {}, "base"),
        ("r1_zero", from_outside("/m/a"), {"base": "/m/a"}, "base"),
        ("distill", from_outside("/m/s"), {"base": "/m/a", "student_base": "/m/s"}, "student_base"),
        ("student_rl", from_outside("/m/s"), {"base": "/m/a"}, "student_base"),  # which was not evaluated
        ("distill_b", from_outside("/m/s"), {"base": "/m/a", "student_base_b": "/m/s"}, "student_base_b"),
        ("distill", from_outside("/m/a"), {"base": "/m/a", "student_base": "/m/a"}, "student_base"),  # both are one
        ("distill", from_outside("/m/s"), {"mine": "/m/s"}, "mine"),  # an evaluation of directories
        ("distill", from_outside("/m/s"), {}, "student_base"),
        ("reward_models", None, {"base": "/m/a"}, None),
    ],
)
def test_a_stage_is_compared_with_the_model_that_it_started_from(stage, policy, evaluated, parent):
    record = StageRecord(stage, None, inputs={"policy": policy} if policy else {})
    evaluation = StageRecord("evaluate", None, inputs={role: from_outside(path) for role, path in evaluated.items()})
    assert parent_of(record, evaluation) == parent


def test_the_card_of_a_student_from_outside_shows_its_own_change():
    found = columns([result("base", 0.5), result("student_base", 0.1), result("distill", 0.3)])
    distill = StageRecord("distill", None, inputs={"policy": from_outside("/m/s")})
    card = what_it_did(found, distill, StageRecord("evaluate", None))
    assert card["parent"].label == "Student base"
    assert [(row["before"], row["after"]) for row in card["changes"]] == [("10.0", "30.0")]


@pytest.mark.parametrize(
    "traces, missing",
    [
        ({}, set()),
        ({"cold_start": "t"}, {"cold_start_data"}),
        ({"rejection_sft": "t"}, set()),  # the student reads it
        ({"rejection_sft": "t", "distill": "t"}, {"rejection_data"}),
    ],
)
def test_builders_that_nobody_reads_are_not_missed(traces, missing, tmp_path):
    stages = {name: {"traces": {"path": path}} for name, path in traces.items()}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"stages": stages, "student": {"path": None}}))
    assert {"cold_start_data", "rejection_data"} - set(read_run(tmp_path).stages) == missing
