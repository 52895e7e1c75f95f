"""Students: the published presets, several in one run, each with its own stages, configuration and fingerprint."""

import json

import pytest

from pipeline.commands import run_state, unneeded
from pipeline.configuration import compose, graph, spelling
from pipeline.errors import InvalidConfig
from pipeline.report.names import stage_name
from pipeline.report.read import read_run
from tests.support.runs import config, finish, model_directory, plan, step

pytestmark = pytest.mark.slow  # composes many configurations

TWO = ("student@students.a=tiny", "student@students.b=tiny_small")


@pytest.fixture
def runs(tmp_path):
    return f"runs_dir={tmp_path / 'runs'}"


# [V2 Table 6]: base and initial learning rate; B.4.3: batch 64, 32,768 tokens, cosine to a tenth, 2-3 epochs
PUBLISHED = {
    "qwen_15b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4),
    "qwen_7b": ("Qwen/Qwen2.5-Math-7B", 8e-5),
    "qwen_14b": ("Qwen/Qwen2.5-14B", 7e-5),
    "qwen_32b": ("Qwen/Qwen2.5-32B", 6e-5),
    "llama_8b": ("meta-llama/Llama-3.1-8B", 5e-5),
    "llama_70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5),
}


def test_the_six_published_students_in_one_run():
    made = config("recipe=paper", "data.path=x.jsonl", "students=published")
    assert {name: student.path for name, student in made.students.items()} == {
        name: base for name, (base, _) in PUBLISHED.items()
    }
    for name, (_, lr) in PUBLISHED.items():
        sft = made.stage(f"distill_{name}")
        assert (sft.optim.lr, sft.optim.schedule, sft.optim.min_lr_ratio, sft.batch_size, sft.max_tokens) == (
            lr,
            "cosine",
            0.1,
            64,
            32768,
        )
        assert sft.num_epochs in (2, 3) and sft.deepspeed.zero_stage == 3


def test_a_preset_for_the_one_student_in_any_recipe():
    made = config("recipe=one_gpu", "data.path=x.jsonl", "student=llama31_8b", "student.distill.optim.lr=4e-5")
    assert (
        made.student.path == "meta-llama/Llama-3.1-8B"
        and made.stage("distill").optim.lr == 4e-5
        and made.stage("distill").max_tokens == 32768
    )
    assert (
        config("recipe=one_gpu", "data.path=x.jsonl").stage("distill").max_tokens == 4096
    )  # a student of nobody's: the recipe's own numbers


def test_each_student_has_its_own_stages_and_configuration():
    made = config(
        "+stage=all", *TWO, "students.b.distill.optim.lr=5e-4", "students.b.base.num_steps=7", "students.a.rl=true"
    )
    assert made.selection[9:-2] == ["student_base_a", "distill_a", "student_rl_a", "student_base_b", "distill_b"]
    assert made.stage("distill_a") == made.stages.distill and made.stage("distill_b").optim.lr == 5e-4
    assert made.stage("distill_b").batch_size == made.stages.distill.batch_size
    assert (made.stage("student_base_a").model.hidden_size, made.stage("student_base_b").model.hidden_size) == (96, 64)
    assert (made.stage("student_base_a").num_steps, made.stage("student_base_b").num_steps) == (900, 7)
    assert made.model_of("distill_b").hidden_size == 64 and made.model_of("r1_zero").hidden_size == 128


def test_selecting_one_student_or_all_of_them():
    assert config("+stage=distill", *TWO).selection == ["distill_a", "distill_b"]
    assert config("+stage=distill_b", *TWO).selection == ["distill_b"]
    assert config("stage=[distill_b,evaluate]", *TWO).selection == ["distill_b", "evaluate"]
    assert config("+stage=distill", *TWO, "students.b.rl=true").selection == ["distill_a", "distill_b", "student_rl_b"]
    assert config("stages.evaluate.models=[distill_a]", *TWO).stages.evaluate.models == ["distill_a"]


@pytest.mark.parametrize(
    "overrides, text",
    [
        (("+stage=distill_c", *TWO), "selected.distill_c: no such stage with these students; stages are base"),
        (("+stage=distill_a",), "selected.distill_a: no such stage"),
        (("+stage=student_rl",), "add student.rl=true"),
        ((*TWO, "students.b.distill.optim.lrr=1"), "did you mean students.b.distill.optim.lr?"),
        ((*TWO, "students.b.distill.optim.lr=7"), "students.b.distill.optim.lr: must be <= 1"),
        ((*TWO, "students.b.paths=x"), "students.b.paths: unknown key; did you mean students.b.path?"),
        (("students.x-y.path=z",), "'x-y' is not a name"),
        ((*TWO, "stages.evaluate.models=[distill]", "stages.evaluate.models=[distil_a]"), "'distil_a' is not a stage"),
        (("student=qwen25_math_8b",), "did you mean qwen25_math_7b?"),
    ],
)
def test_a_mistake_names_its_fix(overrides, text):
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(spelling.rewrite(list(overrides)))
    assert any(text in line for line in caught.value.errors), caught.value.errors


