"""The report: complete, partial and damaged runs; nothing from files can become markup; nothing is fetched."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.report import write_report
from pipeline.report.figures import Panel, curve, running_mean, share_axis, thin
from pipeline.report.lineage import depths
from pipeline.report.names import stage_name
from pipeline.report.read import StageRecord, first_and_last, read_jsonl, read_run, steps_in_order
from pipeline.report.results import changes, columns, models
from pipeline.report.samples import completion_html
from pipeline.report.tables import flat
from stages.contract.outcome import Outcome
from stages.contract.results import read_results, write_results
from tests.support.synthetic_run import HOSTILE, KINDS, fingerprint, stage_dir, write_lines, write_run

VOID = {"meta", "br", "img", "input", "link", "hr", "path", "rect", "circle", "polygon"}


class Page(HTMLParser):
    """Collects tags, checks their nesting, and keeps the visible text and the figures."""

    def __init__(self, html: str):
        super().__init__()
        self.stack, self.tags, self.texts, self.figures, self.ids = [], [], [], [], []
        self.feed(html)
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.stack.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag in VOID or self.stack.pop()[0] == tag

    def handle_data(self, data):
        if not self.stack or self.stack[-1][0] not in ("script", "style"):
            self.texts.append(data)
        elif self.stack[-1][1].get("id") == "figures-data":
            self.figures = json.loads(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report_of(run_dir: Path, **arguments) -> Page:
    return Page(write_report(run_dir, run_dir / "report.html", **arguments).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full_page(tmp_path_factory) -> Page:
    return report_of(write_run(tmp_path_factory.mktemp("full") / "demo"))


def test_full_run_shows_every_stage_and_the_papers_figures(full_page):
    for stage in KINDS:
        assert stage_name(stage).label in full_page.text
    titles = {figure["title"] for figure in full_page.figures}
    assert {
        "Accuracy on training prompts",
        "Completion length",
        "Reflection",
        "Language consistency",
        "KL to the reference",
        "Training loss",
        "Accuracy of the reward models",
        "Time of each stage",
    } <= titles
    assert "not complete" not in full_page.text
    assert "93.0" in full_page.text and "89.9–96.1" in full_page.text  # R1-Zero's pass@1 and its interval


def test_figures_have_their_place_on_the_page_and_colours_by_stage(full_page):
    assert {figure["id"] for figure in full_page.figures} <= set(full_page.ids)
    assert len(full_page.ids) == len(set(full_page.ids))
    accuracy = next(figure for figure in full_page.figures if figure["id"] == "r1-reward-accuracy")
    assert {trace["line"]["color"] for trace in accuracy["data"]} == {
        stage_name(name).color for name in ("r1_zero", "reasoning_rl", "preference_rl")
    }


def test_nothing_is_fetched(full_page):
    for tag, attributes in full_page.tags:
        assert tag not in ("link", "img", "iframe", "object") and not (tag == "script" and "src" in attributes)
        assert not attributes.get("href", "#").startswith(("http", "//"))
    policy = next(
        attributes["content"]
        for tag, attributes in full_page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_text_from_files_stays_text(full_page):
    assert HOSTILE in full_page.text  # shown, in the configuration and in a completion, as what it is
    assert not [tag for tag, attributes in full_page.tags if "onerror" in attributes]
    assert sum(tag == "script" for tag, _ in full_page.tags) == 2
    assert (
        str(completion_html("<think>a < b</think>"))
        == '<span class="tag">&lt;think&gt;</span>a &lt; b<span class="tag">&lt;/think&gt;</span>'
    )


def test_partial_run_says_what_is_missing(tmp_path):
    page = report_of(
        write_run(
            tmp_path / "part", stages=("base", "r1_zero", "cold_start_data", "cold_start"), unfinished="cold_start"
        )
    )
    assert "cold_start is not complete at step 24 of 24" in page.text
    assert "not made in this run (yet): student_base, reasoning_rl, " in page.text and "No evaluation yet" in page.text
    assert any(figure["id"] == "r1-reward-accuracy" for figure in page.figures)


def test_alarms_are_shown_with_their_advice(tmp_path):
    run_dir = write_run(tmp_path / "run", ("base", "r1_zero"))
    assert "Alarms" not in Page(write_report(run_dir, tmp_path / "quiet.html").read_text()).text
    write_lines(
        stage_dir(run_dir, "r1_zero") / "alarms.jsonl",
        [
            {"step": 12, "name": "kl_blow_up", "message": f"policy/kl is 1.3 {HOSTILE}", "advice": "raise beta"},
            {"half": "a row"},
        ],
    )
    text = Page(write_report(run_dir, tmp_path / "report.html").read_text()).text
    assert "Alarms were raised" in text and f"step 12: policy/kl is 1.3 {HOSTILE}. raise beta" in text


def test_samples_that_nobody_could_grade_are_said_beside_the_results(tmp_path, full_page):
    run_dir = write_run(tmp_path / "run")
    path = stage_dir(run_dir, "evaluate") / "results.json"
    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            + [
                {
                    "model": "r1_zero",
                    "set": "tiny_math",
                    "metric": "grader_errors",
                    "value": 0.25,
                    "low": 0.2,
                    "high": 0.3,
                    "n": 256,
                    "note": f"64 of 256 samples {HOSTILE}",
                },
                {
                    "model": "base",
                    "set": "tiny_math",
                    "metric": "grader_errors",
                    "value": 0.0,
                    "low": 0.0,
                    "high": 0.0,
                    "n": 256,
                },
            ]
        )
    )
    text = report_of(run_dir).text
    assert (
        "grader errors %" in text
        and f"r1_zero on tiny_math: 64 of 256 samples {HOSTILE}" in text
        and "grader errors" not in full_page.text
    )


def test_empty_and_absent_run_directories(tmp_path):
    assert "not made in this run (yet): base, student_base, r1_zero" in report_of(tmp_path).text
    page = Page(write_report(tmp_path / "nowhere", tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "config.yaml cannot be read" in page.text


def test_a_stage_whose_rank_was_killed_has_failed(tmp_path):
    """No rank can say that of itself: the driver's outcome of the attempt does."""
    run_dir = write_run(tmp_path / "killed", unfinished="r1_zero")
    logs = stage_dir(run_dir, "r1_zero") / "logs" / "latest"
    logs.mkdir(parents=True)
    Outcome(state="failed", message="r1_zero failed on rank 1: killed (signal 9)", fix="resume").write(logs)
    assert "r1_zero failed on rank 1: killed (signal 9)" in report_of(run_dir).text
    Outcome(state="interrupted", message="r1_zero was interrupted", fix="resume").write(logs)
    assert "r1_zero is not complete" in report_of(run_dir).text


