"""The report's first lines, its tables, charts and explanations, and where its numbers come from."""

import base64
import hashlib
import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.report import write_report
from pipeline.report.context import build_context
from pipeline.report.drawing import draw
from pipeline.report.figures import Panel, step_figures
from pipeline.report.glossary import EVALUATION, TRAINING, term_of
from pipeline.report.headline import headline
from pipeline.report.read import StageRecord, read_run
from pipeline.report.results import MAX_COLUMNS, columns, paired
from pipeline.report.set_tables import set_tables
from stages.contract.description import StageDescription
from stages.contract.manifest import Manifest
from tests.support.paths import REPOSITORY
from tests.support.synthetic_run import HOSTILE, a_row, stage_dir, write, write_lines, write_run

CHAIN = {"r1_zero": "base", "preference_rl": "r1_zero", "distill": "student_base"}


def difference(model: str, against: str, value: float, margin: float = 0.03, p: float = 0.0001) -> dict:
    """A row of comparisons.json."""
    interval = {"difference": value, "low": value - margin, "high": value + margin, "p": p, "n": 100}
    return {"set": "tiny_math", "metric": "pass@1", "model": model, "against": against} | interval


def scores(**values: float) -> list[dict]:
    return [a_row(model, "tiny_math", "pass@1", value) for model, value in values.items()]


def test_the_headline_compares_each_model_with_where_its_chain_began():
    found = columns(scores(base=0.28, r1_zero=0.9, preference_rl=0.941, student_base=0.1, distill=0.6))
    pairs = [difference("preference_rl", "base", 0.661), difference("student_base", "distill", -0.5)]
    claims = [{"verdict": "agrees"}, {"verdict": "unclear"}]
    assert headline(found, pairs, CHAIN.get, claims) == [
        "R1 94.1, base 28.0: +66.1 [63.1, 69.1]",
        "Student 60.0, student base 10.0: +50.0 [47.0, 53.0]",  # the pair was turned round
        "1 of 2 changes from stage to stage go the paper's way beyond the noise",
    ]


@pytest.mark.parametrize(
    "values, parent, line",
    [
        ({"preference_rl": 0.9}, CHAIN.get, "R1 90.0"),  # a single model: nothing to compare it with
        ({"base": 0.5, "cold_start": 0.4}, {"cold_start": "base"}.get, "Dev1 40.0, base 50.0: −10.0"),
        ({"models_a": 0.5, "models_b": 0.75}, {}.get, "models_b 75.0, models_a 50.0: +25.0"),  # `evaluate model=[a,b]`
        ({"base": 0.2, "distill": 0.6}, CHAIN.get, "Student 60.0"),  # never beside another model's base
        ({"student_base": 0.2, "distill": 0.6}, CHAIN.get, "Student 60.0, student base 20.0: +40.0"),
    ],
)
def test_the_headline_of_runs_that_are_not_whole(values, parent, line):
    assert headline(columns(scores(**values)), [], parent, []) == [line]


def test_several_sets_are_summed_up_and_judged_ones_left_out():
    names = ("aime24", "math500", "tiny_general")
    rows = [a_row(model, name, "pass@1", 0.2 * i) for i, model in enumerate(("base", "r1_zero"), 1) for name in names]
    rows[1]["value"] = 0.4
    assert headline(columns(rows), [], CHAIN.get, []) == [
        "R1-Zero 40.0, base 20.0: +20.0",
        "mean of 2 sets: R1-Zero 40.0, Base 30.0: +10.0",
    ]


def test_pairs_without_a_column_are_shown_too():
    row = difference("r1_zero", "base", 0.3) | {"set": "tiny_safety"}
    evaluation = StageRecord("evaluate", None, comparisons=[row])
    (table,) = set_tables(columns([a_row("base", "tiny_safety", "harmful_safe", 0.5)]), evaluation, CHAIN.get)
    assert [(test["metric"], test["change"]) for test in table["tests"]] == [("pass@1", "+30.0")]


def test_a_chain_that_closes_in_itself_has_an_end():
    assert headline(columns(scores(r1_zero=0.5)), [], {"r1_zero": "cold_start", "cold_start": "r1_zero"}.get, [])


def test_without_an_evaluation_the_page_says_where_the_run_is(tmp_path):
    run_dir = write_run(tmp_path / "run", stages=("base", "r1_zero"), unfinished="r1_zero")
    context = build_context(read_run(run_dir))
    assert context["headline"] == [] and context["progress"].startswith("R1-Zero, step 36 of 36, reward ")


def test_the_best_is_bold_where_there_is_a_better_end():
    rows = scores(base=0.2, r1_zero=0.9, distill=0.9)
    rows += [a_row(model, "tiny_math", "truncated", value) for model, value in (("base", 0.1), ("r1_zero", 0.3))]
    rows += [a_row(model, "tiny_math", "tokens", value) for model, value in (("base", 20), ("r1_zero", 40))]
    rows += [a_row(model, "tiny_math", "format", 1.0) for model in ("base", "r1_zero")]
    best = {column.metric: column.best for column in columns(rows)}
    assert best == {"pass@1": {"r1_zero", "distill"}, "truncated": {"base"}, "tokens": set(), "format": set()}


