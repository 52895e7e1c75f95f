"""Every suite reads its published schema from a small file, its prompts are the paper's, and its verifier tells right
from wrong.
"""

import dataclasses
import json
import pickle
from functools import cache
from pathlib import Path

import pytest

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import ProblemSet, load_sets
from stages.kinds.evaluation.suites.codeforces import read_contests
from stages.kinds.evaluation.suites.livecodebench import test_cases as read_cases
from stages.kinds.evaluation.suites.tiny import num_operations
from stages.rewards.grading import grade
from tests.support.runs import config
from tests.support.suites import FILES, SCHEMAS


@cache
def suites() -> dict[str, SuiteConfig]:
    """The suites of conf/eval/, each reading its small file."""
    paths = [f"eval.{name}.path={SCHEMAS / file}" for name, file in FILES.items()]
    return config("+stage=evaluate", f"eval=[{','.join([*FILES, 'tiny'])}]", *paths).stages.evaluate.settings


def suite(name: str, **changes) -> SuiteConfig:
    return dataclasses.replace(suites()[name], **changes)


def load(name: str, seed: int = 0, **changes) -> ProblemSet:
    (one,) = load_sets(EvaluateConfig(suites=[name], settings={name: suite(name, **changes)}), seed)
    return one


def grades(one: ProblemSet, *completions: str) -> list[float]:
    """The grade of each completion for the problem in its place."""
    return [grade(text, problem.prompts[0]) for text, problem in zip(completions, one.problems, strict=True)]


@pytest.mark.parametrize(
    "name, k", [("aime24", 64), ("aime25", 64), ("gpqa", 64), ("math500", 16), ("codeforces", 16), ("livecodebench", 8)]
)
def test_the_published_protocol(name, k):
    """[V2 D.1]"""
    chosen = suite(name)
    assert (chosen.samples_per_prompt, chosen.temperature, chosen.top_p, chosen.max_completion_tokens) == (
        k,
        0.6,
        0.95,
        32768,
    )


def test_aime():
    one = load("aime24")
    assert len(one.problems) == 2 and len(one.problems[0].prompts) == 64
    assert (
        one.problems[0]
        .prompts[0]
        .text.endswith("\nPlease reason step by step, and put your final answer within \\boxed{}.")
    )  # [V2 Table 29]
    assert grades(one, "so \\boxed{14}", "so \\boxed{24}") == [1, 0]
    assert grades(load("aime25"), "\\boxed{054}", "<answer>576</answer>") == [1, 1]


def test_math500():
    one = load("math500")
    assert [problem.level for problem in one.problems] == ["1", "2", "5"]
    assert grades(one, "\\boxed{5/6}", "\\boxed{2^{1/2}}", "\\boxed{(x+1)^2}") == [1, 1, 0]


def test_gsm8k():
    assert grades(load("gsm8k"), "\\boxed{30.00}", "\\boxed{1,080}") == [1, 1]
    assert grades(load("gsm8k"), "\\boxed{31}", "1080") == [0, 0]


def test_gpqa_shuffles_the_choices_of_every_sample():
    one = load("gpqa")
    first = one.problems[0]
    letters = [prompt.answer for prompt in first.prompts]
    assert set(letters) == set("ABCD") and letters != [prompt.answer for prompt in one.problems[1].prompts]
    for prompt in first.prompts:
        assert f"\n{prompt.answer}) the photon" in prompt.text and prompt.text.count("the gluon") == 1
    assert (
        "The last line of your response should be of the following format: 'ANSWER: $LETTER'" in first.prompts[0].text
    )
    assert load("gpqa") == one != load("gpqa", seed=1)
    assert (
        grade(f"\\boxed{{{letters[0]}}}", first.prompts[0]) == 1
        and grade(f"\\boxed{{{letters[0]}}}", first.prompts[letters.index("ABCD".replace(letters[0], "")[0])]) == 0
    )


def test_mmlu_with_indices_and_letters():
    assert grades(load("mmlu"), "\\boxed{B}", "\\boxed{A}") == [1, 0]
    (problem,) = load("mmlu_pro").problems
    assert (
        problem.prompts[0].answer == "D"
        and "\nF) neon" in problem.prompts[0].text
        and "one of ABCDEF" in problem.prompts[0].text
    )


