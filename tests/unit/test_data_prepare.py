"""`data prepare`: every filter drops what it says and nothing else, every row is accounted for, the outcome is the same
however it is computed.
"""

import dataclasses
import json
import random

import numpy as np
import pyarrow.parquet
import pytest

from stages.config import DataConfig, MixtureSource, PrepareConfig, RolloutConfig
from stages.data.file_prompts import FilePrompts
from stages.data.preparing.contamination import EvaluationGrams
from stages.data.preparing.duplicates import bands, exact_duplicates, near_duplicates
from stages.data.preparing.inspect import summary
from stages.data.preparing.lengths import Lengths
from stages.data.preparing.pass_rate import PassRates
from stages.data.preparing.prepare import Preparation
from stages.data.preparing.text_hashes import exact_hash, hashes_of, is_word, ngrams, signatures, tokens_of
from stages.engines.sampling import Completion
from stages.rewards.grading import GraderAway
from tests.support.rollouts import a_prompt, answered

WORDS = [f"word{number}" for number in range(2000)]


def sentence(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def write(path, rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return str(path)


def prepare(tmp_path, data: DataConfig, **settings):
    """(prompts kept, data card)."""
    made = Preparation(
        data,
        PrepareConfig(output=str(tmp_path / "out"), **{"processes": 1, **settings}),
        RolloutConfig(),
        say=lambda line: None,
    )
    path = made.run()
    return pyarrow.parquet.read_table(path).to_pylist(), json.loads((tmp_path / "out" / "card.json").read_text())


def test_tokens_keep_signs_and_tell_scripts_apart():
    assert tokens_of("If x+2=5, 求x") == ["if", "x", "+", "2", "=", "5", ",", "求", "x"]
    assert list(filter(is_word, tokens_of("a-b, 求!"))) == ["a", "b", "求"]


def test_ngrams_are_those_of_each_text_alone():
    texts = [list("abcde"), [], list("ab"), list("bcd"), list("cde")]
    grams, offsets = ngrams(*hashes_of(texts), 3)
    sets = [grams[offsets[place] : offsets[place + 1]].tolist() for place in range(len(texts))]
    assert [len(found) for found in sets] == [3, 0, 1, 1, 1]  # a short text is one gram, an empty one none
    assert sets[3][0] == sets[0][1] and sets[4][0] == sets[0][2] and len({*sets[0], *sets[2]}) == 4


def test_the_hash_of_a_text_ignores_case_and_white_space():
    assert exact_hash("What  is\n3+4?") == exact_hash("what is 3+4?") != exact_hash("what is 3-4?")


def test_signatures_estimate_the_share_of_common_shingles():
    one = [f"t{number}" for number in range(204)]
    other = one[:100] + [f"u{number}" for number in range(104)]  # 96 of the 5-grams are common, of 200 + 200 - 96
    first, second = signatures(*hashes_of([one, other]), 5)
    assert abs((first == second).mean() - 96 / 304) < 0.12
    assert (signatures(*hashes_of([one]), 5)[0] == first).all()


def test_exact_duplicates_name_the_first():
    hashes = np.frombuffer(b"".join(map(exact_hash, ["a", "b", "A", "c", "b", "a"])), "V16")
    assert exact_duplicates(hashes).tolist() == [0, 1, 0, 3, 1, 0]
    assert exact_duplicates(np.zeros(0, "V16")).tolist() == []


def test_bands_for_a_threshold():
    for threshold in (0.5, 0.7, 0.8, 0.9):
        count, size = bands(threshold)
        assert 1 - (1 - threshold**size) ** count >= 0.9 and count * size <= 128
    assert bands(1.0) == (1, 128)


def test_near_duplicates_are_found_and_others_are_left(tmp_path):
    """200 texts, of 50 a copy with one word of 80 changed (similarity 0.88), of 50 one with 15 changed (0.2 or so)."""
    texts = [sentence(number, 80).split() for number in range(200)]
    near, far = [], []
    for number in range(50):
        changed = list(texts[number])
        changed[40] = "another"
        near.append(changed)
        changed = list(texts[50 + number])
        changed[::5] = ["another"] * 16
        far.append(changed)
    everything = texts + near + far
    signatures(*hashes_of(everything), 5).tofile(tmp_path / "near")
    first = near_duplicates(tmp_path / "near", 300, 0.8, np.ones(300, bool))
    found = np.flatnonzero(first != np.arange(300))
    assert (first[found] == found - 200).all() and not set(found) - set(range(200, 250))
    assert len(found) >= 45  # the estimate of 128 entries has a standard error of 0.03


def test_near_duplicates_of_near_duplicates_name_the_first_of_all(tmp_path):
    texts = [sentence(1, 100).split()]
    for place in (50, 60, 70, 80):
        changed = list(texts[-1])
        changed[place] = f"other{place}"
        texts.append(changed)
    signatures(*hashes_of(texts), 5).tofile(tmp_path / "near")
    assert near_duplicates(tmp_path / "near", 5, 0.8, np.ones(5, bool)).tolist() == [0] * 5
    alive = np.array([False, True, True, True, True])
    assert near_duplicates(tmp_path / "near", 5, 0.8, alive).tolist() == [0, 1, 1, 1, 1]


def test_ten_words_in_a_row_are_contamination(tmp_path):
    held_out = sentence(7, 30).split()
    path = write(tmp_path / "held.jsonl", [{"problem": " ".join(held_out)}, {"problem": "How many primes?"}])
    grams = EvaluationGrams({"held": MixtureSource(path=path, prompt_column="problem")}, 10)
    rows = [
        " ".join([*sentence(8, 9).split(), *held_out[5:15], "end"]),
        " ".join([*sentence(9, 9).split(), *held_out[5:14], "end"]),
        ", ".join(held_out).upper(),
        "how many primes!",
        "How many primes are there?",
        "",
    ]
    found = grams.contaminated(hashes_of([list(filter(is_word, tokens_of(row))) for row in rows]))
    assert found.tolist() == [True, False, True, True, False, False] and grams.num_prompts == {"held": 2}


def test_an_evaluation_set_without_prompts_is_an_error(tmp_path):
    with pytest.raises(
        ValueError,
        match="prepare.against.held.path=.*no prompts in column prompt; name it with "
        "prepare.against.held.prompt_column",
    ):
        EvaluationGrams({"held": MixtureSource(path=write(tmp_path / "held.jsonl", [{"problem": "x"}]))}, 10)


def mixed_file(tmp_path):
    """Rows of every fate; 30 that stay."""
    good = [{"prompt": sentence(number), "answer": str(number)} for number in range(30)]
    nearly = good[3]["prompt"].split()
    nearly[20] = "changed"
    rows = [
        *good,
        "{broken",
        {"prompt": "why", "answer": "1"},
        {"prompt": sentence(50, 300), "answer": "1"},
        {"prompt": "求一加一等于几求一加一等于几", "answer": "2"},
        {"prompt": sentence(99), "answer": "1"},
        {"prompt": good[5]["prompt"].upper(), "answer": "5"},
        {"prompt": " ".join(nearly), "answer": "3"},
        {"prompt": sentence(60), "answer": "seven"},
    ]
    return DataConfig(path=write(tmp_path / "rows.jsonl", rows), malformed="skip")


SETTINGS = {"min_prompt": 5, "max_prompt": 100, "languages": ["en"], "near_duplicates": 0.75}


def test_every_row_is_kept_or_accounted_for(tmp_path):
    held = write(tmp_path / "held.jsonl", [{"prompt": sentence(99)}])
    rows, card = prepare(tmp_path, mixed_file(tmp_path), against={"held": MixtureSource(path=held)}, **SETTINGS)
    assert [row["prompt"] for row in rows] == [sentence(number) for number in range(30)]
    assert {entry["filter"]: entry["dropped"] for entry in card["filters"]} == {
        "malformed": 1,
        "length": 2,
        "language": 1,
        "contamination": 1,
        "exact duplicate": 1,
        "near duplicate": 1,
        "answer": 1,
    }
    assert card["read"] == 38 and card["filters"][-1]["left"] == card["kept"]["rows"] == 30
    reasons = {reason for entry in card["filters"] for reason in entry["reasons"]}
    assert {
        "not JSON",
        "prompt under 5 words",
        "prompt over 100 words",
        "in zh",
        "the same text",
        "not read by integer",
    } <= reasons
    assert any(
        "line 36" in example and "line 6: word" in example for entry in card["filters"] for example in entry["examples"]
    )  # the copy and what it copies
    text = (tmp_path / "out" / "card.md").read_text()
    assert "30 of 38 rows kept" in text and "data=prepared data.path=" in text and "| near duplicate |" in text
    assert not (tmp_path / "out" / ".work").exists()


def test_the_number_of_processes_does_not_matter(tmp_path):
    data = mixed_file(tmp_path)
    files_ = []
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name, data, processes=processes, **SETTINGS)
        files_.append((tmp_path / name / "out" / "train.parquet").read_bytes())
    assert files_[0] == files_[1]


def test_what_is_prepared_is_read_back(tmp_path):
    from pipeline.configuration.data_sources import preset
    from stages.config import from_dict

    rows, _ = prepare(tmp_path, mixed_file(tmp_path), **SETTINGS)
    source = FilePrompts(
        from_dict(
            DataConfig, {**preset("prepared"), "path": str(tmp_path / "out" / "train.parquet"), "eval_fraction": 0}
        )
    )
    assert len(source) == len(rows) == 31
    assert {source.get(index).id for index in range(31)} == {f"file-train-{row['id']}" for row in rows} and source.get(
        0
    ).verifier == "integer"


def test_pairs_are_duplicates_only_with_their_completions(tmp_path):
    rows = [{"prompt": "Say something.", "completion": text} for text in ("one thing", "another thing", "One  thing")]
    kept, card = prepare(tmp_path, DataConfig(path=write(tmp_path / "x.jsonl", rows), rows="sft"))
    assert [row["completion"] for row in kept] == ["one thing", "another thing"] and "data.rows=sft" in (
        tmp_path / "out" / "card.md"
    ).read_text()


def test_a_mixture_is_prepared_as_one_and_sources_are_told_apart(tmp_path):
    one, two = (
        write(tmp_path / f"{name}.jsonl", [{"prompt": sentence(number), "answer": "1"} for number in numbers])
        for name, numbers in (("one", range(5)), ("two", range(3, 9)))
    )
    rows, card = prepare(
        tmp_path,
        DataConfig(
            name="file", sources={"one": MixtureSource(path=one, license="MIT"), "two": MixtureSource(path=two)}
        ),
    )
    assert [row["source"] for row in rows] == ["one"] * 5 + ["two"] * 4 and card["kept"]["by"]["source"] == {
        "one": 5,
        "two": 4,
    }
    assert len({row["id"] for row in rows}) == 9 and card["sources"]["one"] | {"path": ""} == {
        "path": "",
        "files": None,
        "revision": None,
        "commit": None,
        "is_pinned": None,
        "license": "MIT",
        "rows": "prompts",
        "read": 5,
    }


def test_the_card_says_which_commit_was_read_and_whether_it_is_pinned(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, commit, number in (("some/set", "a" * 40, 0), ("held/out", "b" * 40, 90)):
        repository = tmp_path / "hub" / f"datasets--{name.replace('/', '--')}"
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        write(
            repository / "snapshots" / commit / "train.jsonl",
            [{"prompt": sentence(number + i), "answer": "1"} for i in range(3)],
        )
    against = {"held": MixtureSource(path="held/out")}
    _, card = prepare(tmp_path, DataConfig(name="file", path="some/set", license="MIT"), against=against)
    assert (card["sources"]["file"]["commit"], card["sources"]["file"]["is_pinned"]) == ("a" * 40, False)
    assert (card["against"]["held"]["commit"], card["against"]["held"]["prompts"]) == ("b" * 40, 3)
    text = (tmp_path / "out" / "card.md").read_text()
    assert (
        f"| {'a' * 40}, **not pinned** | MIT |" in text
        and f"data.revision={'a' * 40} pins it" in text
        and f"prepare.against.held.revision={'b' * 40} pins it" in text
    )
    _, card = prepare(tmp_path, DataConfig(name="file", path="some/set", revision="a" * 40))
    text = (tmp_path / "out" / "card.md").read_text()
    assert (
        card["sources"]["file"]["is_pinned"] is True
        and card["pins"] == []
        and "not pinned" not in text
        and f"| {'a' * 40} |" in text
    )
    own = write(tmp_path / "own.jsonl", [{"prompt": sentence(1), "answer": "1"}])
    _, card = prepare(tmp_path, DataConfig(name="file", path=own, revision="c" * 40))
    assert (
        card["sources"]["file"]["commit"] is None
        and f"files here, not checked to be {'c' * 40}" in (tmp_path / "out" / "card.md").read_text()
    )


def test_bad_input_says_what_to_do(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"prompt": "x", "answer": "1"}, "{"])
    with pytest.raises(ValueError, match="line 2: not JSON.*data.malformed=skip"):
        prepare(tmp_path, DataConfig(path=path))
    with pytest.raises(ValueError, match="no row of 2 is left: malformed dropped 1, length dropped 1"):
        prepare(tmp_path, DataConfig(path=path, malformed="skip"), min_prompt=9)
    with pytest.raises(ValueError, match="is empty: it needs at least one row"):
        prepare(tmp_path, DataConfig(path=write(tmp_path / "none.jsonl", [])))
    with pytest.raises(ValueError, match="rows of different types"):
        prepare(
            tmp_path,
            DataConfig(name="file", sources={name: MixtureSource(path=path, rows=name) for name in ("sft", "labels")}),
        )
    with pytest.raises(ValueError, match="prepare.samples measures the pass rate"):
        prepare(tmp_path, DataConfig(path=path), samples=4)


