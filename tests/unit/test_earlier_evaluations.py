"""An evaluation takes over what another one has measured: by model and suite, and nothing else."""

import dataclasses
import json
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from pipeline.execution.execute import prepare
from pipeline.planning.evaluated import find_earlier, part_keys
from stages.config import SuiteConfig
from stages.contract import files
from stages.contract.earlier import EarlierPart, write_earlier
from stages.contract.earlier import find_earlier as read_earlier
from stages.contract.manifest import Manifest
from stages.kinds.evaluation.earlier import SCORE_COLUMNS, EarlierEvaluations
from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.prompting.prompt import Prompt
from tests.support.runs import finish, step
from tests.support.runs import shared_config as config
from tests.support.runs import shared_plan as plan

EVALUATED = "+stage=[base,student_base,evaluate]"
MORE = "+stage=[base,r1_zero,student_base,evaluate]"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return "runs_dir=runs"


def keys(*overrides: str) -> dict[tuple[str, str], str]:
    one = step(plan(*overrides), "evaluate")
    return part_keys(one.config, one.inputs, one.data_files, 0, 1)


def test_a_part_depends_on_its_model_its_suite_and_the_rest_but_on_no_other_part(runs, tmp_path):
    before, more = keys(EVALUATED, runs), keys(MORE, runs)
    assert set(before) == {("base", "own"), ("student_base", "own")} and before.items() < more.items()
    assert not before.items() & keys(EVALUATED, runs, "stages.evaluate.samples_per_prompt=3").items()
    longer = keys(EVALUATED, runs, "stages.base.num_steps=7")
    assert (
        longer["base", "own"] != before["base", "own"]
        and longer["student_base", "own"] == before["student_base", "own"]
    )
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": name, "answer": "#### 1"}) + "\n")
    one = [runs, EVALUATED, "eval.gsm8k.path=a.jsonl"]
    alone, both = keys(*one, "eval=gsm8k"), keys(*one, "eval=[gsm8k,tiny]")
    assert alone.items() < both.items() and set(both) == {
        (m, s) for m in ("base", "student_base") for s in ("gsm8k", "tiny")
    }
    (tmp_path / "a.jsonl").rename(tmp_path / "moved.jsonl")
    assert keys(runs, EVALUATED, "eval.gsm8k.path=moved.jsonl", "eval=gsm8k") == alone
    assert not keys(runs, EVALUATED, "eval.gsm8k.path=b.jsonl", "eval=gsm8k").items() & alone.items()


def test_a_student_of_another_name_is_another_model(runs):
    """Its stages draw by their names, so that it has other weights although its fingerprint is the same."""
    finish(plan(EVALUATED, runs), "base", "student_base")
    finish(plan(EVALUATED, runs, "stages.evaluate.models=[base,student_base]"), "evaluate")
    named = (runs, "+stage=[student_base_same,evaluate]", "student@students.same=tiny")
    finish(plan(*named), "student_base_same")
    evaluation = step(plan(*named, "stages.evaluate.models=[base,student_base_same]"), "evaluate")
    prints = {name: source.fingerprint for name, source in evaluation.inputs.items()}
    assert prints["student_base_same"] == step(plan(EVALUATED, runs), "student_base").fingerprint
    assert set(evaluation.earlier) == {"base"}


def test_the_plan_names_what_was_measured_and_the_worker_is_told(runs):
    finish(plan(MORE, runs), "base", "r1_zero", "student_base")
    first = plan(EVALUATED, runs, "stages.evaluate.models=[base,student_base]")
    finish(first, "evaluate")
    made = plan(MORE, runs)
    one = step(made, "evaluate")
    assert one.action == "run" and one.reason.endswith("; 2 of 3 models were evaluated before")
    there = str(step(first, "evaluate").dir)
    assert one.earlier == {name: {"own": EarlierPart(directory=there, model=name)} for name in ("base", "student_base")}
    prepare(one, made)
    assert read_earlier(one.dir) == one.earlier
    assert step(plan(MORE, runs, "reuse=false"), "evaluate").earlier == {}
    assert set(step(plan(MORE, runs, "run=second"), "evaluate").earlier) == {"base", "student_base"}  # of another run
    prepare(dataclasses.replace(one, earlier={}), made)
    assert read_earlier(one.dir) == {}
    (step(first, "evaluate").dir / "results.json").write_text("[1]")
    assert step(plan(MORE, runs), "evaluate").earlier == {}  # damaged
    assert find_earlier(config(MORE, runs, "force=true"), one.config, one.inputs, {}, one.dir) == {}


