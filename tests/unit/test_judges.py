"""Asking a judge: the cache, the ledger, and an endpoint that misbehaves in every way we know."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages.config import ConfigError, JudgeConfig
from stages.judges import Comparison, Judged, make_judge
from stages.judges.cache import ReplyCache
from stages.judges.calls import Call, JudgeUnavailable, Reply, key_of
from stages.judges.comparing import mean_gaps
from stages.judges.ledger import Ledger, metrics, total
from stages.judges.verdicts import COMPARISON
from stages.runtime.errors import InputError
from tests.support.judge_server import judge_server
from tests.support.judging import FAST, NO_PAUSE, items
from tests.support.rollouts import a_prompt, answered

pytestmark = pytest.mark.slow  # waits for the retries of a client


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
    assert judge.prompt_problem(a_prompt()) is None and "tiny_world" in judge.prompt_problem(a_prompt(kind="file"))
    assert mean_gaps(judge, [(a_prompt("capital", "paris"), "paris.", "go away!")], 4, (0,)) == [2.0]
    assert judge.ledger.of("compare", "calls") == 4 and judge.ledger.money() == 0