def test_a_summary_counts_everything(tmp_path):
    data = mixed_file(tmp_path)
    found = summary(data, "data", Lengths())
    assert (found["tally"].num_rows, found["num"], found["copies"]) == (38, 37, 1)
    assert (
        found["by"]["language"] == {"en": 36, "zh": 1}
        and found["lengths"]["up to 64"] == 34
        and sum(found["lengths"].values()) == 37
    )
    assert found["tally"].reasons == {"not JSON": 1} and len(found["shown"]) == 3
    assert [row.number for row in found["shown"]] == [row.number for row in summary(data, "data", Lengths())["shown"]]


def test_lengths_are_tokens_where_there_is_a_tokenizer(tmp_path):
    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    build_tokenizer().save_pretrained(tmp_path)
    assert Lengths(str(tmp_path)).of(["7+5"]) == [3] and Lengths().of(["What is 7+5?"]) == [4]
    assert Lengths(str(tmp_path)).of([]) == []


def test_prepare_counts_in_tokens(tmp_path):
    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    build_tokenizer().save_pretrained(tmp_path / "model")
    path = write(tmp_path / "x.jsonl", [{"prompt": "1+2", "answer": "3"}, {"prompt": "1+2+3+4", "answer": "10"}])
    made = Preparation(
        DataConfig(path=path),
        PrepareConfig(output=str(tmp_path / "out"), max_prompt=4, processes=1),
        RolloutConfig(),
        model_dir=str(tmp_path / "model"),
        say=lambda line: None,
    )
    assert [row["prompt"] for row in pyarrow.parquet.read_table(made.run()).to_pylist()] == ["1+2"]
    assert made.dropped.reasons["length"] == {"prompt over 4 tokens": 1}


