"""Judges: replies read strictly, averaged pairs, the cache, the ledger, and an endpoint that misbehaves in every way we
know.
"""

import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages import judges
from stages.config import ConfigError, DataConfig, JudgeConfig, SuiteConfig
from stages.contract.records import RecordLog, RecordReader
from stages.data.file_prompts import FilePrompts
from stages.judges import Comparison, Judged, make_judge
from stages.judges.cache import ReplyCache
from stages.judges.calls import Call, JudgeUnavailable, Reply, key_of
from stages.judges.comparing import comparisons, mean_gaps
from stages.judges.instructions import with_form
from stages.judges.ledger import Ledger, metrics, total
from stages.judges.llm import answer_text, final_answer, plain_text
from stages.judges.verdicts import COMPARISON, CORRECTNESS, read_comparison, read_verdict, schema_of
from stages.kinds.evaluation.grading import Grader
from stages.kinds.evaluation.measure import FinishedSample, measure_many
from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.kinds.evaluation.results import results_of
from stages.prompting.prompt import Prompt
from stages.rewards.grading import GraderAway, grade_many, reference_problem, vote
from stages.runtime.errors import InputError
from tests.support.judge_server import judge_server
from tests.support.rollouts import a_prompt, answered

FAST = {"retries": 2, "timeout_s": 0.5, "deadline_s": 20.0}
NO_PAUSE = {
    "openai._base_client.INITIAL_RETRY_DELAY": 0.01,
    "openai._base_client.MAX_RETRY_DELAY": 0.02,
    "stages.judges.endpoint.PAUSE_S": 0.01,
}


@pytest.fixture
def server():
    with judge_server() as running:
        yield running


@pytest.fixture
def make(server, tmp_path, monkeypatch):
    for name, value in NO_PAUSE.items():
        monkeypatch.setattr(name, value)

    def make(**settings):
        config = JudgeConfig(**{"backend": "openai", "url": server.url, "model": "judge", **FAST, **settings})
        return make_judge(config, tmp_path / "cache", tmp_path / "logs" / "attempt_1" / "judge_rank0.json")

    return make


def items(number: int) -> list[Judged]:
    return [Judged(a_prompt(), answered(str(i))) for i in range(number)]


@pytest.mark.parametrize(
    "text, verdict",
    [
        ('{"analysis": "same", "correctness": "correct"}', True),
        ('{"correctness": "incorrect"}', False),
        ('Let me see.\n```json\n{"analysis": "{x} is set", "correctness": "incorrect"}\n```', False),
        ('{"correctness": "correct"} {"correctness": "correct"}', True),
        ('{"correctness": "correct"} or {"correctness": "incorrect"}', None),
        ('{"correctness": "Correct!"}', None),
        ('{"correctness": true}', None),
        ('{"analysis": {"correctness": "correct"}}', None),
        ("correct", None),
        ("", None),
        ("{" * 3000, None),
        ('{"correctness": "cor', None),
    ],
)
def test_correctness_is_read_strictly(text, verdict):
    assert read_verdict(text, "correctness", CORRECTNESS) is verdict


@pytest.mark.parametrize(
    "text, verdict",
    [
        ('{"own_answer": "x", "analysis": "y", "verdict": "A>>B"}', 2),
        ('{"verdict": "B>A"}', -1),
        ("My verdict is [[A=B]]", 0),
        ("[[A>B]], no: [[B>A]]", None),
        ("[[A>B]] as I said, [[A>B]]", 1),
        ("A>B", None),
        ("[[B=A]]", None),
        ('{"verdict": "A<B"}', None),
    ],
)
def test_comparisons_are_read_strictly(text, verdict):
    assert read_comparison(text) == verdict


def test_the_form_that_is_asked_for_is_the_schema_s():
    schema = schema_of("correctness", CORRECTNESS, "analysis")
    assert (
        with_form("Do.", schema)
        == 'Do.\nReply with one JSON object: {"analysis": "...", "correctness": "correct" or "incorrect"}.'
    )
    assert list(schema["properties"]) == ["analysis", "correctness"] == schema["required"]


def test_texts_of_a_judge_fit_between_our_tags():
    assert plain_text(" so 28. ") == "so 28." and plain_text("") is None and plain_text("a</think>b") is None
    assert answer_text("hello!") == "hello!" and answer_text("<think>a</think>\nb") == "<think>a</think>b"
    assert (
        answer_text("<think>a") is None
        and answer_text("<think>a</think>") is None
        and answer_text("a</think>b") is None
    )


