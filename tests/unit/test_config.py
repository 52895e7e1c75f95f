"""Composition and checking: every mistake at once, each with its fix; friendly spellings; shared nodes reach the
stages.
"""

import pytest

from pipeline.configuration import compose, keys, spelling
from pipeline.configuration.defaults import default_tree
from pipeline.configuration.graph import STAGES
from pipeline.errors import InvalidConfig
from stages.config import output_fields, to_dict
from tests.support.runs import config


def mistakes(*overrides: str, is_sweep: bool = False) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(spelling.rewrite(list(overrides)), is_sweep)
    return caught.value.errors


def test_all_mistakes_are_reported_at_once():
    found = mistakes(
        "+stage=r1_zro", "stages.r1_zero.optim.lr=7", "seed=many", "recipe=papr", "stages.r1_zero.num_stepz=3", "~seed"
    )
    assert len(found) == 6
    for text in (
        "did you mean r1_zero?",
        "stages.r1_zero.optim.lr: must be <= 1",
        "seed: expected an integer, got 'many'",
        "did you mean paper?",
        "did you mean stages.r1_zero.num_steps?",
        "keys cannot be removed",
    ):
        assert any(text in line for line in found), (text, found)


@pytest.mark.parametrize(
    "override, hint",
    [
        ("stages.r1_zero.lr=1e-3", "did you mean stages.r1_zero.optim.lr?"),
        ("stages.r1_zro.num_steps=3", "did you mean stages.r1_zero?"),
        ("orchestratr=none", "did you mean orchestrator?"),
        ("launcher.num_procs=1", "launcher.num_processes"),
        ("selected.r1_zroo=true", "did you mean r1_zero?"),
        ("seed.x=1", "is a value, not a section"),
        ("deepspeed@stages.r1_zero.deepspeed=zero9", "unknown option of deepspeed"),
        ("deepspeed@stages.evaluate.deepspeed=zero3", "stages.evaluate.deepspeed: unknown key"),
        ("model.num_heads=3", "hidden_size 128 is not divisible by num_heads 3"),
        ("run=a/b", "is not a directory name"),
        ("stages.r1_zero.max_completion_tokens=[[5,10]]", "max_completion_tokens must be"),
        ("orchestrator=airflow", "is not one of prefect, none"),
        ("data=file", "data.path is empty"),
        ("seed=1,2", "add --multirun"),
        ("+stage=base,r1_zero", "'+stage=[a,b]' selects several"),
        ("deepspeed=zero3_offload@x", "unknown option of deepspeed"),
        ("stages.base.deepspeed.zero_stage=2", "optim.name=muon needs whole matrices"),
        ("stages.base.deepspeed.precision=bf16", "stages.base.optim.name=muon steps in fp32"),
    ],
)
def test_a_mistake_names_its_fix(override, hint):
    assert any(hint in line for line in mistakes(override)), mistakes(override)


def test_swept_values_are_checked_one_by_one():
    found = mistakes("stages.r1_zero.optim.lr=1e-3,7,fast", is_sweep=True)
    assert len(found) == 2 and "must be <= 1, got 7" in found[0] and "'fast'" in found[1]
    assert compose.compose_config(["+stage=base", "seed=0,1,2"], is_sweep=True).selection == ["base"]


@pytest.mark.parametrize("override", ["stage=r1_zero", "+stage=r1_zero", "stage=[r1_zero]"])
def test_stage_can_be_spelled_both_ways(override):
    assert config(override).selection == ["r1_zero"]


def test_stages_compose_to_a_union_in_order_of_execution():
    assert config("+stage=[evaluate,base]").selection == ["base", "evaluate"]
    assert config("stage=evaluate", "stage=base").selection == ["base", "evaluate"]
    assert config("+stage=all").selection == [
        name for name in STAGES if name != "student_rl"
    ]  # which a student asks for


def test_shared_nodes_reach_all_stages_and_can_be_overridden_for_one():
    made = config(
        "rollout=transformers",
        "stages.r1_zero.rollout.engine=vllm",
        "data.max_prompt_tokens=99",
        "stages.evaluate.data.max_prompt_tokens=77",
    )
    assert made.stages.r1_zero.rollout.engine == "vllm" and made.stages.evaluate.rollout.engine == "transformers"
    assert made.stages.r1_zero.data.max_prompt_tokens == 99 and made.stages.evaluate.data.max_prompt_tokens == 77
    one = config("rollout@stages.r1_zero.rollout=transformers", "deepspeed@stages.r1_zero.deepspeed=zero3")
    assert [one.stages.r1_zero.rollout.engine, one.stages.reasoning_rl.rollout.engine] == ["transformers", "vllm"]
    assert [one.stages.r1_zero.deepspeed.zero_stage, one.stages.reasoning_rl.deepspeed.zero_stage] == [3, 0]
    watched = config("health.on_alarm=stop", "stages.r1_zero.health.kl_limit=3").stages
    assert (
        watched.cold_start.health.on_alarm == watched.r1_zero.health.on_alarm == "stop"
        and watched.r1_zero.health.kl_limit == 3
    )
    assert watched.reasoning_rl.health.kl_limit == 1 and output_fields(watched.r1_zero) == output_fields(
        config().stages.r1_zero
    )
    assert config("model.hidden_size=256").stages.base.model.hidden_size == 256
    assert config("student.hidden_size=192").stages.student_base.model.hidden_size == 192
    assert config("reward@stages.reasoning_rl.rewards=rule").stages.reasoning_rl.rewards.language == 0.0


