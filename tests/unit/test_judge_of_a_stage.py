"""The judge of a stage as a verifier: what it cannot grade, when it is away, and when it cannot be asked at all."""

import dataclasses
import json

import pytest

from stages import judges
from stages.config import DataConfig, JudgeConfig, SuiteConfig
from stages.contract.records import RecordLog, RecordReader
from stages.data.file_prompts import FilePrompts
from stages.kinds.evaluation.grading import Grader
from stages.kinds.evaluation.measure import FinishedSample, measure_many
from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.kinds.evaluation.results import results_of
from stages.prompting.prompt import Prompt
from stages.rewards.grading import GraderAway, grade_many, reference_problem, vote
from stages.runtime.errors import InputError
from tests.support.judge_server import judge_server
from tests.support.judging import FAST, NO_PAUSE
from tests.support.rollouts import answered


@pytest.fixture
def server():
    with judge_server() as running:
        yield running


class Stage:
    """What the verifier needs of a worker."""

    def __init__(self, directory, config, verifier, kind):
        data = DataConfig(name="file", path="prompts.jsonl", verifier=verifier)
        self.kind, self.dir = kind, directory
        self.rank, self.attempt = 0, 1
        self.config = type("Config", (), {"judge": config, "data": data})


@pytest.fixture
def stage(server, tmp_path, monkeypatch):
    for name, value in NO_PAUSE.items():
        monkeypatch.setattr(name, value)

    def open_stage(verifier="exact", kind="grpo", **settings):
        config = JudgeConfig(**{"backend": "openai", "url": server.url, "model": "judge", **FAST, **settings})
        judges.open_stage(Stage(tmp_path / "run" / "stage" / "00000000", config, verifier, kind))

    yield open_stage
    judges.close_stage()


def free_prompt(answer: str = "28") -> Prompt:
    return Prompt("p0", "what is 31-3?", "file", "reasoning", "en", answer, "judge")


def test_a_judge_is_a_verifier(stage, server, tmp_path):
    server.answer = lambda user: {"28": '{"correctness": "correct"}', "27": '{"correctness": "incorrect"}'}.get(
        user.split("<model_answer>\n")[1].split("\n")[0], "?"
    )
    stage()
    assert reference_problem(free_prompt()) is None and "empty" in reference_problem(free_prompt(" "))
    grades = grade_many([(answered(text), free_prompt()) for text in ("28", "27", "26")])
    assert [grade.value for grade in grades] == [1.0, 0.0, 0.0] and [bool(grade.error) for grade in grades] == [
        False,
        False,
        True,
    ]
    assert vote("<think>x</think><answer>Twenty  Eight</answer>", free_prompt()) == "twenty eight"
    assert (tmp_path / "run" / "judge_cache").is_dir() and (
        tmp_path / "run" / "stage" / "00000000" / "logs" / "attempt_1" / "judge_rank0.json"
    ).exists()


def test_a_call_that_fails_is_a_zero_with_a_reason_and_the_others_are_graded(stage, server):
    stage(concurrency=1)
    server.script = ["ok", *["500"] * 3, "ok", "400", "length"]
    server.answer = lambda user: "Well," if user.endswith("5\n</model_answer>") else '{"correctness": "correct"}'
    grades = grade_many([(answered(str(number)), free_prompt()) for number in (1, 2, 3, 4, 5)])
    assert [grade.value for grade in grades] == [1, 0, 1, 0, 0] and not grades[0].error and not grades[2].error
    assert (
        "judge: judge judge at" in grades[1].error
        and "500" in grades[1].error
        and "refused" in grades[3].error
        and "400" in grades[3].error
    )
    assert grades[4].error == "judge: its verdict could not be read, cut off at judge.max_tokens=4096: 'Well,'"
    counts = judges.current_judge().ledger.jobs["correct"]
    assert (counts["failed"], counts["refused"], counts["unparsed"], counts["calls"]) == (1, 1, 1, 4)
    assert [grade.value for grade in grade_many([(answered("2"), free_prompt())])] == [1], "a failure is not kept"


