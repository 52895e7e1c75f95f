"""Codeforces: programs that are graded by their tests, and ratings among the humans of each contest.

Columns: title, description, input_format, output_format, note, examples, official_tests, time_limit, contest_id, index,
rating, as in open-r1/codeforces. With `standings`, the answers of Codeforces' API for each contest, there is also a
rating and a percentile [V2 D.1: 10 Div. 2 contests].
"""

import json
from pathlib import Path

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.kinds.evaluation.ratings import Contest, Human
from stages.kinds.evaluation.suites.livecodebench import is_within
from stages.prompting.prompt import Prompt

INTRODUCTION = (
    "You will be given a competitive programming problem. Write a Python 3 program that reads from standard input, "
    "writes to standard output, and stays "
    "within {seconds:g} seconds and {memory:g} megabytes on every test. "
    "Put the final program between ```python and ```."
)
MAX_TIME_S = 60.0  # the most that the sandbox allows
PARTS = (("", "description"), ("Input", "input_format"), ("Output", "output_format"), ("Note", "note"))


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""
    contests = read_contests(name, Path(suite.standings)) if suite.standings else {}

    def make(id: str, row: dict) -> Problem | None:
        place = (text_of(row, "contest_id"), text_of(row, "index"))
        if (contests and place[0] not in contests) or not is_within(str(row.get("contest_date") or ""), suite):
            return None
        if row.get("executable") is False or row.get("generated_checker"):
            return None  # interactive, or with many right answers: a comparison of outputs would be wrong
        tests = [{"input": test["input"], "output": test["output"]} for test in row["official_tests"] or []]
        if not tests:
            raise ValueError("no official_tests")
        checks = json.dumps(
            {
                "type": "stdin",
                "language": "python",
                "tests": tests,
                "time_limit_s": min(float(row.get("time_limit") or 2), MAX_TIME_S),
            },
            ensure_ascii=False,
        )
        return Problem(
            id,
            repeated(Prompt(id, statement(row), "code", "reasoning", "en", "", "code", checks), suite),
            level=difficulty(row.get("rating")),
            place=place,
        )

    problems = problems_from(name, suite, make)
    for contest, index in (problem.place for problem in problems if contests):
        if index not in contests[contest].points:
            raise ValueError(
                f"eval.{name}.standings={suite.standings}: the contest {contest} has no problem {index}; "
                f"it has {', '.join(contests[contest].points)}"
            )
    return [
        ProblemSet(
            name,
            problems,
            suite,
            "program",
            contests={contest: contests[contest] for contest, _ in (p.place for p in problems) if contests},
        )
    ]


def statement(row: dict) -> str:
    """The problem as Codeforces shows it: its parts with their headings, and the examples."""
    lines = [
        INTRODUCTION.format(seconds=float(row.get("time_limit") or 2), memory=float(row.get("memory_limit") or 256)),
        f"# {text_of(row, 'title')}",
    ]
    lines += [
        f"## {heading}\n{row[column]}" if heading else str(row[column]) for heading, column in PARTS if row.get(column)
    ]
    lines += [
        f"## Example {number}\nInput:\n{example['input']}\nOutput:\n{example['output']}"
        for number, example in enumerate(row.get("examples") or [], 1)
    ]
    return "\n\n".join(lines)


def difficulty(rating: int | None) -> str:
    """A problem's rating in steps of 400, for example "1200-1599"; "" where it has none."""
    return "" if not rating else f"{int(rating) // 400 * 400}-{int(rating) // 400 * 400 + 399}"


def read_contests(name: str, directory: Path) -> dict[str, Contest]:
    """Reads the contests of a directory.

    For each contest it holds CONTEST.standings.json and CONTEST.ratings.json, the answers of
    codeforces.com/api/contest.standings and /contest.ratingChanges. The field are the humans who were rated in the
    contest, with their ratings before it.

    Raises:
        ValueError: The directory or a file is missing, or not as the API answers.
    """
    if not directory.is_dir():
        raise ValueError(
            f"eval.{name}.standings={directory}: no such directory; it holds CONTEST.standings.json and "
            "CONTEST.ratings.json of each contest"
        )
    contests = {}
    for path in sorted(directory.glob("*.standings.json")):
        contest = path.name.removesuffix(".standings.json")
        try:
            contests[contest] = _contest(contest, _result(path), _result(directory / f"{contest}.ratings.json"))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(
                f"eval.{name}.standings={directory}: {contest} is not as Codeforces' API answers: {error!r}"
            ) from error
    if not contests:
        raise ValueError(f"eval.{name}.standings={directory}: no CONTEST.standings.json in it")
    return contests


def _result(path: Path):
    answer = json.loads(path.read_text(encoding="utf-8"))
    if answer["status"] != "OK":
        raise ValueError(f"{path.name}: {answer.get('comment', answer['status'])}")
    return answer["result"]


def _contest(contest: str, standings: dict, changes: list[dict]) -> Contest:
    indices = [problem["index"] for problem in standings["problems"]]
    points = {problem["index"]: float(problem.get("points") or 1) for problem in standings["problems"]}
    ratings = {change["handle"]: float(change["oldRating"]) for change in changes}
    humans = []
    for row in standings["rows"]:
        members = [member["handle"] for member in row["party"]["members"]]
        if len(members) == 1 and members[0] in ratings:
            solved = {
                index for index, result in zip(indices, row["problemResults"], strict=True) if result["points"] > 0
            }
            humans.append(Human(ratings[members[0]], frozenset(solved)))
    if not humans:
        raise ValueError("no participant of the standings has a rating change")
    return Contest(contest, points, tuple(humans))
