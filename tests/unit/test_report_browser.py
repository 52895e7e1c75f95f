"""The report in a real browser, where one is installed: nothing is wider than the window, and the scripts run."""

import json
import re
import shutil
import subprocess

import pytest

from pipeline.report import write_report
from tests.support.synthetic_run import a_row, stage_dir, write, write_run

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
LONG = "a_name_without_any_place_to_break_it_" * 6
# Opens all folds, and tells the page around it how wide everything is, and which elements reach beyond the window.
PROBE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  const width = document.documentElement.clientWidth;
  const wide = Array.from(document.querySelectorAll("main *, header *")).filter(one =>
    one.getBoundingClientRect().right > width + 1 && !one.closest(".scroll")).map(one => one.outerHTML.slice(0, 80));
  const tables = Array.from(document.querySelectorAll("table.results")).map(one =>
    one.scrollWidth - one.closest(".scroll").clientWidth);
  parent.postMessage(JSON.stringify({scroll: document.documentElement.scrollWidth, width, wide: wide.slice(0, 5),
    table: Math.max(...tables), filter: !document.getElementById("filter").hidden}), "*");
});
</script>
"""
# A window of Chromium cannot be as narrow as a phone; a frame in it can.
FRAME = """<!doctype html><title></title>
<iframe src="report.html" width="{width}" height="900" frameborder="0"></iframe>
<script>addEventListener("message", event => {{ document.title = event.data; }});</script>"""

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no browser to look at the page (apt-get install chromium)"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with the longest texts that it may have to show, and the probe in it."""
    folder = tmp_path_factory.mktemp("browser")
    run_dir = write_run(folder / LONG)
    directory = stage_dir(run_dir, "evaluate")
    rows = [a_row(model, "tiny_math", f"m{i}", 0.5) for i in range(20) for model in ("base", "preference_rl")]
    write(directory / "results.json", rows)
    (run_dir / "config.yaml").write_text(f"recipe: {LONG}\nmodel: {{path: /models/{LONG}}}\n")
    path = write_report(run_dir, folder / "report.html")
    html = re.sub(r"<meta http-equiv[^>]+>", "", path.read_text(encoding="utf-8"))  # it would refuse the probe
    path.write_text(html.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1400, 800, 400])
def test_nothing_is_wider_than_the_window(page, width, tmp_path):
    frame = page.with_name(f"frame{width}.html")
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--window-size=1500,1000", "--virtual-time-budget=4000", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr[-2000:]
    found = json.loads(title[1])
    assert width - 20 <= found["width"] <= width and found["scroll"] <= found["width"], found
    assert found["wide"] == [] and found["filter"], found
    assert width < 800 or found["table"] <= 0, found  # no results table has to be scrolled
