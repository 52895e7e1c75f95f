"""The plan: actions and reasons, fingerprints, what is shared, what is missing, what is damaged."""

import dataclasses
import json

import pytest

from pipeline.configuration.graph import NODES, STAGES
from pipeline.errors import MissingInput
from pipeline.planning.fingerprint import differences, stage_fingerprint
from stages.config import GENERAL_VERSIONS, KINDS, GrpoConfig, OptimConfig
from stages.contract import manifest
from stages.contract.inputs import StageInput
from tests.support.runs import finish, model_directory, plan, step

pytestmark = pytest.mark.slow  # composes many configurations


@pytest.fixture
def runs(tmp_path):
    return f"runs_dir={tmp_path / 'runs'}"


def actions(made) -> dict[str, str]:
    return {one.stage: one.action for one in made.steps}


def test_the_table_of_stages_is_in_order_and_every_kind_has_a_config():
    assert tuple(node.name for node in NODES) == STAGES
    for place, node in enumerate(NODES):
        assert set(node.inputs.values()) <= set(STAGES[:place])
        assert node.kind in KINDS or node.kind == "report"
    inputs = {node.name: node.inputs for node in NODES}
    assert (
        inputs["cold_start"]["policy"] == inputs["rejection_sft"]["policy"] == "base"
    )  # both SFT stages start from the base [N Fig. 2]


def test_fingerprint_depends_on_output_fields_seed_inputs_and_data_and_on_nothing_else():
    config = GrpoConfig()
    print_of = lambda config=config, inputs={"policy": "a"}, files={}, seed=0: stage_fingerprint(
        "grpo", config, inputs, files, seed
    )
    assert print_of() == print_of(GrpoConfig(save_every=99, micro_batch_tokens=1, num_sample_prompts=0))
    others = [
        print_of(GrpoConfig(optim=OptimConfig(lr=1e-4))),
        print_of(seed=1),
        print_of(inputs={"policy": "b"}),
        print_of(files={"data": "x"}),
    ]
    assert len({print_of(), *others}) == 5
    moved = GrpoConfig(data=type(config.data)(path="elsewhere.jsonl"))
    assert print_of(moved, files={"data": "x"}) == print_of(files={"data": "x"})


def test_other_general_prompts_make_those_stages_anew_that_train_on_them(runs, monkeypatch):
    planned = lambda: plan("+stage=all", "recipe=reasoning_gym_cpu", "data.general=english", "judge=english", runs)
    first = planned()
    finish(first, *(one.stage for one in first.steps))
    monkeypatch.setitem(GENERAL_VERSIONS, "english", 99)
    again, before = planned(), {one.stage: one.fingerprint for one in first.steps}
    changed = [one.stage for one in again.steps if one.fingerprint != before[one.stage]]
    drawn = ["rejection_data", "reward_models", "preference_rl"]
    assert [stage for stage in STAGES if stage in changed] == [
        stage for stage in STAGES if stage in (*drawn, "rejection_sft", "distill", "evaluate", "report")
    ]
    assert step(again, "rejection_data").reason == "prompts of data.general=english changed"
    assert actions(again)["reasoning_rl"] == "skip"


def test_differences_name_key_old_and_new():
    assert differences({"optim": {"lr": 1e-6}, "a": [1], "gone": 1}, {"optim": {"lr": 3e-6}, "a": [1], "new": 2}) == [
        "optim.lr 1e-06 -> 3e-06",
        "gone 1 -> unset",
        "new unset -> 2",
    ]
    assert differences(
        {"sets": {"a": {"k": 4, "p": 1}, "b": {"k": 1}}}, {"sets": {"b": {"k": 2}, "c": {"k": 1, "p": 1}}}
    ) == ["sets.a removed", "sets.b.k 1 -> 2", "sets.c added"]