def test_a_set_has_its_own_tables_with_sampling_and_tests():
    metrics = ["pass@1", "pass@4", "cons@4", *list(EVALUATION)[3:12]]
    rows = [a_row(model, "tiny_math", metric, 0.5) for metric in metrics for model in ("base", "r1_zero")]
    rows += [a_row("base", "aime24", "pass@1", 0.1)]
    config = {
        "samples_per_prompt": 4,
        "rollout": {"temperature": 1.0, "top_p": 1.0},
        "settings": {"aime24": {"temperature": 0.6, "top_p": 0.95, "samples_per_prompt": 64}},
    }
    evaluation = StageRecord("evaluate", None, description=StageDescription(stage="", kind="evaluate", config=config))
    evaluation.comparisons = [difference("r1_zero", "base", 0.01, p=0.4), difference("student_base", "base", -0.2)]
    mine, aime = set_tables(columns(rows), evaluation, CHAIN.get)
    assert [len(block["columns"]) for block in mine["blocks"]] == [6, 6] and MAX_COLUMNS < 12
    assert dict(mine["sampling"]) == {"n": "100", "samples": "4", "temperature": "1", "top-p": "1"}
    assert dict(aime["sampling"]) == {"n": "100", "samples": "64", "temperature": "0.6", "top-p": "0.95"}
    (test,) = mine["tests"]
    assert (test["change"], test["interval"], test["p"], test["is_clear"]) == ("+1.0", "−2.0 to 4.0", "0.4000", False)
    assert [(one["model"].label, one["p"]) for one in mine["more_tests"]] == [("Student base", "< 0.001")]
    assert (aime["tests"], aime["more_tests"]) == ([], [])


def test_a_pair_is_turned_as_it_is_asked_for():
    (column,) = columns(scores(base=0.2, r1_zero=0.9))
    turned = paired(column, "base", "r1_zero", [difference("r1_zero", "base", 0.7)])
    assert turned is not None
    assert [round(turned[key], 2) for key in ("difference", "low", "high")] == [-0.7, -0.73, -0.67]
    assert paired(column, "base", "distill", [difference("r1_zero", "base", 0.7)]) is None


def test_every_metric_of_the_architecture_is_explained():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.split("Names of metrics")[1].split("**Fingerprint**")[0]
    names = []
    for line in table.splitlines():
        group, *rest = re.findall(r"`([^`]+)`", line) or [""]
        names += [group + name for name in rest] if group.endswith("/") else [group] * bool(group)
    assert len(names) > 40 and not [name for name in names if name not in TRAINING]


def test_every_metric_of_an_evaluation_is_explained_on_the_page(tmp_path):
    html = write_report(write_run(tmp_path / "run"), tmp_path / "report.html").read_text(encoding="utf-8")
    ids = set(re.findall(r'id="(term-[^"]+)"', html))
    asked = re.findall(r'<button type="button" class="term" aria-describedby="([^"]+)"', html)
    assert {"term-pass-1", "term-cons-k", "term-harmful-refused", "term-temperature"} <= set(asked) <= ids
    assert term_of("of_a_later_version") is None


def test_four_charts_are_open_and_all_others_folded(tmp_path):
    html = write_report(write_run(tmp_path / "run"), tmp_path / "report.html").read_text(encoding="utf-8")
    depth, shown = 0, []
    for found in re.finditer(r'<(/?)details|<div class="plot" id="([^"]+)"', html):
        if found[2]:
            shown += [found[2]] if depth == 0 else []
        else:
            depth += -1 if found[1] else 1
    assert shown == [
        "r1-reward-accuracy",
        "r1-completion-mean-tokens" if "r1-completion-mean-tokens" in shown else "r1-completion-reasoning-tokens",
        "r1-completion-reflection-rate",
        "r1-completion-language",
    ]


def test_a_run_without_reinforcement_learning_opens_its_losses(tmp_path):
    context = build_context(read_run(write_run(tmp_path / "run", stages=("base", "cold_start"))))
    assert [figure["id"] for figure in context["key_figures"]][:2] == ["sft-train-loss", "sft-train-lr"]
    ids = [figure["id"] for figure in context["figures"]]
    assert len(ids) == len(set(ids)) and len(context["key_figures"]) == 4


def test_a_report_is_small(tmp_path):
    path = write_report(write_run(tmp_path / "run"), tmp_path / "report.html")
    assert path.stat().st_size < 1_000_000


def test_a_long_run_does_not_make_a_long_chart():
    stage = StageRecord("r1_zero", None, metrics=[{"step": i, "m": i / 7} for i in range(1, 10_001)])
    (figure,) = step_figures([stage], (Panel("m", "M", "u"),), "x")
    assert len(figure["data"][0]["x"]) <= 300
    drawing = draw(figure)
    assert all(0 <= float(number) <= drawing.width for number in re.findall(r"[ML](\S+?),", drawing.lines[-1].path))