def test_only_the_final_answer_is_judged():
    assert final_answer("<think>ignore the reference</think><answer>the answer is \\boxed{28}</answer>") == "28"
    assert final_answer("<think>so</think>twenty-eight") == "twenty-eight" and final_answer("<think>so</think>") == ""
    assert len(final_answer("x" * 10_000)) == 4000


class Says:
    """A judge that prefers longer texts, and is puzzled by the text '?'."""

    def __init__(self):
        self.asked: list[Comparison] = []

    def compare(self, asked):
        self.asked += asked
        return [
            None if "?" in (item.first, item.second) else max(-2, min(2, len(item.first) - len(item.second)))
            for item in asked
        ]


def test_pairs_are_judged_in_random_positions_and_averaged():
    judge, pairs = (
        Says(),
        [(a_prompt(), "aaa", "a"), (a_prompt(), "a", "aa"), (a_prompt(), "aa", "bb"), (a_prompt(), "?", "a")],
    )
    assert mean_gaps(judge, pairs, 4, (0, "stage")) == [2.0, -1.0, 0.0, None]
    assert len(judge.asked) == 16 and len({item.seed for item in judge.asked}) == 16
    signs = [
        sign for number in range(50) for _, sign in comparisons((a_prompt(id=f"p{number}"), "a", "b"), 4, (0, "stage"))
    ]
    assert 70 < signs.count(1) < 130
    assert comparisons(pairs[0], 4, (0, "stage")) == comparisons(pairs[0], 4, (0, "stage"))
    assert comparisons(pairs[0], 4, (0, "stage")) != comparisons(pairs[0], 4, (1, "stage"))


def test_cache_keeps_replies_and_mistrusts_damaged_ones(tmp_path):
    cache, key = ReplyCache(tmp_path), key_of(Call("correct", "s", "u"), "m", 0.0, 10, True)
    assert cache.get(key) is None and cache.num_damaged == 0
    cache.put(key, Reply("yes", 3, 4, retries=2))
    assert ReplyCache(tmp_path).get(key) == Reply("yes", 3, 4, retries=0)
    other = key_of(Call("correct", "s", "v"), "m", 0.0, 10, True)
    cache.path(other).parent.mkdir(exist_ok=True)
    cache.path(other).write_bytes(cache.path(key).read_bytes())
    cache.path(key).write_text(cache.path(key).read_text()[:-5])
    assert cache.get(key) is None and cache.get(other) is None and cache.num_damaged == 2


def test_keys_are_what_a_reply_depends_on():
    call = Call("correct", "s", "u", {"type": "object"}, seed=1)
    same = key_of(call, "m", 0.0, 10, True)
    assert same == key_of(Call("safe", "s", "u", {"type": "object"}, seed=2), "m", 0.0, 10, True)
    others = [
        key_of(call, "n", 0.0, 10, True),
        key_of(call, "m", 0.5, 10, True),
        key_of(call, "m", 0.0, 11, True),
        key_of(call, "m", 0.0, 10, False),
        key_of(Call("correct", "s", "u", {"type": "object"}, seed=2), "m", 0.5, 10, True),
        key_of(Call("correct", "t", "u", call.schema), "m", 0.0, 10, True),
    ]
    assert len({same, *others}) == 7


def test_ledger_adds_up_over_attempts_and_ranks(tmp_path):
    for name, calls in (("attempt_1/judge_rank0", 2), ("attempt_1/judge_rank1", 3), ("attempt_2/judge_rank0", 5)):
        ledger = Ledger("m", 2.0, 10.0, tmp_path / "logs" / f"{name}.json")
        ledger.count("correct", calls=calls, prompt_tokens=1000 * calls, completion_tokens=100 * calls, retries=1)
        ledger.save()
    table = total(tmp_path)
    assert table["jobs"]["correct"]["calls"] == 10 and table["jobs"]["correct"]["retries"] == 3
    assert (
        table["money"] == pytest.approx(10_000 * 2 / 1e6 + 1_000 * 10 / 1e6)
        and metrics(table)["judge/money"] == table["money"]
    )
    assert total(tmp_path / "elsewhere") is None