def test_other_suites_and_other_sources_are_named_in_the_reason(runs, tmp_path):
    """Mappings whose keys people choose: what is gone and what is new, and no word on where files are."""

    def suites(*names):
        return plan(
            "+stage=[base,evaluate]",
            runs,
            f"stages.evaluate.suites=[{','.join(names)}]",
            *(f"eval.{name}.path=tests/fixtures/eval_schemas/{name}.jsonl" for name in names),
        )

    finish(suites("aime24", "gsm8k"), "base", "evaluate")
    reason = step(suites("gsm8k", "math500"), "evaluate").reason
    assert "settings.aime24 removed" in reason and "settings.math500 added" in reason and "gsm8k." not in reason

    def mixture(*names):
        rows = tmp_path / "rows.jsonl"
        rows.write_text('{"prompt": "1+1?", "answer": "2"}\n' * 40)
        return plan(
            "+stage=[base,r1_zero]", runs, "data=file", *(f"+data.sources.{name}.path={rows}" for name in names)
        )

    finish(mixture("first", "second"), "base", "r1_zero")
    reason = step(mixture("second", "third"), "r1_zero").reason
    assert "data.sources.first removed" in reason and "data.sources.third added" in reason and "second" not in reason


def test_nothing_there_is_run_and_writes_nothing(runs, tmp_path):
    made = plan("+stage=all", runs)
    assert set(actions(made).values()) == {"run"} and not made.errors and not (tmp_path / "runs").exists()
    assert {one.reason for one in made.steps} == {"not made yet"}


def test_done_is_skipped_and_a_changed_setting_reruns_only_what_depends_on_it(runs):
    made = plan("+stage=all", runs)
    finish(made, *(one.stage for one in made.steps))
    assert plan("+stage=all", runs).is_done
    changed = plan("+stage=all", runs, "stages.reasoning_rl.optim.lr=3e-4")
    assert [one.stage for one in changed.steps if one.is_done] == [
        "base",
        "r1_zero",
        "cold_start_data",
        "cold_start",
        "student_base",
    ]
    assert step(changed, "reasoning_rl").reason == "optim.lr 0.001 -> 0.0003"
    assert step(changed, "rejection_data").reason == "reasoning_rl changed"
    assert step(changed, "reasoning_rl").dir != step(made, "reasoning_rl").dir


def test_operational_settings_and_the_launcher_change_nothing(runs):
    finish(plan("+stage=base", runs), "base")
    assert plan(
        "+stage=base",
        runs,
        "stages.base.save_every=7",
        "launcher.num_processes=1",
        "orchestrator=none",
        "tracker=tensorboard",
    ).is_done


def test_reasons_name_seed_and_inputs(runs):
    finish(plan("+stage=[base,r1_zero]", runs), "base", "r1_zero")
    changed = plan("+stage=[base,r1_zero]", runs, "seed=1")
    assert (
        step(changed, "base").reason == "seed 0 -> 1" and step(changed, "r1_zero").reason == "seed 0 -> 1; base changed"
    )


def test_unfinished_resumes_from_its_checkpoint(runs):
    made = plan("+stage=base", runs)
    finish(made, "base")
    directory = step(made, "base").dir
    (directory / "manifest.json").unlink()
    assert (step(plan("+stage=base", runs), "base").action, step(plan("+stage=base", runs), "base").reason) == (
        "resume",
        "interrupted before its first checkpoint",
    )
    (directory / "state" / "step_000120").mkdir(parents=True)
    (directory / "state" / "step_000120" / "manifest.json").write_text("{}")
    (directory / "state" / "step_000125").mkdir()  # without manifest: not finished
    (directory / "error.json").write_text('{"kind": "OSError", "message": "no", "rank": 1}')
    assert step(plan("+stage=base", runs), "base").reason == "failed (OSError), continues from step 120"


def test_a_missing_upstream_stage_names_the_command_that_makes_it(runs):
    made = plan("+stage=r1_zero", runs, "seed=3")
    assert len(made.errors) == 1
    message, fix = made.errors[0]
    assert message.startswith("r1_zero needs base") and fix.startswith(
        "make it too: python -m pipeline run '+stage=[base,r1_zero]'"
    )
    with pytest.raises(MissingInput):
        made.raise_errors()
    finish(plan("+stage=[base]", runs, "seed=3"), "base")
    assert not plan("+stage=r1_zero", runs, "seed=3").errors


def test_force_redoes_the_selected_stages_only(runs):
    finish(plan("+stage=[base,r1_zero]", runs), "base", "r1_zero")
    made = plan("+stage=r1_zero", runs, "force=true")
    assert (
        actions(made) == {"r1_zero": "run"}
        and step(made, "r1_zero").reason == "force=true"
        and made.upstream[0].is_done
    )