def test_settings_that_keep_nothing_are_refused():
    with pytest.raises(ValueError, match="min_pass_rate 0.9 is more than max_pass_rate 0.5"):
        PrepareConfig(min_pass_rate=0.9, max_pass_rate=0.5)
    with pytest.raises(ValueError, match="against.x.path is empty"):
        PrepareConfig(against={"x": MixtureSource()})
    assert dataclasses.replace(PrepareConfig(), max_prompt=9).max_prompt == 9


def test_the_command_line_inspects_and_prepares(tmp_path):
    from tests.support.command_line import r1

    path = write(tmp_path / "x.jsonl", [*({"prompt": sentence(number), "answer": number} for number in range(8)), "{"])
    shown = r1("data", "inspect", f"data.path={path}", "data.verifier=integer")
    assert (
        shown.returncode == 0 and "9 rows, 8 can be used as prompts" in shown.stdout and "not JSON" in shown.stdout
    ), shown.stdout + shown.stderr
    refused = r1(
        "data",
        "prepare",
        f"data.path={path}",
        "data.verifier=integer",
        f"prepare.output={tmp_path / 'out'}",
        "prepare.processes=1",
    )
    assert (
        refused.returncode == 3
        and "line 9: not JSON" in refused.stdout
        and "Traceback" not in refused.stdout + refused.stderr
    )
    done = r1(
        "data",
        "prepare",
        f"data.path={path}",
        "data.verifier=integer",
        "data.malformed=skip",
        f"prepare.output={tmp_path / 'out'}",
        "prepare.processes=1",
    )
    assert (
        done.returncode == 0
        and "8 of 9 rows" in done.stdout
        and len(pyarrow.parquet.read_table(tmp_path / "out" / "train.parquet")) == 8
    )
    assert r1("data", "inspct", f"data.path={path}").returncode == 2