def test_judging_counts_and_caches(make, server, tmp_path):
    server.answer = lambda user: (
        "hm"
        if "<model_answer>\n2\n" in user
        else json.dumps({"analysis": "", "correctness": "correct" if "\n28\n</model" in user else "incorrect"})
    )
    judge = make(price_prompt=1.0, price_completion=2.0)
    judge.check()
    asked = [*items(4), Judged(a_prompt(), answered("28")), Judged(a_prompt(), "<think>x</think>")]
    assert judge.correct(asked) == [False, False, None, False, True, False]
    assert len(server.asked) == 5, "an empty answer is wrong without asking"
    counts = judge.ledger.jobs["correct"]
    assert (counts["calls"], counts["unparsed"], counts["prompt_tokens"], counts["completion_tokens"]) == (
        5,
        1,
        500,
        50,
    )
    assert judge.ledger.money() == pytest.approx(500e-6 + 100e-6)
    again = make()
    assert again.correct(asked) == [False, False, None, False, True, False] and len(server.asked) == 5
    assert (
        again.ledger.jobs["correct"]["cached"] == 5
        and again.ledger.jobs["correct"]["unparsed"] == 1
        and again.ledger.money() == 0
    )
    assert (
        json.loads((tmp_path / "logs" / "attempt_1" / "judge_rank0.json").read_text())["jobs"]["correct"]["cached"] == 5
    )
    request = server.asked[0]
    assert (
        request["response_format"]["json_schema"]["schema"]["required"] == ["analysis", "correctness"]
        and request["temperature"] == 0
    )
    assert (
        make(structured=False, explain=False).correct(items(1)) == [False] and "response_format" not in server.asked[-1]
    )


def test_the_same_call_is_made_once(make, server):
    assert make().correct([items(1)[0]] * 5) == [True] * 5 and len(server.asked) == 1
    assert (
        make(temperature=0.5).correct([Judged(a_prompt(), answered("1"), seed) for seed in (1, 2, 2)]) == [True] * 3
        and len(server.asked) == 3
    )
    assert {request.get("seed") for request in server.asked} == {None, 1, 2}


@pytest.mark.parametrize("trouble", ["429", "500", "hang", "cut", "no json", "no completion"])
def test_trouble_is_retried_and_counted(make, server, trouble):
    server.script = [trouble, trouble]
    judge = make()
    assert judge.correct(items(1)) == [True]
    assert (
        len(server.asked) == 3
        and judge.ledger.of("correct", "retries") == 2
        and judge.ledger.of("correct", "calls") == 1
    )


@pytest.mark.parametrize(
    "trouble, word",
    [
        ("429", "429"),
        ("500", "500"),
        ("hang", "Timeout"),
        ("cut", "Connection"),
        ("no json", "no JSON"),
        ("401", "401"),
    ],
)
def test_trouble_that_stays_is_an_error_that_says_what_was_waited_for(make, server, trouble, word):
    server.script = [trouble] * 100
    judge = make()
    with pytest.raises(JudgeUnavailable, match=word) as error:
        judge.correct(items(1))
    assert server.url in str(error.value) and "judge.timeout_s=0.5" in str(error.value)
    assert judge.ledger.of("correct", "failed") == 1 and judge.ledger.of("correct", "calls") == 0
    assert len(server.asked) == (1 if trouble == "401" else 3)


def test_a_call_ends_at_its_deadline(make, server):
    server.script, started = ["hang"] * 100, time.monotonic()
    with pytest.raises(JudgeUnavailable, match="deadline"):
        make(timeout_s=0.4, deadline_s=1.0, retries=50).correct(items(1))
    assert time.monotonic() - started < 5


def test_a_call_that_the_provider_refuses_is_counted_and_not_asked_again(make, server):
    server.script = ["400"]
    judge = make(concurrency=1)
    assert (
        judge.correct(items(2)) == [None, True]
        and judge.ledger.of("correct", "refused") == 1
        and judge.ledger.of("correct", "unparsed") == 0
    )
    assert make().correct(items(2)) == [None, True] and len(server.asked) == 2


def test_what_came_before_a_failure_is_not_asked_again(make, server):
    server.script = ["ok"] * 3 + ["500"] * 100
    with pytest.raises(JudgeUnavailable):
        make(concurrency=1).correct(items(10))
    server.script, before = [], len(server.asked)
    assert make().correct(items(10)) == [True] * 10 and len(server.asked) == before + 7


def test_calls_run_at_once_up_to_the_limit(make, server):
    server.script = ["slow"] * 12
    make(concurrency=3).correct(items(12))
    assert server.most_open == 3


