"""The classes of the schema: strict types, ranges, rules, and every mistake at once with its full key."""

import copy
import dataclasses
import json
import pickle

import pytest
from pydantic import TypeAdapter

from pipeline.configuration.schema import RunConfig
from stages.config import (
    KINDS,
    Checked,
    CollectConfig,
    ConfigError,
    DataConfig,
    GrpoConfig,
    Int,
    JudgeConfig,
    MixConfig,
    OptimConfig,
    SandboxConfig,
    SftConfig,
    config_class,
    counts,
    fields_of,
    from_dict,
    is_operational,
    output_fields,
    setting,
    to_dict,
)

CLASSES = [*KINDS.values(), RunConfig]


def mistakes(cls: type, data: object, path: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_dict(cls, data, path)
    return caught.value.errors


def test_every_mistake_is_reported_with_its_full_key_its_value_and_its_fix():
    found = mistakes(
        SftConfig,
        {
            "num_epoch": 2.0,
            "batch_size": "many",
            "packing": "of",
            "optim": {"lr": 7, "betas": [0.9, 1.5], "warmup": 3},
            "traces": {"check_answers": 1},
            "health": {"kl_limit": True},
            "deepspeed": {"zero_stage": 0, "offload_optimizer": True},
            "save_every": 0,
        },
        "stages.distill",
    )
    assert sorted(found) == [
        "stages.distill.batch_size: expected an integer, got 'many'",
        "stages.distill.deepspeed.offload_optimizer needs zero_stage 1, 2 or 3: choose another deepspeed option",
        "stages.distill.health.kl_limit: expected a number, got True",
        "stages.distill.num_epoch: unknown key; did you mean num_epochs?",
        f"stages.distill.optim.betas[1]: must be < 1, got 1.5. {fields_of(OptimConfig)['betas'].description}",
        f"stages.distill.optim.lr: must be <= 1, got 7. {fields_of(OptimConfig)['lr'].description}",
        "stages.distill.optim.warmup: unknown key; did you mean warmup_steps?",
        "stages.distill.packing: 'of' is not one of auto, on, off; did you mean off?",
        "stages.distill.traces.check_answers: expected true or false, got 1",
    ]


def test_rules_between_fields_are_checked_where_the_fields_are_right():
    assert mistakes(SftConfig, {"save_every": 0}, "stages.distill") == [
        "stages.distill.save_every and save_every_minutes are both 0: a stage that is stopped would start over; set one"
    ]
    two = mistakes(JudgeConfig, {"backend": "openai", "deadline_s": 1.0}, "judge")
    assert len(two) == 3 and all(line.startswith("judge.") for line in two)


@pytest.mark.parametrize(
    "cls, data, line",
    [
        (GrpoConfig, {"num_steps": True}, "num_steps: expected an integer, got True"),
        (GrpoConfig, {"num_steps": "1"}, "num_steps: expected an integer, got '1'"),
        (GrpoConfig, {"num_steps": 1.5}, "num_steps: expected an integer, got 1.5"),
        (GrpoConfig, {"num_steps": None}, "num_steps: expected an integer, got None"),
        (GrpoConfig, {"beta": "1"}, "beta: expected a number, got '1'"),
        (GrpoConfig, {"beta": True}, "beta: expected a number, got True"),
        (GrpoConfig, {"mask_truncated": "true"}, "mask_truncated: expected true or false, got 'true'"),
        (GrpoConfig, {"data": {"path": 3}}, "data.path: expected text, got 3"),
        (GrpoConfig, {"data": {"tasks": "gcd"}}, "data.tasks: expected a list, got 'gcd'"),
        (GrpoConfig, {"data": {"tasks": ["gcd", 1]}}, "data.tasks[1]: expected text, got 1"),
        (GrpoConfig, {"data": {"sources": 1}}, "data.sources: expected a mapping, got 1"),
        (DataConfig, {"sources": {"x": 1}}, "sources.x: expected a mapping of MixtureSource fields, got 1"),
        (
            GrpoConfig,
            {"max_completion_tokens": [[0, "9"]]},
            "max_completion_tokens[0][1]: expected an integer, got '9'",
        ),
        (GrpoConfig, {"mix": 5}, "mix: expected a mapping of MixConfig fields, got 5"),
        (GrpoConfig, 5, ": expected a mapping of GrpoConfig fields, got 5"),
        (
            GrpoConfig,
            {"correction": "token_trunc"},
            "correction: 'token_trunc' is not one of none, token_truncate, token_mask, sequence_truncate, "
            "sequence_mask; did you mean token_truncate?",
        ),
    ],
)
def test_nothing_is_converted_that_is_of_another_type(cls, data, line):
    assert mistakes(cls, data) == [line]


def test_a_whole_float_is_an_integer_and_an_integer_is_a_float():
    made = from_dict(
        GrpoConfig, {"num_steps": 1e3, "beta": 0, "max_completion_tokens": [[0.0, 8.0]], "optim": {"betas": [0, 0.5]}}
    )
    assert (made.num_steps, made.beta, made.max_completion_tokens) == (1000, 0.0, [[0, 8]])
    assert (type(made.num_steps), type(made.beta)) == (int, float)
    assert [type(number) for number in (*made.max_completion_tokens[0], *made.optim.betas)] == [int, int, float, float]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_defaults_are_valid_and_survive_json(cls):
    plain = to_dict(cls())
    again = from_dict(cls, json.loads(json.dumps(plain)))
    assert again == cls() and output_fields(again) == output_fields(cls()) and to_dict(again) == plain


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_json_schema_can_be_made(cls):
    schema = TypeAdapter(cls).json_schema()
    assert set(schema["properties"]) == set(fields_of(cls)) and schema["additionalProperties"] is False


def test_the_constructor_and_replace_check_too():
    with pytest.raises(ConfigError, match="lr: must be <= 1, got 7"):
        OptimConfig(lr=7)
    with pytest.raises(ConfigError, match="lr: expected a number, got '1e-3'"):
        dataclasses.replace(OptimConfig(), lr="1e-3")
    with pytest.raises(ConfigError, match="learning_rate: unknown key"):
        OptimConfig(learning_rate=1e-3)
    with pytest.raises(ConfigError, match="give one a share"):
        dataclasses.replace(MixConfig(), reasoning=0)
    assert dataclasses.replace(OptimConfig(), lr=1e-3).lr == 1e-3 and MixConfig(0.5, 0.3, 0.2).helpful == 0.3


def test_instances_are_frozen_hashable_and_can_be_copied():
    config = SandboxConfig(workers=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.workers = 3
    assert {config: 1}[SandboxConfig(workers=2)] == 1
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert vars(MixConfig()) == {"reasoning": 1.0, "helpful": 0.0, "safety": 0.0}


def test_defaults_are_not_shared():
    DataConfig().tasks.append("gcd")
    GrpoConfig().max_completion_tokens[0].append(7)
    assert DataConfig().tasks == [] and GrpoConfig().max_completion_tokens == [[0, 32768], [8200, 65536]]


@config_class
class _Before:
    kept: Int = setting(1, "[ours]")


@config_class
class _Section(Checked):
    rank: Int = setting(0, "[ours]")


@config_class
class _After:
    kept: Int = setting(1, "[ours]")
    number: Int = setting(0, "[ours]", added_later=True)
    names: list[str] = setting([], "[ours]", added_later=True)
    section: _Section = setting(_Section, "[ours]", added_later=True)


def test_fields_that_were_added_later_count_only_where_they_are_changed():
    assert output_fields(_After()) == output_fields(_Before()) == {"kept": 1}
    assert output_fields(_After(number=2)) == {"kept": 1, "number": 2}
    assert output_fields(_After(names=["a"])) == {"kept": 1, "names": ["a"]}
    assert output_fields(_After(section=_Section(rank=8))) == {"kept": 1, "section": {"rank": 8}}
    # What a run has stored is plain data.
    assert not counts(fields_of(_After)["section"], {"rank": 0}) and counts(fields_of(_After)["section"], {"rank": 8})


def test_operational_fields_are_left_out_of_what_is_hashed():
    fields = output_fields(CollectConfig())
    assert "url" not in fields["judge"] and fields["judge"]["backend"] == "tiny_world"
    assert is_operational(fields_of(JudgeConfig)["url"]) and not is_operational(fields_of(JudgeConfig)["backend"])
    sources = from_dict(DataConfig, {"sources": {"x": {"path": "a", "license": "MIT"}}}).sources
    assert "license" not in output_fields(sources)["x"] and output_fields(sources)["x"]["path"] == "a"
