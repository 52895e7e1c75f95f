"""The bundle for a GPU machine without a network: split, carried, damaged, joined; with a few small files."""

import json
import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY

PIECE = 2_000_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of this repository, one wheel and one model, in pieces of 2 MB."""
    place = tmp_path_factory.mktemp("bundle")
    (place / "wheels").mkdir()
    (place / "wheels" / "a-1-py3-none-any.whl").write_bytes(bytes(range(256)) * 20_000)
    (place / "model").mkdir()
    (place / "model" / "config.json").write_text("{}")
    (place / "model" / "model.safetensors").write_bytes(b"weights")
    done = make(place / "out", "--wheels", place / "wheels", "--model", place / "model", "--piece-mb", PIECE / 1e6)
    assert done.returncode == 0, done.stderr
    return place / "out"


def make(*arguments):
    return run("scripts/gpu_bundle.py", *arguments)


def unpack(bundle, to):
    return run(bundle / "unpack.py", "--to", to, "--no-install")


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_what_is_joined_is_what_was_split(bundle, tmp_path):
    sizes = [path.stat().st_size for path in sorted(bundle.glob("bundle.0*"))]
    assert len(sizes) > 2 and set(sizes[:-1]) == {PIECE} and 0 < sizes[-1] <= PIECE
    done = unpack(bundle, tmp_path / "there")
    assert done.returncode == 0, done.stderr
    there = tmp_path / "there"
    assert (there / "wheels" / "a-1-py3-none-any.whl").read_bytes() == bytes(range(256)) * 20_000
    assert (there / "models" / "model" / "model.safetensors").read_bytes() == b"weights"
    for name in ("pyproject.toml", "conf/recipe/smollm2_gpu.yaml", "stages/__main__.py"):
        assert (there / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert "recipe=smollm2_gpu" in done.stdout


def test_every_piece_that_is_missing_or_damaged_is_named_and_nothing_is_written(bundle, tmp_path):
    carried = tmp_path / "carried"
    carried.mkdir()
    for path in bundle.iterdir():
        (carried / path.name).write_bytes(path.read_bytes())
    (carried / "bundle.0001").unlink()
    cut = carried / "bundle.0002"
    cut.write_bytes(cut.read_bytes()[:-1])
    changed = carried / "bundle.0003"
    changed.write_bytes(b"x" + changed.read_bytes()[1:])
    done = unpack(carried, tmp_path / "there")
    assert done.returncode == 1 and not (tmp_path / "there").exists()
    lines = done.stderr.splitlines()
    assert lines[0] == "bundle.0001 is missing" and "bundle.0002 is damaged: 1999999 of 2000000" in lines[1]
    assert "bundle.0003 is damaged" in lines[2] and lines[3] == "carry these pieces again" and len(lines) == 4


def test_mistakes_are_said_before_anything_is_made(bundle, tmp_path):
    nothing = make(tmp_path / "out", "--model", tmp_path)
    assert nothing.returncode == 1 and "no model directory" in nothing.stderr and not (tmp_path / "out").exists()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    full = make(bundle, "--model", model, "--wheels", bundle)
    assert full.returncode == 1 and "holds no wheels" in full.stderr
    assert json.loads((bundle / "bundle.json").read_text())["pieces"][0]["name"] == "bundle.0001"