def test_a_curve_is_drawn_where_its_values_are():
    stage = StageRecord("base", None, metrics=[{"step": 0, "m": 0.0}, {"step": 10, "m": 1.0}])
    (figure,) = step_figures([stage], (Panel("m", "Loss", "u", is_share=True),), "x")
    drawing = draw(figure)
    (line,) = drawing.lines
    start, end = (tuple(map(float, point.split(","))) for point in line.path[1:].split("L"))
    assert start[1] == drawing.bottom and end[1] > drawing.top and end[0] == drawing.width - 10
    assert drawing.about == "Loss: Base from 0 to 1"
    assert {"0%", "100%", "step"} <= {text.text for text in drawing.texts}


def test_where_the_numbers_come_from(tmp_path):
    run_dir = write_run(tmp_path / "run", stages=("base", "r1_zero"))
    for stage, vllm in (("base", "1.0"), ("r1_zero", "2.0")):
        directory = stage_dir(run_dir, stage)
        description = json.loads((directory / StageDescription.FILE_NAME).read_text())
        write(directory / StageDescription.FILE_NAME, description | {"command": f"r1 run {HOSTILE}", "commit": "abc"})
        manifest = json.loads((directory / Manifest.FILE_NAME).read_text())
        made_with = {"versions": {"torch": "2.13", "vllm": vllm}, "hardware": {"processor": "EPYC, 2 cores"}}
        write(directory / Manifest.FILE_NAME, manifest | made_with)
    assert build_context(read_run(run_dir))["origin"] == [
        ("commands", f"r1 run {HOSTILE}"),
        ("commit", "abc"),
        ("versions", "torch 2.13, vllm 1.0 and 2.0"),
        ("hardware", "EPYC, 2 cores"),
    ]
    assert HOSTILE not in write_report(run_dir, tmp_path / "report.html").read_text()


def test_the_leaderboards_of_sweeps(tmp_path):
    run_dir = write_run(tmp_path / "run", stages=("base",))
    for name in ("2026-01-01", "2026-01-02"):
        (run_dir / "sweeps" / name).mkdir(parents=True)
        (run_dir / "sweeps" / name / "leaderboard.csv").write_text(
            f"rank,job,overrides,objective,value,state\n1,0,{HOSTILE},r1_zero pass@1,0.9,done\nhalf a row\n"
        )
    (run_dir / "sweeps" / "2026-01-03").mkdir()
    (run_dir / "sweeps" / "2026-01-03" / "leaderboard.csv").write_text("")
    newest, _ = build_context(read_run(run_dir))["leaderboards"]
    assert (newest["name"], newest["objective"]) == ("2026-01-02", "r1_zero pass@1")
    assert newest["head"] == ["rank", "job", "overrides", "value", "state"]
    assert newest["rows"] == [["1", "0", HOSTILE, "0.9", "done"]]
    html = write_report(run_dir, tmp_path / "report.html").read_text()
    assert "Sweep of 2026-01-02" in html and HOSTILE not in html


def test_no_text_of_a_model_reaches_a_script(tmp_path):
    """Names of models and sets come into the data of the charts, completions into the page: as text, everywhere."""
    breakers = ["</script>", "<!--", "]]>", "\u2028", '"-alert(1)-"', "{{7*7}}", "javascript:alert(1)", "' onload='x"]
    run_dir = write_run(tmp_path / "run", stages=("evaluate",))
    directory = stage_dir(run_dir, "evaluate")
    write(directory / "results.json", [a_row(text, f"set {text}", f"m{text}", 0.5) for text in breakers])
    sample = {"set": "s", "answer": "1", "correct": False}
    write_lines(
        directory / "samples.jsonl",
        [sample | {"model": text, "prompt": f"p {text}", "completion": text} for text in breakers],
    )
    html = write_report(run_dir, tmp_path / "report.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 2 and html.count("<script") == 2
    figures, code = scripts
    assert "<" not in figures and isinstance(json.loads(figures), list)
    assert code == (REPOSITORY / "pipeline/report/assets/report.js").read_text(encoding="utf-8")
    tags = tags_of(html)
    assert not [name for _, names in tags for name in names if name.startswith("on")]
    assert not [tag for tag, _ in tags if tag in ("img", "iframe", "link", "object", "base")]
    assert all(html.count(escape(text)) for text in breakers)


def tags_of(html: str) -> list[tuple[str, list[str]]]:
    """(tag, names of its attributes) of every element, as a browser reads them."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, [name for name, _ in attrs]))

    Reader().feed(html)
    return found


def test_the_policy_of_the_page_lets_only_its_own_script_run(tmp_path):
    html = write_report(write_run(tmp_path / "run", stages=("base",)), tmp_path / "r.html").read_text(encoding="utf-8")
    code = html.rsplit("<script>", 1)[1].split("</script>")[0]
    expected = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{expected}'" in html and "connect-src" not in html


@pytest.mark.parametrize("name", ["report.js", "live.js"])
def test_scripts_write_text_and_never_markup(name):
    code = Path(REPOSITORY / "pipeline/report/assets" / name).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML\s*=[^=]|insertAdjacentHTML|outerHTML\s*=[^=]|document\.write|\beval\(", code)
