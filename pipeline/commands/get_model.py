"""Fetches a model that `known_models.py` lists, from the hub or from the Python package index.

Everything is downloaded at a pinned version and compared with its checksum. A directory appears under its name only
when it is whole, so a command that was interrupted can be typed again.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pipeline.configuration.known_models import HubSource, IndexSource, KnownModel, Wheel
from pipeline.errors import InvalidConfig, MissingInput, StageFailed
from pipeline.paths import REPOSITORY
from stages.data.hub import hub_errors

SOURCES = ("auto", "hub", "index")
WANTED = ["*.json", "*.jinja", "*.safetensors", "tokenizer.model", "README.md", "LICENSE*"]
CHUNK_BYTES = 1 << 20
ANSWER_S = 15.0  # how long the hub may take to answer that it is there


def get_model(model: KnownModel, directory: Path, source: str) -> str:
    """Puts a model into a directory that does not exist yet.

    Args:
        model: which one.
        directory: where it goes.
        source: `hub`, `index`, or `auto` for the hub where it can be reached and else the index.

    Returns:
        Where it came from, in words.

    Raises:
        InvalidConfig: there is no such source of this model, or the directory is in the way.
        MissingInput: the source cannot be reached, or a tool is not installed.
        StageFailed: a download is not what was pinned, or cannot be converted.
    """
    if directory.exists():
        raise InvalidConfig([f"{directory} exists already: remove it, or name another place with --to DIRECTORY"])
    known = {"hub": model.hub, "index": model.index}
    if source != "auto" and known[source] is None:
        other = "index" if source == "hub" else "hub"
        raise InvalidConfig([f"{model.name} is not on the {source}: use --source {other}"])
    directory.parent.mkdir(parents=True, exist_ok=True)
    if model.hub is not None and source != "index":
        try:
            return _from_hub(model.hub, directory)
        except MissingInput:
            if source == "hub" or model.index is None:
                raise
    assert model.index is not None
    return _from_index(model, model.index, directory)


def _from_hub(hub: HubSource, directory: Path) -> str:
    """Downloads the files of a model at one commit."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as aside:
        whole = Path(aside) / "model"
        try:
            # Without a network this fails at once; the download would first try again for half a minute.
            HfApi().model_info(hub.repository, revision=hub.revision, timeout=ANSWER_S)
            snapshot_download(hub.repository, revision=hub.revision, allow_patterns=WANTED, local_dir=whole)
        except OfflineModeIsEnabled:
            raise MissingInput("the hub may not be reached: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE") from None
        except hub_errors() as error:
            reason = str(error).splitlines()[0]
            raise MissingInput(
                f"{hub.repository} cannot be fetched from the hub: {reason}", "check the network and HF_ENDPOINT"
            ) from None
        shutil.rmtree(whole / ".cache", ignore_errors=True)
        whole.rename(directory)
    return f"the hub, {hub.repository} at {hub.revision[:12]}"


def _from_index(model: KnownModel, index: IndexSource, directory: Path) -> str:
    """Downloads the packages that hold a GGUF file and converts it."""
    with tempfile.TemporaryDirectory(dir=directory.parent.resolve(), prefix=f".{directory.name}.") as aside:
        whole = Path(aside) / index.file
        with open(whole, "wb") as stream:
            for wheel in index.wheels:
                with zipfile.ZipFile(_download(wheel, Path(aside))) as archive, archive.open(wheel.member) as part:
                    shutil.copyfileobj(part, stream, CHUNK_BYTES)
        found = _sha256(whole)
        if found != index.sha256:
            raise StageFailed(
                f"{index.file} is not the pinned one: SHA-256 {found}, expected {index.sha256}", "try again"
            )
        _convert(whole, directory, _card(model, index))
    packages = ", ".join(f"{wheel.package} {wheel.version}" for wheel in index.wheels)
    return f"the package index, {index.file} of {packages}"


def _download(wheel: Wheel, directory: Path) -> Path:
    """Downloads a wheel with pip, which knows the user's index and compares the checksum."""
    requirement = directory / "requirement.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(directory), "--requirement", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip says nothing"]
        if "No module named pip" in done.stderr:
            raise MissingInput("pip is not installed beside this Python", f"{sys.executable} -m ensurepip")
        raise MissingInput(
            f"{wheel.package} {wheel.version} cannot be fetched from the package index: {lines[-1].strip()}",
            "check the network and pip's index (pip config list)",
        )
    (path,) = directory.glob(f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl")
    return path


def _convert(source: Path, directory: Path, card: str) -> None:
    """Converts a GGUF file in a child process, since this one loads no torch."""
    command = [sys.executable, "-m", "stages.engines.gguf", str(source), str(directory.resolve()), "--card", card]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        if "gguf" in done.stderr and "pip install" in done.stderr:
            raise MissingInput("the package gguf is not installed", "pip install 'gguf>=0.19,<0.20'")
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise StageFailed(lines[-1].strip(), "try again, or take the model from the hub: --source hub")


def _card(model: KnownModel, index: IndexSource) -> str:
    """The model card of a model that was converted from a GGUF file."""
    packages = ", ".join(f"`{wheel.package}` {wheel.version}" for wheel in index.wheels)
    return f"""---
license: {model.licence.lower()}
---

# {model.title}, dequantised

These weights come from `{index.file}` (SHA-256 `{index.sha256}`), which the packages {packages} of the Python package
index hold. Its weights are quantised ({index.quantisation}); here they are fp32 again. They are close to the published
model's and not the same.

Licence: [{model.licence}]({model.licence_url}).
"""


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
