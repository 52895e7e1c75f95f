"""The driver asks whether programs can be run before it launches a stage that grades them, and says how to get a
sandbox.
"""

from types import SimpleNamespace

import pytest

from pipeline.commands import doctor
from pipeline.planning import preflight
from stages.config import DataConfig, GrpoConfig, MixtureSource, SandboxConfig, SftConfig
from tests.support.sandboxes import needs_bubblewrap


def step(is_done: bool = False, sandbox: SandboxConfig = SandboxConfig(), **data) -> SimpleNamespace:
    return SimpleNamespace(is_made=is_done, config=GrpoConfig(data=DataConfig(**data), sandbox=sandbox))


PROGRAMS = {"name": "file", "path": "programs.jsonl", "verifier": "code"}


def test_only_stages_that_grade_programs_are_asked_about(monkeypatch):
    asked = []
    monkeypatch.setattr(preflight, "sandbox_problem", lambda *node: asked.append(node) or "no sandbox")
    others = [
        step(),
        step(is_done=True, **PROGRAMS),
        step(name="file", path="x.jsonl", verifier="math"),
        SimpleNamespace(is_made=False, config=SftConfig()),
        SimpleNamespace(is_made=False, config=None),
    ]
    assert preflight.check_sandbox(None, others) == [] and asked == []
    mixture = step(
        name="file",
        sources={"math": MixtureSource(path="a.jsonl"), "code": MixtureSource(path="b.jsonl", verifier="code")},
    )
    remote = step(sandbox=SandboxConfig(backend="piston", url="http://host:2000"), **PROGRAMS)
    errors = preflight.check_sandbox(None, [step(**PROGRAMS), mixture, remote])
    assert asked == [("bubblewrap", "", ""), ("piston", "http://host:2000", "")]
    assert errors[0][0] == "the verifier code cannot run programs here: no sandbox"


@needs_bubblewrap
def test_a_machine_with_bubblewrap():
    assert preflight.sandbox_problem() is None
    assert doctor.sandbox().level == "ok"


def test_a_machine_without_bubblewrap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install bubblewrap" in preflight.sandbox_problem()
    finding = doctor.sandbox()
    assert (
        finding.level == "warning"
        and "data.verifier=code cannot be used" in finding.what
        and "docs/sandbox.md" in finding.fix
    )


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1"])
def test_a_piston_server_that_is_not_there(url):
    assert "sandbox.url" in preflight.sandbox_problem("piston", url)