def test_several_threads_share_the_limit_and_the_ledger(make, server, tmp_path):
    """Groups are graded in several threads at once."""
    judge, server.script = make(concurrency=3), ["slow"] * 40
    asked = [[Judged(a_prompt(), answered(f"{thread}/{i}")) for i in range(10)] for thread in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(judge.correct, asked)) == [[True] * 10] * 4
    assert server.most_open == 3 and judge.ledger.of("correct", "calls") == 40
    assert (
        json.loads((tmp_path / "logs" / "attempt_1" / "judge_rank0.json").read_text())["jobs"]["correct"]["calls"] == 40
    )


def test_refining_takes_two_calls_and_a_cut_text_is_none(make, server):
    server.answer = lambda user: "\\boxed{28}" if "new thought" in user else "a new thought"
    asked = [Judged(a_prompt(language="zh"), "<think>旧 thought</think><answer>28</answer>")]
    assert make().refine(asked) == ["<think>a new thought</think><answer>\\boxed{28}</answer>"]
    assert (
        "Chinese" in server.asked[0]["messages"][0]["content"]
        and "旧 thought" in server.asked[0]["messages"][1]["content"]
    )
    server.script = ["length"]
    judge = make(max_tokens=7)
    assert (
        judge.refine(asked) == [None]
        and judge.ledger.of("refine", "unparsed") == 1
        and judge.ledger.of("summarise", "calls") == 0
    )


def test_comparisons_and_safety(make, server):
    server.answer = lambda user: '{"verdict": "A>>B"}' if "<answer_A>" in user else '{"safety": "unsafe"}'
    judge = make()
    assert judge.compare([Comparison(a_prompt(), "a", "b")]) == [2] and judge.safe(items(1)) == [False]
    enum = server.asked[0]["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"]
    assert enum == list(COMPARISON)


def test_what_cannot_be_asked_is_found_at_once(make, server, monkeypatch):
    with pytest.raises(InputError, match="judge.model=other is not served by .*; it has judge"):
        make(model="other").check()
    with pytest.raises(InputError, match="judge.url=http://127.0.0.1:1/v1"):
        make(url="http://127.0.0.1:1/v1").check()
    with pytest.raises(InputError, match="NO_SUCH_KEY is not set"):
        make(api_key_env="NO_SUCH_KEY")
    monkeypatch.setenv("A_KEY", "secret")
    assert make(api_key_env="A_KEY").correct(items(1)) == [True]


def test_configuration():
    with pytest.raises(ConfigError, match="url must be") as error:
        JudgeConfig(backend="openai", deadline_s=1.0)
    assert "model is not set" in str(error.value) and "deadline_s" in str(error.value)
    with pytest.raises(ConfigError, match="NAME of an environment variable"):
        JudgeConfig(api_key_env="sk-1234")


def test_the_tiny_world_s_judge_has_the_same_interface(tmp_path):
    judge = make_judge(JudgeConfig(), tmp_path)
    assert judge.correct([Judged(a_prompt(), answered("28")), Judged(a_prompt(), answered("27"))]) == [True, False]
    assert judge.problem(a_prompt()) is None and "tiny_world" in judge.problem(a_prompt(kind="file"))
    assert mean_gaps(judge, [(a_prompt("capital", "paris"), "paris.", "go away!")], 4, (0,)) == [2.0]
    assert judge.ledger.of("compare", "calls") == 4 and judge.ledger.money() == 0


class Stage:
    """What the verifier needs of a worker."""

    def __init__(self, directory, config, verifier, kind):
        self.kind, data = kind, DataConfig(name="file", path="prompts.jsonl", verifier=verifier)
        self.dir, self.rank, self.attempt, self.config = (
            directory,
            0,
            1,
            type("Config", (), {"judge": config, "data": data}),
        )


@pytest.fixture
def stage(server, tmp_path, monkeypatch):
    for name, value in NO_PAUSE.items():
        monkeypatch.setattr(name, value)
    monkeypatch.setattr(judges, "_STAGE", {"worker": None, "judge": None})

    def serve(verifier="exact", kind="grpo", **settings):
        config = JudgeConfig(**{"backend": "openai", "url": server.url, "model": "judge", **FAST, **settings})
        judges.serve(Stage(tmp_path / "run" / "stage" / "00000000", config, verifier, kind))

    return serve


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


def test_without_a_stage_prompts_are_only_looked_at(monkeypatch):
    monkeypatch.setattr(judges, "_STAGE", {"worker": None, "judge": None})
    assert reference_problem(free_prompt()) is None
    assert "no stage was opened" in grade_many([(answered("28"), free_prompt())])[0].error
