"""With traces of your own, stages whose data nobody reads are left out, and models that nobody uses are named."""

import json

import pytest

from tests.support.runs import plan

pytestmark = pytest.mark.slow  # composes many configurations


@pytest.fixture
def traces(tmp_path) -> str:
    path = tmp_path / "traces.jsonl"
    row = {"prompt": "what is1+1?", "completion": "<think>1+1=2</think><answer>2</answer>"}
    path.write_text(json.dumps(row) + "\n")
    return str(path)


def stages(made) -> list[str]:
    return [step.stage for step in made.steps]


def test_the_whole_recipe_reads_all_that_it_makes(tmp_path):
    made = plan("+stage=all", f"runs_dir={tmp_path}")
    assert not made.left_out and not any("nothing else is made" in note for note in made.notes)


def test_own_cold_start_traces_leave_the_builder_out_and_name_r1_zero(traces, tmp_path):
    made = plan("+stage=all", f"runs_dir={tmp_path}", f"stages.cold_start.traces.path={traces}")
    assert not made.errors and "cold_start_data" not in stages(made) and "r1_zero" in stages(made)
    assert made.left_out["cold_start_data"] == "nobody reads its data: stages.cold_start.traces.path gives other rows"
    (note,) = [note for note in made.notes if "nothing else is made" in note]
    assert "from r1_zero" in note and "+stage=" in note


def test_data_that_one_of_several_reads_stays(traces, tmp_path):
    runs = f"runs_dir={tmp_path}"
    one = plan("+stage=all", runs, f"stages.rejection_sft.traces.path={traces}")
    assert "rejection_data" in stages(one)  # the student reads it
    both = plan("+stage=all", runs, *(f"stages.{name}.traces.path={traces}" for name in ("rejection_sft", "distill")))
    assert "rejection_data" not in stages(both) and set(both.left_out) == {"rejection_data"}
    assert "stages.rejection_sft.traces.path, stages.distill.traces.path" in both.left_out["rejection_data"]
    assert any("nothing else is made from reasoning_rl" in note for note in both.notes)


def test_what_is_asked_for_by_itself_is_made(traces, tmp_path):
    own = (f"runs_dir={tmp_path}", f"stages.cold_start.traces.path={traces}")
    assert stages(plan("+stage=[base,r1_zero,cold_start_data]", *own)) == ["base", "r1_zero", "cold_start_data"]
    alone = plan("+stage=[base,cold_start,reasoning_rl]", *own)
    assert not alone.errors and not alone.left_out
