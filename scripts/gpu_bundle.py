"""Makes what a GPU machine without a network needs: wheels, models and this repository, in pieces of at most 60 MB.

python scripts/gpu_bundle.py OUT                      # wheels of r1-recipe[gpu,gym], models of models/
python scripts/gpu_bundle.py OUT --wheels DIR         # takes the wheels that are there
python scripts/gpu_bundle.py OUT --model DIR --model DIR2

OUT then has bundle.0001, bundle.0002, ..., bundle.json with their checksums, and unpack.py. Carry all of it over, and
run `python3 unpack.py` there: it says which piece is missing or damaged, joins them, makes the environment and says
what to run. The wheels are for the Python that runs this script, on Linux x86_64.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.paths import REPOSITORY
from scripts.gpu_bundle_tools.pieces import Pieces

MOST_MB = 60.0
TOOLS = REPOSITORY / "scripts" / "gpu_bundle_tools"
MODELS = ("smollm2-135m", "smollm2-135m-without-12-17")  # what recipe=smollm2_gpu reads
BUILD = ("setuptools>=77,<90", "wheel")  # what pip builds the project with
NEXT = ".venv/bin/python -m pipeline run +stage=all recipe=smollm2_gpu"


def download_wheels(directory: Path) -> None:
    """Downloads the wheels of r1-recipe[gpu,gym] with pip, and builds those of sources. Exits where pip fails."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*command, "--wheel-dir", str(directory), *BUILD, f"{REPOSITORY}[gpu,gym]"]).returncode:
        sys.exit("pip could not make the wheels: see above, or give a directory of wheels with --wheels DIR")


def repository_files() -> Iterator[Path]:
    """The files of this repository that git knows. Exits where there is no git repository."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{REPOSITORY} is no git repository: clone it, so that only its own files are carried")
    yield from (REPOSITORY / name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file())


def contents(wheels: Path, models: list[Path]) -> Iterator[tuple[Path, str]]:
    """(file, its name in the bundle) of everything that is carried."""
    for path in repository_files():
        yield path, str(path.relative_to(REPOSITORY))
    for path in sorted(wheels.glob("*.whl")):
        yield path, f"wheels/{path.name}"
    for model in models:
        for path in sorted(path for path in model.rglob("*") if path.is_file()):
            yield path, f"models/{model.name}/{path.relative_to(model)}"


def make(directory: Path, wheels: Path, models: list[Path], most_bytes: int) -> dict:
    """Writes the pieces, their checksums and unpack.py; returns what bundle.json holds."""
    pieces = Pieces(directory, most_bytes)
    number = 0
    with tarfile.open(fileobj=pieces, mode="w|") as archive:  # type: ignore[call-overload]
        for path, name in contents(wheels, models):
            archive.add(path, name)
            number += 1
    pieces.close()
    manifest = {"pieces": pieces.done, "files": number, "next": NEXT}
    shutil.copy(TOOLS / "unpack.py", directory / "unpack.py")
    (directory / "bundle.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def main(arguments: list[str]) -> None:
    """Makes a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory that is made")
    parser.add_argument("--wheels", type=Path, help="wheels that are there already; nothing is downloaded")
    parser.add_argument("--model", type=Path, action="append", help="a model directory; repeat it for several")
    parser.add_argument("--piece-mb", type=float, default=MOST_MB, help=f"largest piece, MB (default {MOST_MB:g})")
    options = parser.parse_args(arguments)
    models = options.model or [REPOSITORY / "models" / name for name in MODELS]
    for model in models:
        if not (model / "config.json").is_file():
            sys.exit(f"{model} is no model directory: r1 models get smollm2-135m, and --model DIR for another one")
    if options.wheels and not any(options.wheels.glob("*.whl")):
        sys.exit(f"{options.wheels} holds no wheels")
    if options.piece_mb <= 0:
        sys.exit(f"--piece-mb must be more than 0, got {options.piece_mb:g}")
    if options.out.exists() and any(options.out.iterdir()):
        sys.exit(f"{options.out} is not empty: name another directory")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out, prefix=".wheels.") as aside:
        if not options.wheels:
            download_wheels(Path(aside))
        manifest = make(options.out, options.wheels or Path(aside), models, int(options.piece_mb * 1e6))
    size = sum(piece["bytes"] for piece in manifest["pieces"])
    print(f"{manifest['files']} files, {size / 1e6:,.0f} MB, in {len(manifest['pieces'])} pieces in {options.out}")
    print(f"carry {options.out} over, and there: python3 unpack.py")


if __name__ == "__main__":
    main(sys.argv[1:])
