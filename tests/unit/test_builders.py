"""Building SFT data: records that survive a kill, judging, refining, general pairs, human review, the data card."""

import json
from collections import Counter

import pytest

from stages import judges
from stages.config import CollectConfig, DataConfig, JudgeConfig, MixtureSource
from stages.contract.indexed_records import IndexedRecords
from stages.data.prompt_sources import make_source
from stages.judges.calls import JudgeUnavailable
from stages.kinds.collect import review
from stages.kinds.collect.card import as_markdown, card_of, domain_table
from stages.kinds.collect.general import general_rows
from stages.kinds.collect.judging import finished
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt
from stages.runtime.errors import InputError, Interrupted
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.judge_server import judge_server
from tests.support.quiet_worker import Quiet
from tests.support.rollouts import a_prompt, answered


def test_records_of_all_attempts_and_ranks_are_read(tmp_path):
    for attempt, rank, index in ((1, 0, 0), (1, 1, 1), (2, 0, 2)):
        IndexedRecords(tmp_path, "done", attempt, rank).append({"index": index, "text": f"zh 中 {index}"})
    IndexedRecords(tmp_path, "sampled", 1, 0).append({"index": 9})
    records = IndexedRecords(tmp_path, "done", 3, 0)
    assert (
        sorted(records.rows) == [0, 1, 2] and records.rows[1]["text"] == "zh 中 1" and 2 in records and 9 not in records
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-3],
        lambda data: data.replace(b'"n": 2', b'"n": 3'),
        lambda data: data[:30] + b"\n" + data[30:],
        lambda data: data + b"half a li",
    ],
)
def test_a_damaged_line_counts_as_not_there(tmp_path, damage):
    records = IndexedRecords(tmp_path, "done", 1, 0)
    for number in range(3):
        records.append({"index": number, "n": number})
    (path,) = tmp_path.glob("*.records")
    path.write_bytes(damage(path.read_bytes()))
    again = IndexedRecords(tmp_path, "done", 2, 0)
    assert again.num_damaged and len(again.rows) >= 2 and all(row["n"] == index for index, row in again.rows.items())


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The stage's judge is a server of this test's."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    with judge_server() as running:
        settings = JudgeConfig(backend="openai", url=running.url, model="judge", retries=1, timeout_s=5, deadline_s=20)
        judges.open_stage(
            type(
                "Stage",
                (),
                {
                    "dir": tmp_path / "run" / "s" / "0",
                    "rank": 0,
                    "attempt": 1,
                    "config": type("Config", (), {"judge": settings}),
                },
            )
        )
        yield running
        judges.close_stage()


def sampled(*texts: str, **counts: int) -> dict:
    passed = [{"completion": text, "num_tokens": 10 * number} for number, text in enumerate(texts, start=1)]
    return {
        "index": 4,
        "num_samples": len(texts) + sum(counts.values()),
        "counts": counts,
        "passed": passed,
        "tokens": 99,
    }


def test_without_a_judge(tmp_path):
    config = CollectConfig(keep_per_prompt=2, data=DataConfig())
    (row,) = finished([(a_prompt(), sampled("a", "b", "a", "c", wrong=3, too_long=1))], config, (0, "s"))
    assert row == {
        "index": 4,
        "prompt_id": "p0",
        "num_samples": 8,
        "num_right": 5,
        "counts": {"kept": 2, "spare": 2, "too_long": 1, "wrong": 3},
        "kept": [{"completion": "a", "num_tokens": 10}, {"completion": "b", "num_tokens": 20}],
        "tokens": 99,
    }
    (easy,) = finished(
        [(a_prompt(), sampled("b" * 9, "a"))], CollectConfig(keep_per_prompt=1, easy_pass_rate=0.5), (0, "s")
    )
    assert easy["kept"][0]["completion"] == "b" * 9 and easy["counts"] == {"kept": 1, "spare": 1}


def test_the_tiny_world_s_refiner():
    mixed = answered("28", "first,等等,31-3=28")
    (row,) = finished(
        [(a_prompt(), sampled(mixed, answered("28", "31-3=28")))], CollectConfig(refine="rules"), (0, "s")
    )
    assert (
        row["counts"] == {"kept": 1, "beyond_refining": 1}
        and "wait" in row["kept"][0]["completion"]
        and "等等" not in row["kept"][0]["completion"]
    )


def test_a_judge_decides_what_no_rule_can(server):
    server.answer = lambda user: {"right": '{"correctness": "correct"}', "wrong": '{"correctness": "incorrect"}'}.get(
        user.split("<model_answer>\n")[1].split("\n")[0], "hm"
    )
    free = Prompt("p1", "why?", "file", "reasoning", "en", "because", "judge")
    batch = [
        (free, sampled(*(f"<think>so</think><answer>{text}</answer>" for text in ("right", "wrong", "odd")))),
        (a_prompt(), sampled("ruled")),
    ]
    one, two = finished(batch, CollectConfig(), (0, "s"))
    assert (
        one["counts"] == {"kept": 1, "unjudged": 1, "wrong": 1}
        and one["num_right"] == 1
        and two["counts"] == {"kept": 1}
    )
    assert len(server.asked) == 3


