"""The documentation site builds without a warning and without a network, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. MkDocs is strict: a broken link or anchor, or a page that no menu shows, fails the build."""
    target = tmp_path_factory.mktemp("site")
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "http_proxy": nowhere, "https_proxy": nowhere, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return target


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"', text)
        loaded += re.findall(r'<link\b[^>]*\bhref="([^"]+)"', text)
        assert not [url for url in loaded if url.startswith(("http:", "https:", "//"))], page.name


def test_references_are_generated_into_their_pages(site):
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert "r1 data fetch" in commands and "--unfinished" in commands
    configuration = (site / "configuration.html").read_text(encoding="utf-8")
    assert "rollout.logprob_tolerance" in configuration and "prepare.near_duplicates" in configuration


def test_files_of_the_root_are_pages(site):
    assert "The stage directory" in (site / "architecture.html").read_text(encoding="utf-8")
    assert "How to add" in (site / "contributing.html").read_text(encoding="utf-8")
    assert "Keep a Changelog" in (site / "changelog.html").read_text(encoding="utf-8")
    assert "&lt;!-- " not in "".join(page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