def test_a_set_is_fetched_and_says_which_commit_it_is(tmp_path):
    """The hub's own client, and a hub on this machine."""
    from tests.support.command_line import r1
    from tests.support.hub_server import Hub

    rows = "".join(
        json.dumps({"question": sentence(number), "answer": f"so\n#### {number}"}) + "\n" for number in range(3)
    )
    with Hub() as here:
        here.datasets["openai/gsm8k"] = {
            "sha": "d" * 40,
            "files": {"README.md": b"not asked for", "train.jsonl": rows.encode()},
        }
        environment = {**here.environment(), "HF_HUB_CACHE": str(tmp_path / "cache")}
        words = ("data=gsm8k", "data.files=train.jsonl")
        done = r1("data", "fetch", *words, **environment)
        shown = " ".join(done.stdout.split())
        assert (
            done.returncode == 0 and f"commit {'d' * 40}" in shown and f"data.revision={'d' * 40} pins it" in shown
        ), done.stdout + done.stderr
        assert not [path for _, path in here.requests if "README" in path]
        pinned = r1("data", "fetch", *words, f"data.revision={'d' * 40}", **environment)
        assert pinned.returncode == 0 and "not pinned" not in pinned.stdout, pinned.stdout + pinned.stderr
    shown = r1("data", "inspect", *words, HF_HUB_CACHE=str(tmp_path / "cache"))
    text = " ".join(shown.stdout.split())
    assert "3 rows, 3 can be used" in text and f"commit {'d' * 40}" in text and "is not pinned" in text, (
        text + shown.stderr
    )