def test_evaluate_and_report_take_what_is_there(runs):
    finish(plan("+stage=[base,r1_zero]", runs), "base", "r1_zero")
    made = plan("+stage=[evaluate,report]", runs)
    assert list(step(made, "evaluate").inputs) == ["base", "r1_zero"] and not made.errors
    assert list(step(made, "report").inputs) == ["base", "r1_zero", "evaluate"]
    assert list(step(plan("+stage=evaluate", runs, "stages.evaluate.models=[r1_zero]"), "evaluate").inputs) == [
        "r1_zero"
    ]
    assert plan("+stage=evaluate", runs, "run=empty").errors


def test_a_damaged_file_is_named(runs):
    made = plan("+stage=[base,r1_zero]", runs)
    finish(made, "base", "r1_zero")
    model = step(made, "base").dir / "model" / "model.safetensors"
    assert plan("+stage=[base,r1_zero]", runs).is_done
    model.write_text("content of bose")  # same size, other bytes
    found = plan("+stage=[base,r1_zero]", runs)
    assert str(model) in found.errors[0][0] and "force=true" in found.errors[0][1]
    forced = plan("+stage=base", runs, "force=true")
    assert actions(forced) == {"base": "run"} and not forced.errors
    model.unlink()
    assert "is missing" in plan("+stage=r1_zero", runs).errors[0][0]


def test_a_manifest_whose_entries_are_damaged_is_an_error_with_its_fix(runs):
    made = plan("+stage=base", runs)
    finish(made, "base")
    path = step(made, "base").dir / "manifest.json"
    path.write_text(path.read_text().replace("sha256", "sha257", 1))
    found = plan("+stage=base", runs)
    assert "is not a manifest" in found.errors[0][0] and "force=true" in found.errors[0][1]


def test_checksums_are_remembered_while_a_file_is_unchanged(runs, monkeypatch):
    made = plan("+stage=base", runs)
    finish(made, "base")
    directory = step(made, "base").dir
    assert not manifest.verify(directory).problems
    monkeypatch.setattr(manifest, "sha256", lambda path: pytest.fail("hashed again"))
    assert not manifest.verify(directory).problems
    entry = json.loads((directory / ".verified.json").read_text())
    assert list(entry) == ["model/model.safetensors"]


def test_a_model_from_outside_stands_in_for_the_base(runs, tmp_path):
    model = model_directory(tmp_path / "model")
    made = plan("+stage=[base,r1_zero]", runs, f"model.path={model}")
    assert made.left_out == {"base": f"the model comes from {model}"} and actions(made) == {"r1_zero": "run"}
    assert dataclasses.replace(step(made, "r1_zero").inputs["policy"], fingerprint="") == StageInput(
        stage=None, path=str(model), model_dir=str(model), fingerprint=""
    )
    assert "base" in step(plan("+stage=[r1_zero,evaluate]", runs, f"model.path={model}"), "evaluate").inputs
    (model / "model.safetensors").write_bytes(b"changed")
    changed = plan("+stage=r1_zero", runs, f"model.path={model}")
    assert step(changed, "r1_zero").fingerprint != step(made, "r1_zero").fingerprint