NUM_SAMPLES = 2
SUITE = SuiteConfig(samples_per_prompt=NUM_SAMPLES)
PROBLEMS = [
    Problem(f"p{number}", (Prompt(f"p{number}", "2+2", "math", "math", "en", "4"),) * NUM_SAMPLES)
    for number in range(3)
]
SET = ProblemSet("numbers", PROBLEMS, SUITE, suite_name="mine")


def record(problem: str, sample: int) -> dict:
    values = {
        "problem": problem,
        "sample": sample,
        "correct": sample == 0,
        "vote": None if sample else "4",
        "error": "",
    }
    return {
        column: values.get(column, 0.5 if column in ("score", "language") else 3 if "tokens" in column else True)
        for column in SCORE_COLUMNS
    }


@pytest.fixture
def evaluated(tmp_path):
    """A finished evaluation of the models `first` and `other` on the set."""
    directory = tmp_path / "there"
    rows = [
        {"model": model, "set": "numbers", "level": "", **record(problem.id, number)}
        for model in ("other", "first")
        for problem in PROBLEMS
        for number in range(NUM_SAMPLES)
    ]
    (directory / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), directory / "data" / "scores.parquet")
    files.write_json(
        directory / "results.json",
        [
            {"model": model, "set": "numbers", "metric": "pass@1", "value": value, "low": 0.1, "high": 0.9, "n": 3}
            for model, value in (("other", 0.25), ("first", 0.5))
        ],
    )
    files.append_jsonl(
        directory / "samples.jsonl",
        [{"step": 1, "model": model, "set": "numbers", "prompt_id": "p0"} for model in ("other", "first")],
    )
    files.append_jsonl(
        directory / "alarms.jsonl",
        [{"step": 9, "name": "no_answer", "message": "first on numbers: 80% have no answer", "advice": "wait"}],
    )
    table = files.file_table(directory, ["results.json", "data/*"])
    Manifest(stage="evaluate", kind="evaluate", files=table).write(directory)
    return directory


def take(tmp_path, directory, one: ProblemSet = SET, is_missed_elsewhere: bool = False) -> dict:
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    write_earlier(here, {"mine": {"mine": EarlierPart(directory=str(directory), model="first")}})
    worker = SimpleNamespace(dir=here, agree=lambda *flags: [flag or is_missed_elsewhere for flag in flags])
    return EarlierEvaluations(worker, [one], ["nobody", "mine"]).found


def test_a_part_comes_as_it_would_have_been_measured(tmp_path, evaluated):
    found = take(tmp_path, evaluated)
    assert set(found) == {("mine", "numbers")}
    part = found["mine", "numbers"]
    assert part.groups == [[record(problem.id, number) for number in range(NUM_SAMPLES)] for problem in PROBLEMS]
    assert [(row["model"], row["value"], list(row)[0]) for row in part.results] == [("mine", 0.5, "model")]
    assert [row["model"] for row in part.samples] == ["mine"]
    assert part.alarms == [
        {"step": 2, "name": "no_answer", "message": "mine on numbers: 80% have no answer", "advice": "wait"}
    ]


def test_a_part_that_is_damaged_gone_or_not_whole_is_sampled(tmp_path, evaluated):
    more = dataclasses.replace(SET, problems=[*PROBLEMS, Problem("p9", PROBLEMS[0].prompts)])
    assert take(tmp_path, evaluated, more) == {}
    assert take(tmp_path, evaluated, dataclasses.replace(SET, suite_name="another")) == {}
    assert take(tmp_path, tmp_path / "nowhere") == {}
    assert take(tmp_path, evaluated, is_missed_elsewhere=True) == {}  # another rank does not see it
    (evaluated / "results.json").write_text((evaluated / "results.json").read_text().replace("0.5", "0.9"))
    assert take(tmp_path, evaluated) == {}