class Written:
    """A sampler that has written its completions down."""

    def __init__(self, tokenizer, *texts):
        self.ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def sample(self, prompt_ids, seeds, n, temperature, max_tokens):
        return [[Completion(ids, [0.0] * len(ids), False) for ids in self.ids] for _ in prompt_ids]


def test_completions_that_nobody_can_grade_are_said_and_not_passed(tmp_path, monkeypatch):
    from stages.rewards.verifiers import integer
    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    monkeypatch.setattr(integer, "grade", lambda completion, prompt: 1.0 if "<answer>28" in completion else 1 / 0)
    said, tokenizer = [], build_tokenizer()
    meter = PassRates(
        DataConfig(), PrepareConfig(samples=2), RolloutConfig(), 0, tmp_path, tmp_path / "rates", said.append
    )
    meter._tokenizer, meter._sampler = tokenizer, Written(tokenizer, answered("28"), answered("27"))
    assert meter.of([a_prompt()]) == [0.5]
    assert (
        said[0] == "1 of 2 completions could not be graded and count as not passed: integer: ZeroDivisionError: "
        "division by zero (1)"
    )


def test_a_grader_that_is_away_measures_no_pass_rates(tmp_path, monkeypatch, capsys):
    """Nothing is written that a second run would take for a rate, and the command says why it ended."""
    from stages.data import __main__ as command
    from stages.rewards.verifiers import integer
    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    def away(pairs):
        raise GraderAway("no program can be run any more: user namespaces are forbidden")

    monkeypatch.setattr(integer, "grade_many", away, raising=False)
    tokenizer = build_tokenizer()

    def open_sampler(meter):
        meter._tokenizer, meter._sampler = tokenizer, Written(tokenizer, answered("28"), answered("27"))
        meter._sampler.close = lambda: None

    monkeypatch.setattr(PassRates, "_open", open_sampler)
    monkeypatch.setattr(command.environment, "prepare", lambda: None)
    tokenizer.save_pretrained(tmp_path / "model")
    given = {
        "data": {"path": write(tmp_path / "x.jsonl", [{"prompt": "25+3", "answer": "28"}])},
        "prepare": {"output": str(tmp_path / "out"), "samples": 2, "processes": 1},
        "rollout": {},
        "sandbox": {},
        "seed": 0,
        "model_dir": str(tmp_path / "model"),
    }
    (tmp_path / "config.json").write_text(json.dumps(given))
    assert command.main(["prepare", str(tmp_path / "config.json")]) == 1
    assert "error: no program can be run any more: user namespaces are forbidden" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.parquet").exists() and not list((tmp_path / "out").glob(".pass_rates/*.json"))


def test_a_judge_measures_no_pass_rates(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"prompt": "x", "answer": "1"}])
    with pytest.raises(ValueError, match="a judge is only asked by stages"):
        Preparation(
            DataConfig(name="file", path=path, verifier="judge"),
            PrepareConfig(samples=2),
            RolloutConfig(),
            model_dir=str(tmp_path),
        )


def test_what_was_not_fetched_is_an_input_error(tmp_path):
    from tests.support.command_line import r1

    done = r1("data", "inspect", "data=gsm8k", HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 3 and "python -m pipeline data fetch" in " ".join(done.stdout.split())