def test_damaged_files_are_reported_not_raised(tmp_path):
    run_dir = write_run(tmp_path / "damaged")
    zero, evaluate, sft = (stage_dir(run_dir, name) for name in ("r1_zero", "evaluate", "cold_start"))
    (zero / "metrics.jsonl").write_text(
        '{"step": 1, "reward/accuracy": 0.5}\n{"step": 2, "reward/acc\n[1]\n{"reward/accuracy": 1}\n{"step": 3, '
        '"reward/accuracy": "x"}\n'
    )
    (zero / "manifest.json").write_text("[]")
    (zero / "error.json").write_text('{"kind": "internal", "message": "rank 1 died <b>", "fix": "resume"}')
    (evaluate / "results.json").write_text(
        '[{"model": "base"}, 3, {"model": "base", "set": "s", "metric": "m", "value": NaN}]'
    )
    write_lines(evaluate / "samples.jsonl", [{"model": "base"}, {"set": 3, "prompt": None, "completion": {"a": 1}}])
    (sft / "manifest.json").write_text('{"timing": 3, "metrics": [], "versions": 1, "inputs": null, "created": 5}')
    (sft / "inputs.json").write_text('{"policy": null, "data": "x"}')
    (run_dir / "config.yaml").write_text("a: [1")
    page = report_of(run_dir)
    assert "r1_zero failed: rank 1 died <b>" in page.text
    assert "1 unreadable line(s) in metrics.jsonl" in page.text and "config.yaml is not YAML" in page.text