def test_one_students_setting_reruns_only_that_student(runs):
    made = plan("+stage=all", runs, *TWO)
    finish(made, *(one.stage for one in made.steps))
    assert plan("+stage=all", runs, *TWO).is_done
    changed = plan("+stage=all", runs, *TWO, "students.b.distill.num_epochs=1")
    assert [one.stage for one in changed.steps if not one.is_done] == ["distill_b", "evaluate", "report"]
    assert step(changed, "distill_b").reason == "num_epochs 3 -> 1"
    added = plan("+stage=all", runs, *TWO, "student@students.c=tiny_small")
    assert [one.stage for one in added.steps if not one.is_done] == [
        "student_base_c",
        "distill_c",
        "evaluate",
        "report",
    ]
    assert {"distill_a", "distill_b", "student_base_a"} <= set(step(made, "evaluate").inputs)


def test_models_from_outside_stand_in_for_some_students(runs, tmp_path):
    model = model_directory(tmp_path / "student")
    made = plan("+stage=all", runs, *TWO, f"students.b.path={model}")
    assert made.left_out == {"student_base_b": f"the model comes from {model}"} and not made.errors
    assert (
        step(made, "distill_b").inputs["policy"].model_dir == str(model)
        and step(made, "distill_a").inputs["policy"].stage == "student_base_a"
    )


def test_status_report_and_clean_know_the_students(runs, tmp_path):
    import yaml

    from stages.config import to_dict

    made = plan("+stage=all", runs, *TWO)
    finish(made, *(one.stage for one in made.steps if one.stage != "distill_b"))
    run_dir = made.config.run_dir
    (run_dir / "config.yaml").write_text(yaml.safe_dump(to_dict(made.config)))
    found = run_state.read_run(run_dir)
    assert [stage["stage"] for stage in found["stages"]][-5:] == [
        "student_base_a",
        "student_base_b",
        "distill_a",
        "evaluate",
        "report",
    ]
    assert found["not_started"] == ["distill_b"]
    stages = read_run(run_dir).stages
    assert stages["distill_b"].status == "missing" and stages["distill_a"].status == "done" and "distill" not in stages
    assert stage_name("distill_b").label == "Student b" and stage_name("student_rl_b").label == "Student by RL b"
    assert {path.parent.name for path in unneeded.stage_directories(run_dir)} >= {"distill_a", "student_base_b"}


def test_traces_of_a_file_stand_in_for_the_data_stage(runs, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps({"prompt": "1+1?", "completion": "<think>2</think><answer>2</answer>"}) + "\n")
    made = plan("+stage=[student_base,distill]", runs, f"stages.distill.traces.path={path}")
    assert (
        not made.errors
        and set(step(made, "distill").inputs) == {"policy"}
        and list(step(made, "distill").data_files) == ["traces"]
    )
    finish(made, "student_base", "distill")
    moved = tmp_path / "moved.jsonl"
    moved.write_text(path.read_text())
    assert plan("+stage=[student_base,distill]", runs, f"stages.distill.traces.path={moved}").is_done
    moved.write_text(path.read_text() * 2)
    assert (
        step(plan("+stage=[student_base,distill]", runs, f"stages.distill.traces.path={moved}"), "distill").reason
        == "content of the data file"
    )


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("t.jsonl", "", "has no rows"),
        ("t.txt", "{}", "unknown file type '.txt'"),
        ("t.jsonl", "[1]\n", "expected an object with columns, got list"),
        ("t.jsonl", '{"prompt": "a", "answer": "b"}\n', "no column completion; it has prompt, answer"),
        ("t.parquet", "no", "is not a readable Parquet file"),
        ("gone", None, "gone"),
    ],
)
def test_a_file_of_traces_that_cannot_be_used_says_why(runs, tmp_path, name, content, text):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    errors = plan("+stage=[student_base,distill]", runs, f"stages.distill.traces.path={path}").errors
    assert len(errors) == 1 and text in errors[0][0] and str(path) in errors[0][0] and "traces." in errors[0][1], errors


def test_names_of_stages():
    assert graph.family_of("distill_small") == "distill" and graph.family_of(
        "student_base"
    ) == "student_base" == graph.family_of("student_base_x")
    assert not graph.is_stage("distill_") and not graph.is_stage("hydra") and graph.is_stage("student_rl_q7")
    assert sorted(["report", "distill_b", "base", "student_base_b", "distill_a"], key=graph.stage_order) == [
        "base",
        "student_base_b",
        "distill_a",
        "distill_b",
        "report",
    ]