def test_your_own_file_chooses_template_and_verifier_unless_they_are_given(tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text('{"prompt": "1+1", "answer": 2}\n')
    made = config(f"data.path={path}")
    assert (made.data.name, made.data.template, made.data.verifier) == ("file", "r1_zero", "math")
    assert made.stages.r1_zero.data.path == str(path)
    own = config(f"data.path={path}", "data.template=chat", "data.verifier=exact")
    assert (own.data.template, own.data.verifier) == ("chat", "exact")
    one = config(f"stages.r1_zero.data.path={path}")
    assert (one.stages.r1_zero.data.name, one.stages.reasoning_rl.data.name) == ("file", "tiny_world")


def test_your_own_file_switches_general_data_off(tmp_path):
    made = config(f"data.path={tmp_path / 'x.jsonl'}")
    assert (
        made.stages.preference_rl.mix.helpful
        == made.stages.preference_rl.mix.safety
        == made.stages.preference_rl.rewards.preference
        == 0
    )
    assert (
        made.stages.rejection_data.num_general
        == made.stages.evaluate.num_general
        == made.stages.evaluate.num_safety
        == 0
    )
    assert config().stages.rejection_data.num_general > 0


def test_every_key_has_a_default_and_a_documentation():
    found = {key: keys.look_up(key) for key in keys.all_keys()}
    assert len(found) > 1000
    undocumented = [key for key, known in found.items() if not key.startswith("selected.") and not known.description]
    assert not undocumented


def test_the_defaults_of_the_schema_are_what_hydra_composes():
    tree = to_dict(config())
    assert set(tree) == set(default_tree())


def test_a_mixture_names_its_sources(tmp_path):
    made = config(
        "data.sources.sums.path=a.jsonl",
        "data.sources.sums.answer_column=solution",
        "data.sources.grade_school.preset=gsm8k",
        f"data.sources.grade_school.path={tmp_path}",
        "data.sources.grade_school.weight=2",
    )
    sums, grade_school = made.data.sources["sums"], made.data.sources["grade_school"]
    assert made.data.name == "file" and made.stages.r1_zero.data == made.data
    assert (sums.answer_column, sums.verifier, sums.weight) == ("solution", "math", 1)
    assert (grade_school.adapter, grade_school.prompt_column, grade_school.path, grade_school.weight) == (
        "gsm8k",
        "question",
        str(tmp_path),
        2,
    )


@pytest.mark.parametrize(
    "override, message",
    [
        ("data.sources.x.preset=gsm9k", "'gsm9k' is not a file of conf/data/; there are"),
        ("data.sources.x.weight=2", "data.sources.x.path is empty"),
        ("data.sources.x.pth=a.jsonl", "unknown key; did you mean data.sources.x.path?"),
        ("data.sources.x.weight=0", "must be > 0"),
    ],
)
def test_mistakes_in_a_mixture_are_named(override, message):
    with pytest.raises(InvalidConfig) as caught:
        config(override)
    assert message in str(caught.value)


def test_general_stages_stay_on_where_the_data_has_general_rows(tmp_path):
    mixed = config(
        "data.sources.math.path=a.jsonl",
        "data.sources.chat.path=b.jsonl",
        "data.sources.chat.rows=sft",
        "data.sources.chat.domain=helpful",
        "stages.preference_rl.mix={reasoning:1,helpful:1,safety:1}",
        "stages.rejection_data.num_general=7",
    )
    rl = mixed.stages.preference_rl
    assert (rl.mix.reasoning, rl.mix.helpful, rl.mix.safety) == (1, 1, 0) and rl.rewards.preference > 0
    assert mixed.stages.rejection_data.num_general == 7
    only_math = config("data.sources.math.path=a.jsonl", "stages.rejection_data.num_general=7")
    assert only_math.stages.preference_rl.rewards.preference == only_math.stages.rejection_data.num_general == 0


def test_traces_alone_are_no_general_pairs():
    made = config(
        "data.sources.math.path=a.jsonl",
        "data.sources.traces.path=b.jsonl",
        "data.sources.traces.rows=sft",
        "stages.rejection_data.num_general=7",
    )
    assert made.stages.rejection_data.num_general == 0


def test_adapters_that_are_off_are_no_part_of_a_stage():
    """Keys of adapters that only one stage has leave the finished stages of others as they are."""
    one = config("lora.dropout=0.1", "lora.dora=true", "lora@stages.r1_zero.lora=on").stages
    assert one.r1_zero.lora.is_on and one.r1_zero.lora.dora and not one.reasoning_rl.lora.is_on
    assert output_fields(one.r1_zero)["lora"]["dropout"] == 0.1
    assert output_fields(one.reasoning_rl) == output_fields(config().stages.reasoning_rl)
    assert "lora" not in to_dict(one.base)