def test_ten_options_of_mmlu_pro_and_what_they_hold(tmp_path):
    """Names with initials, letters in the options and "A)" after them are no options; "N/A" fills a row up."""
    options = [f"President {n}" for n in range(7)] + ["John F. Kennedy", "B. B. King, later called A) or C)", "N/A"]
    rows = [
        {"question": "Who?", "options": options, "answer": "H"},
        {"question": "Who?", "options": options, "answer": "I"},
    ]
    one = load("mmlu_pro", path=written(tmp_path / "rows.jsonl", rows))
    assert [problem.prompts[0].answer for problem in one.problems] == ["H", "I"] and "N/A" not in one.problems[
        0
    ].prompts[0].text
    assert (
        grades(one, "ANSWER: H", "ANSWER: I") == grades(one, "The answer is John F. Kennedy.", "\\boxed{I}") == [1, 1]
    )
    assert grades(one, "ANSWER: F", "ANSWER: H. John F. Kennedy") == [0, 0]


def test_ifeval():
    one = load("ifeval")
    assert len(one.problems) == 3 and one.measure == "text"
    german, english = "Der Regen f\u00e4llt auf das Dach.", "The rain falls on the roof."
    assert grades(one, "the rain falls on the roof", "* apple\n* pear\n* plum\n\nEnjoy!", german) == [1, 1, 1]
    assert grades(one, "the rain, it falls", "* apple\n* pear\n\nEnjoy!", english) == [0, 0, 0]
    thought = "<think>WELL, COMMAS</think><answer>the rain falls</answer>"
    assert grades(one, thought, "* a\n* b\n* c\nEnjoy", "") == [1, 0, 0]


def test_livecodebench_reads_open_and_packed_tests_within_its_window():
    one = load("livecodebench")
    assert [problem.level for problem in one.problems] == ["easy", "medium"]  # the third contest was in 2023
    first, second = (json.loads(problem.prompts[0].checks) for problem in one.problems)
    assert [test["output"] for test in first["tests"]] == ["6\n", "0\n", "1000000000000\n"] and first["type"] == "stdin"
    assert second == {
        "type": "call",
        "language": "python",
        "fn_name": "scale",
        "tests": [{"args": [[1, 2, 3], 2], "expected": [2, 4, 6]}, {"args": [[], 5], "expected": []}],
    }
    assert "class Solution" in one.problems[1].prompts[0].text and "stdin" in one.problems[0].prompts[0].text
    assert len(load("livecodebench", since=None, until=None).problems) == 3


def test_livecodebench_runs_programs():
    right = "```python\ninput()\nprint(sum(map(int, input().split())))\n```"
    method = (
        "```python\nclass Solution:\n    def scale(self, numbers, factor):\n        return [number * factor "
        "for number in numbers]\n```"
    )
    assert grades(load("livecodebench"), right, method) == [1, 1]
    assert grades(load("livecodebench"), "```python\nprint(6)\n```", method.replace("* factor", "+ factor")) == [
        0,
        0,
    ]  # 6 passes the open test only


class Evil:
    def __reduce__(self):
        return print, ("run by a pickle",)


def test_packed_tests_cannot_run_code(capsys):
    import base64
    import zlib

    packed = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(ValueError, match="builtins.print"):
        read_cases(packed)
    assert "run by" not in capsys.readouterr().out


def test_codeforces():
    one = load("codeforces")
    assert [problem.place for problem in one.problems] == [
        ("9001", "A"),
        ("9001", "B"),
        ("9002", "A"),
        ("9003", "A"),
    ] and not one.contests
    assert [problem.level for problem in one.problems] == ["800-1199", "1200-1599", "800-1199", "800-1199"]
    assert "## Example 1\nInput:\n1\n" in one.problems[0].prompts[0].text
    with_standings = load("codeforces", standings=str(SCHEMAS / "standings"))
    assert [problem.place[0] for problem in with_standings.problems] == ["9001", "9001", "9002"] and set(
        with_standings.contests
    ) == {"9001", "9002"}


def test_standings_are_what_the_api_answers():
    contest = read_contests("codeforces", SCHEMAS / "standings")["9001"]
    assert contest.points == {"A": 500, "B": 1000}
    assert [(human.rating, set(human.solved)) for human in contest.humans] == [
        (1600, {"A", "B"}),
        (1300, {"A"}),
        (1000, set()),
    ]  # the guest has no rating


def test_the_tiny_world_has_levels():
    sets = load_sets(
        EvaluateConfig(num_reasoning=6, num_general=3, num_safety=2, suites=["tiny"], settings={"tiny": suite("tiny")}),
        0,
    )
    assert [(one.name, len(one.problems), one.num_samples, one.measure) for one in sets] == [
        ("tiny_math", 6, 4, "verifiable"),
        ("tiny_general", 3, 1, "general"),
        ("tiny_safety", 2, 1, "safety"),
    ]
    assert [problem.level for problem in sets[0].problems] == ["2", "3", "4", "2", "3", "4"]
    assert num_operations("what is24-3+7+2?") == "3"


