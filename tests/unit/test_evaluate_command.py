"""`evaluate`: what it makes of its words, what it refuses before any engine starts, what it prints."""

import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.commands import evaluate
from pipeline.commands import evaluation_tables as view_results
from pipeline.commands.app import call
from pipeline.configuration import compose
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.planning.plan import make_plan
from stages.contract.description import StageDescription
from stages.kinds.evaluation.stage import Evaluation
from tests.support.runs import config, step, weights_file
from tests.support.suites import SCHEMAS

pytestmark = pytest.mark.slow  # composes many configurations


def made(*words: str):
    return compose.compose_config(evaluate.as_overrides(list(words)))


@pytest.fixture
def model(tmp_path):
    """A directory that looks like a model to the driver."""

    def write(name: str, stage: str | None = None):
        directory = tmp_path / name / ("model" if stage else "")
        directory.mkdir(parents=True)
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "name": name}
        (directory / "config.json").write_text(json.dumps(config))
        (directory / "tokenizer.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(weights_file(name))
        if stage:
            StageDescription(stage=stage, kind="grpo", config={}).write(directory.parent)
        return directory

    return write


def planned(*words: str):
    return step(make_plan(made(*words)), "evaluate")


def test_models_from_outside_are_named_after_their_stage_or_directory(model, tmp_path):
    one, two, three = model("mine"), model("a/b", stage="r1_zero"), model("c/d", stage="r1_zero")
    evaluation = planned(f"model=[{one},{two.parent},{three}]", "eval=[tiny]", f"runs_dir={tmp_path / 'runs'}")
    assert list(evaluation.inputs) == ["mine", "r1_zero", "r1_zero-2"] and not evaluation.errors
    assert (
        evaluation.inputs["r1_zero"].model_dir == str(two)
        and evaluation.dir.parent == tmp_path / "runs" / "evaluate" / "evaluate"
    )


def test_the_fingerprint_knows_models_suites_and_files_but_not_where_they_are(model, tmp_path):
    one, runs = model("mine"), f"runs_dir={tmp_path / 'runs'}"
    file = tmp_path / "problems.jsonl"
    file.write_text((SCHEMAS / "aime24.jsonl").read_text())

    def fingerprint(*words):
        return planned(f"model={one}", runs, *words).fingerprint

    at_first = fingerprint("eval=[aime24]", f"eval.aime24.path={file}")
    moved = file.rename(tmp_path / "moved.jsonl")
    assert fingerprint("eval=[aime24]", f"eval.aime24.path={moved}") == at_first
    assert fingerprint("eval=[aime24]", f"eval.aime24.path={moved}", "eval.math500.samples_per_prompt=3") == at_first
    assert fingerprint("eval=[aime24]", f"eval.aime24.path={moved}", "eval.aime24.samples_per_prompt=3") != at_first
    assert fingerprint("eval=[aime24,aime25]", f"eval.aime24.path={moved}") != at_first
    moved.write_text(moved.read_text().replace("625", "626"))
    assert fingerprint("eval=[aime24]", f"eval.aime24.path={moved}") != at_first
    codeforces = ("eval=[codeforces]", f"eval.codeforces.path={SCHEMAS / 'codeforces.jsonl'}")
    assert fingerprint(*codeforces) != fingerprint(*codeforces, f"eval.codeforces.standings={SCHEMAS / 'standings'}")


def test_the_stage_takes_suites_too():
    settings = config("+stage=evaluate", "stages.evaluate.suites=[tiny,math500]").stages.evaluate.settings
    assert (
        list(settings) == ["tiny", "math500"]
        and settings["tiny"].samples_per_prompt == 4
        and settings["tiny"].max_completion_tokens == 110
    )
    assert config("+stage=evaluate").stages.evaluate.settings == {}


def test_without_a_model_the_run_is_evaluated():
    found = made("run=mine", "eval=[tiny]")
    assert found.run == "mine" and found.stages.evaluate.directories == [] and found.selection == ["evaluate"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["eval=[aime42]"], "'aime42' is not a suite; suites are aime24.*did you mean aime2"),
        (["eval.aime42.path=x"], "eval.aime42.path: unknown suite; did you mean aime2"),
        (["eval.aime24.pth=x"], "eval.aime24.pth: unknown key; did you mean eval.aime24.path"),
        (["eval.aime24.temperature=-1"], "temperature must be > 0|eval.aime24.temperature: must be > 0"),
        (["eval.livecodebench.since=august"], "since must be a date"),
        (["model="], "name a model directory"),
        (["aime24"], "aime24: expected key=value"),
    ],
)
def test_mistakes_are_named_before_anything_runs(words, message):
    with pytest.raises(InvalidConfig, match=message):
        made(*words)


def test_flags_are_refused():
    with pytest.raises(InvalidConfig, match="--fast: evaluate knows no such flag"):
        call(["evaluate", "--fast"])


