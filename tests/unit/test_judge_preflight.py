"""The judge of a run is looked at before anything is launched, where a stage asks it, and counts in no other stage's
fingerprint.
"""

import pytest

from pipeline.configuration.compose import compose_config
from pipeline.errors import InvalidConfig
from pipeline.planning.plan import make_plan
from stages.config import JudgeConfig
from tests.support.judge_server import judge_server

pytestmark = pytest.mark.slow  # composes many configurations


@pytest.fixture(scope="module")
def server():
    with judge_server() as running:
        yield running


def plan(tmp_path, *overrides):
    return make_plan(compose_config(["+stage=all", f"runs_dir={tmp_path}", *overrides]))


def judged(url: str, *more: str) -> list[str]:
    return ["judge=openai", f"judge.url={url}", "judge.model=judge", "stages.cold_start_data.refine=judge", *more]


def test_a_served_judge_is_fine(server, tmp_path):
    made = plan(tmp_path, *judged(server.url))
    assert not made.errors


@pytest.mark.parametrize(
    "more, word",
    [
        ("judge.model=other", "does not serve other"),
        ("judge.api_key_env=NO_SUCH_KEY", "NO_SUCH_KEY"),
        ("judge.url=http://127.0.0.1:1/v1", "does not list its models"),
    ],
)
def test_what_is_wrong_is_said_once(server, tmp_path, more, word):
    errors = [error for error in plan(tmp_path, *judged(server.url, more)).errors if word in error[0]]
    assert len(errors) == 1 and errors[0][1]


def test_a_key_may_come_with_the_launcher_s_environment(server, tmp_path):
    assert not plan(
        tmp_path, *judged(server.url, "judge.api_key_env=OUR_KEY", "+launcher.environment.OUR_KEY=x")
    ).errors


def test_a_local_judge_must_be_a_model_directory(tmp_path):
    assert "not a model directory" in str(plan(tmp_path, "judge=vllm", f"judge.model={tmp_path}").errors)


def test_an_incomplete_judge_is_a_mistake_of_the_configuration(tmp_path):
    with pytest.raises(InvalidConfig, match="model is not set"):
        plan(tmp_path, "judge=openai", "judge.url=http://127.0.0.1:1/v1")


def test_only_stages_that_ask_are_made_anew_by_another_judge(server, tmp_path):
    before, after = plan(tmp_path), plan(tmp_path, "judge=openai", f"judge.url={server.url}", "judge.model=judge")
    changed = {a.stage for a, b in zip(before.steps, after.steps) if a.config != b.config}
    assert changed == {"reward_models"}
    assert next(step for step in after.steps if step.stage == "r1_zero").config.judge == JudgeConfig()


def test_a_column_that_could_name_a_judge_is_left_to_the_worker(tmp_path):
    """A prepared file has a column of verifiers, and mostly no prompt for a judge."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "why?", "answer": "so", "verifier": "exact"}\n' * 3)
    made = plan(
        tmp_path,
        "data=file",
        f"data.path={tmp_path / 'prompts.jsonl'}",
        "data.verifier=exact",
        "data.verifier_column=verifier",
    )
    assert not [error for error in made.errors if "judge" in error[0]]


def test_pinning_what_is_there_makes_nothing_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "datasets--some--set"
    for commit, answer in (("a" * 40, "1"), ("b" * 40, "2")):
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "train.jsonl").write_text(
            f'{{"prompt": "what?", "answer": "{answer}"}}\n' * 3
        )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)

    def fingerprints(*more):
        return [step.fingerprint for step in plan(tmp_path, "data=file", "data.path=some/set", *more).steps]

    first = fingerprints()
    assert first == fingerprints(f"data.revision={'a' * 40}") != fingerprints(f"data.revision={'b' * 40}")
    (repository / "refs" / "main").write_text("b" * 40)
    assert first != fingerprints()


def test_a_local_judge_does_not_grade_while_the_policy_is_sampled(tmp_path):
    overrides = [
        "data=file",
        "data.path=prompts.jsonl",
        "judge=vllm",
        f"judge.model={tmp_path}",
        f"model.path={tmp_path}",
    ]
    with pytest.raises(InvalidConfig, match="cannot grade while the policy is sampled"):
        plan(tmp_path, *overrides, "data.verifier=judge")
    plan(tmp_path, *overrides, "data.verifier=exact")


def test_the_tiny_world_s_judge_is_not_asked_about_other_prompts(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "why?", "answer": "so"}\n' * 3)
    made = plan(
        tmp_path,
        "data=file",
        f"data.path={tmp_path / 'prompts.jsonl'}",
        "data.verifier=exact",
        "stages.cold_start_data.refine=judge",
    )
    assert [error for error in made.errors if "cold_start_data asks a judge about your own data" in error[0]]