def test_given_stage_dirs_win_over_latest(tmp_path):
    run_dir = write_run(tmp_path / "two", stages=("base", "r1_zero"))
    other = run_dir / "r1_zero" / "ffffffff"
    stage_dir(run_dir, "r1_zero").rename(other)
    config = json.loads((other / "config.json").read_text()) | {"fingerprint": "f" * 64}
    (other / "config.json").write_text(json.dumps(config))
    (other / "manifest.json").unlink()
    assert read_run(run_dir, {"r1_zero": other}).stages["r1_zero"].fingerprint == "f" * 64
    found = read_run(run_dir).stages["base"]
    assert found.fingerprint == fingerprint("base") and found.status == "done"


def test_a_chain_of_mixed_versions_is_named(tmp_path):
    run_dir = write_run(tmp_path / "mixed", stages=("base", "r1_zero"))
    inputs = json.loads((stage_dir(run_dir, "r1_zero") / "inputs.json").read_text())
    inputs["policy"]["fingerprint"] = "a" * 64
    (stage_dir(run_dir, "r1_zero") / "inputs.json").write_text(json.dumps(inputs))
    assert (
        f"r1_zero was made from base@aaaaaaaa, not from the one shown, base@{fingerprint('base')[:8]}"
        in report_of(run_dir).text
    )


def test_stages_left_out_by_the_configuration_are_not_missed(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "model: {path: some/model}\nstudent: {path: null}\ndata: {name: file, path: mine.jsonl}\n"
    )
    assert not {"base", "student_base", "distill", "reward_models"} & set(read_run(tmp_path).stages)


def test_other_students_and_metrics_have_a_place(tmp_path):
    run_dir = write_run(tmp_path / "more", stages=("evaluate",))
    rows = [
        {"model": "distill_small", "set": "my_set", "metric": "exact", "value": 0.5, "low": None, "high": None, "n": 10}
    ]
    (stage_dir(run_dir, "evaluate") / "results.json").write_text(json.dumps(rows))
    text = report_of(run_dir).text
    assert "Student small" in text and "my_set" in text and "exact %" in text and "50.0" in text


def result(model, value, low, high, metric="pass@1", n=100):
    return {"model": model, "set": "tiny_math", "metric": metric, "value": value, "low": low, "high": high, "n": n}


def test_changes_are_clear_where_the_intervals_do_not_overlap():
    found = columns(
        [
            result("base", 0.25, 0.2, 0.3),
            result("r1_zero", 0.9, 0.85, 0.95),
            result("base", 20, 19, 21, "tokens"),
            result("r1_zero", 20.5, 19.5, 21.5, "tokens"),
        ]
    )
    first, second = changes(found, "r1_zero", "base")
    assert (first["before"], first["after"], first["change"], first["is_clear"]) == ("25.0", "90.0", "+65.0", True)
    assert (second["label"], second["change"], second["is_clear"]) == ("tokens", "+0.50", False)
    assert models(found) == ["base", "r1_zero"]


def test_a_mean_of_nothing_is_no_result(tmp_path):
    write_results(tmp_path, [result("base", 0.0, 0.0, 0.0, n=0), result("r1_zero", 0.5, 0.4, 0.6)])
    assert [row["model"] for row in read_results(tmp_path)] == ["r1_zero"]


def test_running_mean_and_thinning():
    assert running_mean([1.0, 2.0, 3.0]) == [1.5, 2.0, 2.5]
    steps, values = thin(tuple(range(1600)), tuple(float(i) for i in range(1600)))
    assert len(steps) == 800 and steps[:2] == [0, 2] and values[:2] == [0.5, 2.5]


def test_curve_leaves_out_what_is_no_number():
    stage = StageRecord("r1_zero", None, metrics=[{"step": 1, "m": float("nan")}, {"step": 2, "m": 0.5}, {"step": 3}])
    assert [trace["x"] for trace in curve(stage, Panel("m", "M", "u"))] == [[2]]
    assert curve(stage, Panel("other", "O", "u")) == []


def test_axes_of_shares():
    assert share_axis([0.1, 0.9])["range"] == [0, 1.04] and "range" not in share_axis([0.01])


