"""Every model is prompted by the template that it was trained with: what the driver finds out, what an evaluation makes
of it.
"""

import dataclasses

import pytest

from pipeline.planning.models import template_of_directory
from stages.config import EvaluateConfig, SuiteConfig
from stages.contract.description import StageDescription
from stages.kinds.evaluation.problems import ProblemSet, suites_of
from stages.kinds.evaluation.sampling import Prompter
from tests.support.runs import config, finish, model_directory, plan, step

pytestmark = pytest.mark.slow  # composes many configurations

STUDENTS = ("student@students.a=tiny", "student@students.b=tiny_small")


@pytest.fixture
def runs(tmp_path):
    return f"runs_dir={tmp_path / 'runs'}"


def templates(made) -> dict[str, str | None]:
    return {role: entry.template for role, entry in step(made, "evaluate").inputs.items()}


def test_each_stage_of_a_run_is_evaluated_with_its_own(runs):
    made = plan(
        "+stage=all", runs, *STUDENTS, "students.b.distill.template=chat", "stages.preference_rl.data.template=r1_zero"
    )
    found = templates(made)
    assert found["distill_b"] == "chat" and found["preference_rl"] == "r1_zero"
    assert {template for role, template in found.items() if role not in ("distill_b", "preference_rl")} == {"plain"}
    assert {"base", "r1_zero", "cold_start", "distill_a", "student_base_b"} <= set(found)


def test_another_template_evaluates_anew_what_it_concerns(runs):
    made = plan("+stage=all", runs, *STUDENTS)
    finish(made, *(one.stage for one in made.steps))
    changed = plan("+stage=all", runs, *STUDENTS, "students.b.distill.template=chat")
    assert [one.stage for one in changed.steps if not one.is_done] == ["distill_b", "evaluate", "report"]
    assert step(changed, "distill_b").reason == "template plain -> chat"


def of_our_stage(path, kind: str, config: dict):
    """A model directory within the directory of the stage that made it."""
    model = model_directory(path / "model")
    StageDescription(stage=path.name, kind=kind, config=config).write(path)
    return model


def test_a_directory_of_a_stage_of_ours_says_what_it_was_trained_with(tmp_path):
    assert template_of_directory(of_our_stage(tmp_path / "a", "sft", {"template": "chat"})) == "chat"
    assert template_of_directory(of_our_stage(tmp_path / "b", "grpo", {"data": {"template": "r1_zero"}})) == "r1_zero"
    assert template_of_directory(of_our_stage(tmp_path / "c", "pretrain", {})) == "plain"
    assert template_of_directory(of_our_stage(tmp_path / "d", "sft", {})) is None  # of a version without
    assert template_of_directory(model_directory(tmp_path / "e")) is None
    (tmp_path / "config.json").write_text("[]")
    assert template_of_directory(tmp_path / "e") is None


def test_the_template_of_a_directory_is_part_of_the_fingerprint(runs, tmp_path):
    """The same files where nothing says how they were trained are prompted otherwise."""
    taught, copy = (
        of_our_stage(tmp_path / "taught", "sft", {"template": "chat"}),
        model_directory(tmp_path / "copy" / "taught"),
    )
    (copy / "model.safetensors").write_bytes((taught / "model.safetensors").read_bytes())

    def evaluation(model):
        return step(plan("+stage=evaluate", runs, f"stages.evaluate.directories=[{model}]"), "evaluate")

    assert evaluation(taught).inputs["taught"].template == "chat" and evaluation(copy).inputs["taught"].template is None
    assert evaluation(taught).inputs["taught"].fingerprint == evaluation(copy).inputs["taught"].fingerprint
    assert evaluation(taught).fingerprint != evaluation(copy).fingerprint


OWN = suites_of(EvaluateConfig())["own"]
BENCHMARK = SuiteConfig(loader="math500")


@pytest.mark.parametrize(
    "suite, trained, has_chat, expected",
    [
        (OWN, "chat", True, "chat"),
        (OWN, "plain", True, "plain"),  # a stage of ours
        (OWN, None, True, "r1_zero"),
        (OWN, None, False, "r1_zero"),  # the run's own prompts before a model from outside: data.template
        (BENCHMARK, "plain", True, "plain"),
        (BENCHMARK, None, True, "chat"),
        (BENCHMARK, None, False, "r1_zero"),
        (
            dataclasses.replace(BENCHMARK, template="r1_zero"),
            "chat",
            True,
            "r1_zero",
        ),  # eval.SUITE.template=... is for all models
        (dataclasses.replace(OWN, template="chat"), None, True, "chat"),
    ],
)
def test_what_a_prompt_is_put_into(suite, trained, has_chat, expected):
    tokenizer = lambda text, add_special_tokens: {"input_ids": [0]}
    tokenizer.chat_template = "{{ messages }}" if has_chat else None
    assert Prompter(tokenizer, "r1_zero", trained).template(ProblemSet("set", [], suite)) == expected


def test_the_suites_of_the_runs_own_prompts_follow_the_models():
    settings = config("+stage=evaluate", "eval=[tiny,own,math500]", "data.template=r1_zero").stages.evaluate.settings
    assert {name: suite.template for name, suite in settings.items()} == {
        "tiny": "auto",
        "own": "data",
        "math500": "auto",
    } and OWN.template == "data"


def test_the_plan_says_where_a_stage_goes_on_with_another_template(runs):
    assert not [line for line in plan("+stage=all", runs).notes if "template" in line]
    notes = plan("+stage=all", runs, "stages.rejection_sft.template=chat").notes
    assert [line.split(":")[0] for line in notes if "template" in line] == [
        "reward_models puts its prompts into the template plain, but rejection_sft was trained with chat",
        "preference_rl puts its prompts into the template plain, but rejection_sft was trained with chat",
    ]
    assert (
        plan("+stage=r1_zero", runs, "stages.r1_zero.data.template=r1_zero").notes == plan("+stage=r1_zero", runs).notes
    )  # as the paper prompts a base