def test_missing_models_and_files_are_named_before_anything_runs(model, tmp_path):
    plan = make_plan(
        made(
            f"model=[{tmp_path / 'none'},{model('mine')}]",
            "eval=[aime24,codeforces]",
            f"eval.aime24.path={tmp_path / 'no.jsonl'}",
            f"eval.codeforces.standings={tmp_path / 'no'}",
            f"runs_dir={tmp_path / 'runs'}",
        )
    )
    messages = "\n".join(message for message, _ in plan.errors)
    assert "none: no such directory" in messages and "no.jsonl: no such file" in messages and "standings" in messages
    with pytest.raises(MissingInput):
        plan.raise_errors()


def test_the_tables(capsys):
    rows = [
        {
            "model": model,
            "set": "aime24",
            "metric": metric,
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
            "n": 30,
        }
        for model, value in (("r1_zero", 0.5), ("preference_rl", 0.75))
        for metric in ("pass@1", "truncated", "pass@1[3]")
    ]
    rows.append(
        {
            "model": "r1_zero",
            "set": "aime24",
            "metric": "thinking_tokens[3]",
            "value": 1234.0,
            "low": 1,
            "high": 2,
            "n": 30,
        }
    )
    rows += [
        {
            "model": "r1_zero",
            "set": name,
            "metric": "grader_errors",
            "value": value,
            "low": value,
            "high": value,
            "n": 30,
        }
        | more
        for name, value, more in (
            ("aime24", 0.1, {"note": "3 of 30 samples [could] not be graded"}),
            ("gsm8k", 0.0, {}),
        )
    ]
    rows.append(
        {"model": "r1_zero", "set": "gsm8k", "metric": "pass@1", "value": 0.5, "low": 0.4, "high": 0.6, "n": 30}
    )
    console = Console(width=120)
    view_results.print_results(console, rows)
    view_results.print_comparisons(
        console,
        [
            {
                "set": "aime24",
                "metric": "pass@1",
                "model": "preference_rl",
                "against": "r1_zero",
                "difference": 0.25,
                "low": 0.1,
                "high": 0.4,
                "p": 0.0123,
                "n": 30,
            }
        ],
    )
    shown = capsys.readouterr().out
    for text in (
        "AIME 2024 (aime24)",
        "75.0 [65.0, 85.0]",
        "50.0 (1,234 tokens)",
        "preference_rl − r1_zero",
        "+25.0 [+10.0, +40.0]",
        "0.0123",
        "r1_zero on aime24: 3 of 30 samples [could] not be graded",
    ):
        assert text in shown, shown
    assert shown.count("grader errors") == 1, "where there are any"


def test_prompts_of_ones_own_are_put_into_the_models_own_template(model, tmp_path):
    """Unless a template is asked for; a run asks its base as it asks its own models."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1?", "answer": "2"}\n' * 20)
    words = [f"model={model('m')}", "eval=own", f"data.path={rows}"]
    assert made(*words).eval["own"].template == "auto"
    assert made(*words, "data.template=r1_zero").eval["own"].template == "data"
    assert made(*words, "eval.own.template=plain").eval["own"].template == "plain"
    assert made("eval=own").eval["own"].template == "data"


def test_the_data_that_is_named_is_what_is_asked(model, tmp_path):
    """By a recipe with data of its own too, whose models need not be here."""
    one, runs = f"model={model('mine')}", f"runs_dir={tmp_path / 'runs'}"
    of_recipe = made(one, runs, "recipe=smollm2")
    assert (of_recipe.data.name, of_recipe.data.general) == ("reasoning_gym", "english")
    assert of_recipe.stages.evaluate.suites == ["own"] and of_recipe.eval["own"].template == "auto"
    assert make_plan(of_recipe).errors == []
    assert made(one, "recipe=smollm2", "eval=aime24").stages.evaluate.suites == ["aime24"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1?", "answer": "2"}\n' * 20)
    for words in ([f"data.path={rows}"], [f"data.sources.a.path={rows}"]):
        named = made(one, *words)
        assert named.stages.evaluate.suites == ["own"] and list(named.data.all_sources) in (["file"], ["a"])
    for words in ([], ["recipe=tiny"], ["recipe=one_gpu"]):  # one_gpu waits for a file
        other = made(one, *words)
        assert (other.stages.evaluate.suites, other.data.name) == (["tiny"], "tiny_world")
    with pytest.raises(InvalidConfig, match="recipe=smollm: unknown option of recipe.*did you mean smollm2"):
        made(one, "recipe=smollm")


def test_a_remedy_names_the_keys_of_the_suite_whose_set_it_is():
    """The suite `own` has a set for each family of prompts, and no suite is called after those."""
    evaluation = SimpleNamespace(config=SimpleNamespace(suites=["own"]))
    keys = Evaluation._keys(evaluation, "mine", SimpleNamespace(name="aiw", suite_name="own"))
    assert keys.max_tokens == "eval.own.max_completion_tokens" and keys.template == "eval.own.template"