def test_only_the_first_problems():
    assert len(load("math500", num_problems=2).problems) == 2


def written(path: Path, rows: list) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return str(path)


@pytest.mark.parametrize(
    "name, rows, words",
    [
        (
            "math500",
            [{"question": "1+1", "answer": "2"}],
            ["line 1", "no column 'problem'", "it has question, answer", "eval.math500.path"],
        ),
        (
            "math500",
            [{"problem": "1+1", "answer": "2"}, {"problem": " ", "answer": "2"}],
            ["line 2", "'problem' is empty"],
        ),
        ("math500", [{"problem": "1+1", "answer": "?"}], ["line 1", "not mathematics"]),
        ("aime24", [{"problem": "1+1", "answer": "1/2"}], ["line 1", "not one integer"]),
        ("gsm8k", [{"question": "1+1", "answer": "2"}], ["line 1", "#### NUMBER"]),
        ("mmlu", [{"question": "x", "choices": ["a", "b"], "answer": 2}], ["line 1", "'2' is none of the 2 choices"]),
        ("mmlu", [{"question": "x", "choices": "a", "answer": 0}], ["line 1", "a list of 2 to 26 choices"]),
        (
            "ifeval",
            [{"prompt": "x", "instruction_id_list": ["a:b"], "kwargs": []}],
            ["line 1", "1 instructions, but kwargs for 0"],
        ),
        ("ifeval", [{"prompt": "x", "instruction_id_list": ["a:b"], "kwargs": [{}]}], ["line 1", "'a:b' is not known"]),
        (
            "ifeval",
            [{"prompt": "x", "instruction_id_list": ["startend:end_checker"], "kwargs": [{}]}],
            ["line 1", "end_phrase"],
        ),
        (
            "livecodebench",
            [
                {
                    "question_content": "x",
                    "contest_date": "2024-10-01",
                    "public_test_cases": "[]",
                    "private_test_cases": "[]",
                }
            ],
            ["line 1", "no test cases"],
        ),
        ("math500", ['{"problem": '], ["line 1 is not JSON"]),
        ("math500", ["[1, 2]"], ["line 1", "expected an object"]),
        ("math500", [], ["no problem in it", "eval.math500.path"]),
    ],
)
def test_rows_that_cannot_be_used_are_named(name, rows, words, tmp_path):
    with pytest.raises(ValueError) as error:
        load(name, path=written(tmp_path / "rows.jsonl", rows))
    assert all(word in str(error.value) for word in [f"eval.{name}", *words]), str(error.value)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load("math500", path=str(tmp_path / "none.jsonl"))
    (tmp_path / "rows.xls").write_text("x")
    with pytest.raises(ValueError, match="unknown file type '.xls'"):
        load("math500", path=str(tmp_path / "rows.xls"))
    (tmp_path / "rows.parquet").write_text("x")
    with pytest.raises(ValueError, match="Parquet"):
        load("math500", path=str(tmp_path / "rows.parquet"))
    (tmp_path / "rows.jsonl").write_bytes(b'{"problem": "\xff"}\n')
    with pytest.raises(ValueError, match="not UTF-8"):
        load("math500", path=str(tmp_path / "rows.jsonl"))


def test_parquet_and_json_lists(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"problem": "1+1", "answer": "2"}, {"problem": "1+2", "answer": "3"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert (
        load("math500", path=str(tmp_path / "rows.parquet")).problems
        == load("math500", path=str(tmp_path / "rows.json")).problems
    )


def test_the_hub_that_cannot_be_reached_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    with pytest.raises(
        ValueError,
        match="eval.math500.hub=HuggingFaceH4/MATH-500 cannot be read.*HF_HUB_OFFLINE=0.*eval.math500.path=FILE",
    ):
        load("math500", path=None)
    with pytest.raises(ValueError, match="names no data"):
        load("math500", path=None, hub=None)


def test_standings_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="no such directory"):
        read_contests("codeforces", tmp_path / "none")
    with pytest.raises(ValueError, match="no CONTEST.standings.json"):
        read_contests("codeforces", tmp_path)
    (tmp_path / "1.standings.json").write_text('{"status": "FAILED", "comment": "contestId: not found"}')
    with pytest.raises(ValueError, match="1 is not as Codeforces' API answers.*not found"):
        read_contests("codeforces", tmp_path)