def test_a_judge_that_is_away_stops_what_asks_it(stage, server):
    """Zeros for all that comes would say nothing of the policy."""
    stage()
    first, other = (answered("28"), free_prompt()), (answered("27"), free_prompt())
    assert grade_many([first])[0].value == 1
    server.is_away = True
    with pytest.raises(GraderAway, match="503.*then judge.url=.*same command"):
        grade_many([first, other])
    assert grade_many([first])[0].value == 1, "what was judged before is in the cache"
    server.is_away = False
    assert [grade.value for grade in grade_many([first, other])] == [1, 1]


def test_an_evaluation_counts_what_was_not_judged_and_says_why(stage, server):
    stage(concurrency=1)
    server.script = ["ok", *["500"] * 3]
    prompts = [dataclasses.replace(free_prompt(), id=f"p{number}") for number in range(4)]
    samples = [
        FinishedSample(prompt.id, 0, prompt, answered(str(number)), 5, 3, False)
        for number, prompt in enumerate(prompts)
    ]
    records = measure_many(samples, True)
    one = ProblemSet("own", [Problem(prompt.id, (prompt,)) for prompt in prompts], SuiteConfig(samples_per_prompt=1))
    rows = {row["metric"]: row for row in results_of(one, [[record] for record in records])}
    assert (
        rows["pass@1"]["value"] == 0.75 and rows["grader_errors"]["value"] == 0.25 and rows["grader_errors"]["n"] == 4
    )
    assert (
        rows["grader_errors"]["note"].startswith(
            "1 of 4 samples could not be graded and count as wrong: judge: judge judge at http"
        )
        and "500" in rows["grader_errors"]["note"]
    )


def test_an_evaluation_stops_where_the_judge_is_away_and_keeps_its_samples(stage, server, tmp_path):
    stage()
    grades, samples = RecordLog(tmp_path / "grades.0.jsonl"), RecordLog(tmp_path / "samples.0.jsonl")
    grader = Grader(grades, samples, needs_format=True)
    samples.append({"problem": "p0", "sample": 0})
    server.is_away = True
    grader.put(FinishedSample("p0", 0, free_prompt(), answered("28"), 5, 3, False))
    with pytest.raises(GraderAway):
        grader.finish()
    assert list(RecordReader(tmp_path, "samples.*")) and not list(RecordReader(tmp_path, "grades.*"))


def test_a_judge_that_cannot_be_asked_is_found_at_the_start(stage):
    stage(model="other")  # nobody asks it
    assert "judge.model=other" in reference_problem(free_prompt()), "rows of a mixture that name it themselves"
    with pytest.raises(InputError, match="judge.model=other"):
        stage(verifier="judge", model="other")


def test_rows_that_name_a_judge_themselves_are_found_before_the_start(stage, server, tmp_path, monkeypatch):
    """Also where their answers are not looked at again, as those of a prepared file."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"why {i}?", "answer": "so", "verifier": "judge"}) + "\n" for i in range(3))
    )
    data = DataConfig(
        name="file",
        path=str(path),
        verifier="exact",
        verifier_column="verifier",
        check_answers=False,
        malformed="skip",
        eval_fraction=0,
    )
    stage()
    assert len(FilePrompts(data)) == 3
    stage(model="other")
    with pytest.raises(InputError, match="judge.model=other is not served"):
        FilePrompts(data)
    stage(backend="tiny_world")
    with pytest.raises(InputError, match="judge.backend=tiny_world knows only"):
        FilePrompts(data)


def test_a_local_model_does_not_grade_beside_a_sampler(stage):
    stage(backend="vllm", model="directory", kind="evaluate")
    with pytest.raises(InputError, match="cannot grade while a model is sampled"):
        judges.current_judge()


def test_without_a_stage_prompts_are_only_looked_at():
    judges.close_stage()
    assert reference_problem(free_prompt()) is None
    assert "no stage was opened" in grade_many([(answered("28"), free_prompt())])[0].error