@pytest.mark.parametrize(
    "spoil, text",
    [
        (lambda path: (path / "config.json").unlink(), "no config.json"),
        (lambda path: (path / "config.json").write_text("[]"), "names no model_type"),
        (lambda path: (path / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda path: (path / "model.safetensors").unlink(), "no weights"),
        (lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"), "pickle"),
        (
            lambda path: (path / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-1.safetensors"}}'
            ),
            "model-1.safetensors",
        ),
    ],
)
def test_a_model_directory_that_cannot_be_used_says_why(runs, tmp_path, spoil, text):
    model = model_directory(tmp_path / "model")
    spoil(model)
    errors = plan("+stage=r1_zero", runs, f"model.path={model}").errors
    assert len(errors) == 1 and text in errors[0][0] and str(model) in errors[0][0] and errors[0][1]


def test_a_missing_model_says_where_it_was_looked_for(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert "hf download some/model" in plan("+stage=r1_zero", runs, "model.path=some/model").errors[0][1]
    assert "no such directory" in plan("+stage=r1_zero", runs, "model.path=./nothing").errors[0][0]
    snapshot = model_directory(tmp_path / "hub" / "models--some--model" / "snapshots" / "abc")
    (tmp_path / "hub" / "models--some--model" / "refs").mkdir()
    (tmp_path / "hub" / "models--some--model" / "refs" / "main").write_text("abc")
    made = plan("+stage=r1_zero", runs, "model.path=some/model")
    assert not made.errors and step(made, "r1_zero").inputs["policy"].model_dir == str(snapshot)


@pytest.mark.parametrize(
    "content, text",
    [
        ("", "has no rows"),
        ("\n\n", "has no rows"),
        ('{"prompt": "1+1", "answer": "2"}\n{"prompt": "1+1", "answer"', "line 2: not JSON"),
        ('{"prompt": "1+1", "answer": "2"}\n[1]\n', "line 2: expected an object with columns, got list"),
        ('{"question": "1+1", "answer": "2"}\n', "line 1: no column prompt; it has question, answer"),
        ('{"prompt": "", "answer": "2"}\n', "line 1: prompt is empty or not text"),
        ('{"prompt": ["a"], "answer": "2"}\n', "line 1: prompt: a chat is a list of messages"),
    ],
)
def test_a_data_file_that_cannot_be_used_says_where(runs, tmp_path, content, text):
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    model = model_directory(tmp_path / "model")
    errors = plan("+stage=r1_zero", runs, f"data.path={path}", f"model.path={model}").errors
    assert errors and text in errors[0][0] and str(path) in errors[0][0]


def test_parquet_files_are_checked_too(runs, tmp_path):
    import pyarrow
    import pyarrow.parquet

    path, model = tmp_path / "prompts.parquet", model_directory(tmp_path / "model")
    pyarrow.parquet.write_table(pyarrow.table({"question": ["1+1"], "answer": ["2"]}), path)
    shared = ["+stage=r1_zero", runs, f"data.path={path}", f"model.path={model}"]
    assert "row 1: no column prompt; it has question, answer" in plan(*shared).errors[0][0]
    assert not plan(*shared, "data.prompt_column=question").errors
    path.write_bytes(b"not parquet")
    assert "is not a readable Parquet file" in plan(*shared).errors[0][0]


def test_the_data_file_counts_by_content(runs, tmp_path):
    first, second, model = tmp_path / "a.jsonl", tmp_path / "b.jsonl", model_directory(tmp_path / "model")
    first.write_text('{"prompt": "1+1", "answer": 2}\n')
    second.write_text(first.read_text())
    shared = ["+stage=r1_zero", runs, f"model.path={model}"]
    before = plan(*shared, f"data.path={first}")
    finish(before, "r1_zero")
    assert plan(*shared, f"data.path={second}").is_done
    second.write_text('{"prompt": "1+2", "answer": 3}\n')
    assert step(plan(*shared, f"data.path={second}"), "r1_zero").reason == "content of the data file"


def test_problems_of_a_library_count_by_its_version(runs, tmp_path, monkeypatch):
    model = model_directory(tmp_path / "model")
    shared = ["+stage=r1_zero", runs, f"model.path={model}", "data=reasoning_gym", "data.tasks=[chain_sum]"]
    finish(plan(*shared), "r1_zero")
    assert plan(*shared).is_done
    for installed in ("0.1.26", "0.1.27"):
        monkeypatch.setattr("pipeline.planning.fingerprint.version", lambda name, installed=installed: installed)
        made = plan(*shared)
        assert step(made, "r1_zero").reason == "the version of reasoning-gym"
        finish(made, "r1_zero")
        assert plan(*shared).is_done


def test_your_own_data_and_model_leave_out_what_needs_the_tiny_world(runs, tmp_path):
    path, model = tmp_path / "a.jsonl", model_directory(tmp_path / "model")
    path.write_text('{"prompt": "1+1", "answer": 2}\n')
    made = plan("+stage=all", runs, f"model.path={model}", f"data.path={path}")
    assert set(made.left_out) == {"base", "reward_models", "student_base", "distill"} and not made.errors
    assert list(step(made, "preference_rl").inputs) == ["policy"] and any("general" in line for line in made.notes)
    with_student = plan("+stage=all", runs, f"model.path={model}", f"data.path={path}", f"student.path={model}")
    assert "distill" in actions(with_student)


def test_too_little_disk_is_an_error(runs):
    errors = plan("+stage=base", runs, "launcher.min_free_gib=1e9").errors
    assert "GiB free" in errors[0][0] and "runs_dir=" in errors[0][1]