def refiner(user: str) -> str:
    if "<answer_A>" in user or "<model_answer>" in user:
        return '{"correctness": "correct"}'
    return (
        "So 31 - 3 = 28. \\boxed{28}"
        if "I take 3 from 31" in user
        else "I take 3 from 31.\n\nThat is 28."
        if "等等" in user
        else "那是 28"
    )


def test_a_judge_refines_and_is_checked(server):
    server.answer = refiner
    batch = [
        (a_prompt(), sampled(answered("28", "first,等等"), answered("28", "first,等等,so"), answered("28", "third")))
    ]
    (row,) = finished(batch, CollectConfig(refine="judge", keep_per_prompt=2), (0, "s"))
    assert row["kept"] == [
        {
            "completion": "<think>I take 3 from 31.\n\nThat is 28.</think><answer>So 31 - 3 = 28. \\boxed{28}</answer>",
            "num_tokens": None,
        }
    ]
    assert row["counts"] == {"kept": 1, "spare": 2}, "the third is not asked about; the second came out the same"
    (row,) = finished([(a_prompt(), sampled(answered("28", "third")))], CollectConfig(refine="judge"), (0, "s"))
    assert row["counts"] == {"beyond_refining": 1}, "refined into another language"
    server.answer = lambda user: refiner(user).replace("28}", "27}")
    (row,) = finished(
        [(a_prompt(), sampled(answered("28", "first,等等,then")))], CollectConfig(refine="judge"), (0, "s")
    )
    assert row["counts"] == {"kept": 1}, "the summary's words are cached"
    server.answer = lambda user: "I add.\n\nThat is 27." if "new one" in user else "\\boxed{27}"
    (row,) = finished([(a_prompt(), sampled(answered("28", "new one")))], CollectConfig(refine="judge"), (0, "s"))
    assert row["counts"] == {"beyond_refining": 1}, "a summary that is not right any more"


def test_a_judge_that_is_away_stops_a_builder(server):
    server.script = ["500"] * 100
    with pytest.raises(JudgeUnavailable):
        finished([(a_prompt(), sampled(answered("28")))], CollectConfig(refine="judge"), (0, "s"))


def general(config: CollectConfig, tmp_path, source=None) -> list[dict]:
    encoder = Encoder(build_tokenizer(), config.data.template)
    return general_rows(Quiet(), config, source, IndexedRecords(tmp_path, "general", 1, 0), encoder, lambda rows: rows)


def test_general_pairs_of_the_tiny_world(tmp_path):
    rows = general(CollectConfig(num_general=6), tmp_path)
    assert (
        len(rows) == 6
        and set(rows[0]) == {"prompt_id", "prompt", "completion", "kind", "language", "text"}
        and general(CollectConfig(), tmp_path) == []
    )


def test_general_pairs_from_a_file_leave_held_out_prompts_out(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"What is {a}+1?", "answer": a + 1}) + "\n" for a in range(40)))
    chats = tmp_path / "chats.jsonl"
    chats.write_text(
        "".join(
            json.dumps({"prompt": f"What is {a}+1?", "completion": f"It is {a + 1}.", "kind": "qa"}) + "\n"
            for a in range(40)
        )
    )
    data = DataConfig(
        name="file",
        eval_fraction=0.3,
        template="r1_zero",
        sources={
            "sums": MixtureSource(path=str(prompts), verifier="integer"),
            "chats": MixtureSource(path=str(chats), rows="sft", domain="helpful", kind_column="kind"),
        },
    )
    rows = general(CollectConfig(num_general=200, data=data), tmp_path)
    held_out = {prompt.text for prompt in make_source(data, 0, "evaluate", "test").prompts("reasoning")["sums"]}
    assert (
        0 < len(held_out) < 40
        and len(rows) == 200
        and {row["text"] for row in rows} == {f"What is {a}+1?" for a in range(40)} - held_out
    )
    assert (
        rows[0]["kind"] == "qa"
        and rows[0]["prompt"].endswith("Assistant:")
        and rows[0]["completion"].startswith("It is")
    )
    assert general(CollectConfig(num_general=5, data=data), tmp_path) == rows[:5]