def test_a_step_done_twice_counts_as_it_was_last():
    rows = [{"step": 1, "a": 1}, {"step": 2, "a": 2}, {"step": 2, "a": 3}, {"step": float("nan")}, {}]
    assert steps_in_order(iter(rows)) == [{"step": 1, "a": 1}, {"step": 2, "a": 3}]
    assert [row["i"] for row in first_and_last(iter([{"i": i} for i in range(9)]), 2)] == [0, 1, 7, 8]


def test_half_written_last_line_is_left_out(tmp_path):
    path = tmp_path / "stage" / "fp" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"step": 1}\n{"ste')
    problems = []
    assert list(read_jsonl(path, problems)) == [{"step": 1}] and problems == [
        "stage: 1 unreadable line(s) in metrics.jsonl left out"
    ]


def test_depths_are_longest_ways_and_end_on_a_cycle():
    assert depths(["a", "b", "c"], [("a", "b", "r"), ("b", "c", "r"), ("a", "c", "r")]) == {"a": 0, "b": 1, "c": 2}
    assert max(depths(["a", "b"], [("a", "b", "r"), ("b", "a", "r")]).values()) <= 2


def test_words_for_the_configuration():
    assert flat({"optim": {"lr": 0.1}, "mix": {}, "phases": [[0, 1]]}) == "optim.lr = 0.1\nmix = {}\nphases = [[0, 1]]"


def test_labels_are_unique():
    labels = [stage_name(stage).label for stage in KINDS]
    assert len(labels) == len(set(labels)) and all(
        re.fullmatch(r"#[0-9a-f]{6}", stage_name(stage).color) for stage in KINDS
    )


def test_emergence_ledger_and_watch(tmp_path):
    """Words for 1,000 tokens in the first and last tenth, difficulty, first appearances (escaped), the learned reward
    beside held-out accuracy, the ledger.
    """
    from pipeline.report import emergence
    from pipeline.report.context import build_context

    write_run(tmp_path, stages=("base", "r1_zero"))
    directory = stage_dir(tmp_path, "r1_zero")
    rows = [
        {
            "step": step,
            "train/tokens": 500,
            "words/wait": 2.0 if step < 10 else 12.0,
            "words/but": 2.0,
            "level/2/accuracy": 0.5,
            "level/2/tokens": 40.0,
            "level/10/accuracy": 0.1,
            "level/10/tokens": 90.0,
            "reward/helpful": step / 20,
            "tokens/sampled": 500,
            "tokens/trained": 700,
            **(
                {"watch/accuracy": 0.9, "watch/tokens": 40.0, "watch/repetition": 0.1, "watch/samples": 64}
                if step % 4 == 0
                else {}
            ),
        }
        for step in range(1, 21)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "first_words.jsonl").write_text(
        json.dumps({"step": 3, "word": "wait", "before": HOSTILE, "found": "Wait", "after": "!", "correct": True})
        + "\n{}\n"
    )
    (directory / "manifest.json").unlink()
    context = build_context(read_run(tmp_path))
    (words,) = context["words"]
    cells = {cell["word"]: cell for cell in words["cells"]}
    assert (cells["wait"]["first"], cells["wait"]["last"], cells["wait"]["per_step"]) == (2, 12, 6) and words[
        "growth"
    ] == 14 / 4
    titles = [figure["title"] for figure in context["figures"]]
    assert {
        "Words of reflection, R1-Zero",
        "Accuracy by difficulty, R1-Zero",
        "Thinking against difficulty, R1-Zero",
        "Held-out accuracy",
    } <= set(titles)
    bars = next(figure for figure in context["groups"]["levels"] if figure["title"].startswith("Thinking"))
    assert bars["data"][0]["x"] == ["2", "10"] and bars["data"][1]["y"] == [40, 90]  # 2 before 10
    assert [row["word"] for row in context["first_words"][0]["rows"]] == ["wait"]
    line = next(line for line in context["ledger"]["lines"] if line["shown"].label == "R1-Zero")
    assert (line["sampled"], line["trained"], line["is_done"]) == (10_000, 14_000, False)
    text = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert (
        HOSTILE not in text
        and "step 3: <b>wait</b>, in a right answer" in text
        and "five- to sevenfold" in text
        and "Ledger" in text
    )
    assert emergence.word_table([]) == [] and emergence.first_words([]) == []