def test_general_prompts_answered_by_the_judge_are_asked_once(server, tmp_path):
    server.answer = lambda user: (
        "</think>" if user.endswith("3?") else "<think>easy</think>yes" if user.endswith("2?") else "hello!"
    )
    chats = tmp_path / "chats.jsonl"
    chats.write_text("".join(json.dumps({"prompt": f"Hi {a}?"}) + "\n" for a in range(4)))
    data = DataConfig(name="file", path=str(chats), domain="helpful", eval_fraction=0)
    config, source = CollectConfig(num_general=4, general="judge", data=data), make_source(data, 0, "s")
    rows = general(config, tmp_path, source)
    assert (
        sorted(row["completion"] for row in rows) == ["<think>easy</think>yes", "hello!", "hello!"]
        and len(server.asked) == 4
    )
    server.script = ["500"] * 100
    assert general(config, tmp_path, source) == rows, "from the records"


EXAMPLES = [(a_prompt(id=f"p{number}"), answered("28", f"so,{number}")) for number in range(3)]


def edited(tmp_path, change) -> None:
    """The exported rows after `change(rows)`, as a person saves them."""
    rows = [json.loads(line) for line in review.export(tmp_path, EXAMPLES).read_text().splitlines()]
    rows = change(rows) or rows
    (tmp_path / "review" / "reviewed.jsonl").write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    )


def test_review_waits_for_a_person(tmp_path):
    with pytest.raises(Interrupted, match="3 examples wait for a person: copy .*export.jsonl to reviewed.jsonl"):
        review.reviewed(tmp_path, EXAMPLES)
    exported = [json.loads(line) for line in (tmp_path / "review" / "export.jsonl").read_text().splitlines()]
    assert [row["completion"] for row in exported] == [completion for _, completion in EXAMPLES] and exported[0][
        "decision"
    ] == "keep"


def test_review_takes_edits_and_drops(tmp_path):
    def change(rows):
        rows[0]["completion"] = answered("28", "I see it at once")
        rows[2]["decision"] = "drop"
        rows.reverse()

    edited(tmp_path, change)
    completions, seen = review.reviewed(tmp_path, EXAMPLES)
    assert completions == [answered("28", "I see it at once"), EXAMPLES[1][1], None]
    assert (seen["examples"], seen["edited"], seen["dropped"]) == (3, 1, 1) and len(seen["sha256"]) == 64


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows[0].update(id="p7-0"), "line 1 has an id that was not exported: 'p7-0'"),
        (lambda rows: rows.pop(), "1 exported examples are missing"),
        (lambda rows: rows.append(rows[0]), "line 4 has the id of line 1"),
        (lambda rows: rows[1].update(decision="perhaps"), "line 2: decision must be keep or drop"),
        (lambda rows: rows[1].update(completion=answered("27")), "line 2: the answer is not '28' any more"),
        (lambda rows: rows[1].update(completion="28"), "line 2: the completion is not <think>"),
        (lambda rows: rows[0].pop("decision"), "line 1 has no text 'decision'"),
        (lambda rows: [*rows, "{broken"], "line 4 is not JSON"),
        (lambda rows: [*rows, "[]"], "line 4 is not an object"),
    ],
)
def test_review_says_what_is_wrong_with_the_file(tmp_path, change, message):
    edited(tmp_path, lambda rows: result if isinstance(result := change(rows), list) else None)
    with pytest.raises(InputError) as error:
        review.reviewed(tmp_path, EXAMPLES)
    assert message in str(error.value) and "run the same command again" in str(error.value)


def test_the_card_counts_what_each_filter_left():
    rows = [{"kind": "math", "source": "sampled"}] * 2 + [
        {"kind": "code", "source": "sampled"},
        {"kind": "greet", "source": "general"},
    ]
    table = domain_table(rows, [10, 20, 7, 4])
    assert [(row["domain"], row["samples"], row["avg_tokens"]) for row in table] == [
        ("code", 1, 7.0),
        ("math", 2, 15.0),
        ("general", 1, 4.0),
        ("total", 4, 10.2),
    ]
    prompts = [
        {"counts": Counter(kept=2, wrong=1, spare=1), "num_right": 3, "num_samples": 4, "kept": [1, 2]},
        {"counts": Counter(truncated=4), "num_right": 0, "num_samples": 4, "kept": []},
    ]
    card = card_of(
        "cold_start_data",
        CollectConfig(easy_pass_rate=0.5),
        prompts,
        table,
        {"examples": 3, "edited": 1, "dropped": 0, "sha256": "ab", "file": "x"},
    )
    assert (
        card["completions"] == 8 == sum(card["filters"].values())
        and card["easy_prompts"] == 1
        and card["prompts_kept"] == 1
    )
    text = as_markdown(card)
    assert (
        "| cut at the length limit | 4 | 4 |" in text
        and "| wrong answer | 1 | 3 |" in text
        and "| kept | 2 | 2 |" in text
        and "| total | 4 | 1.0 | 10.2 |" in text
    )
    assert "`ab`" in text and as_markdown({**card, "review": None}).count("Reviewed") == 0
