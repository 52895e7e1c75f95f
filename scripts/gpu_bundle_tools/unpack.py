#!/usr/bin/env python3
"""Joins the pieces of a bundle and installs it without a network: python3 unpack.py [--to DIRECTORY] [--no-install].

It needs Python 3.11 or 3.12 and nothing else. Every piece is compared with its checksum before anything is written.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHUNK_BYTES = 1 << 20


class Joined(io.RawIOBase):
    """The pieces as one stream."""

    def __init__(self, paths: list[Path]):
        self._chunks, self._rest = _chunks_of(paths), memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, and says how many bytes there were."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        now = self._rest[: len(buffer)]
        buffer[: len(now)] = now
        self._rest = self._rest[len(now) :]
        return len(now)


def _chunks_of(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with open(path, "rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk


def damaged(pieces: list[dict]) -> list[str]:
    """What is wrong with the pieces: those that are missing, cut short or changed, one line each."""
    lines = []
    for piece in pieces:
        path = HERE / piece["name"]
        if not path.is_file():
            lines.append(f"{piece['name']} is missing")
            continue
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != piece["sha256"]:
            size = path.stat().st_size
            lines.append(f"{piece['name']} is damaged: {size} of {piece['bytes']} bytes, SHA-256 {found[:16]}...")
    return lines


def install(directory: Path) -> None:
    """Makes `.venv` in the directory and installs the project into it from the wheels of the bundle."""
    venv.create(directory / ".venv", with_pip=True)
    python = directory / ".venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(directory / "wheels")]
    subprocess.run([*pip, "setuptools", "wheel"], check=True)
    # The project's build backend is installed already: pip would look for it on the network.
    subprocess.run([*pip, "--no-build-isolation", "-e", f"{directory}[gpu,gym]"], check=True)
    (directory / ".venv" / ".installed-gpu").touch()


def main(arguments: list[str]) -> int:
    """Checks, joins and installs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path("r1-recipe"), help="directory that is made")
    parser.add_argument("--no-install", action="store_true", help="join and check only")
    options = parser.parse_args(arguments)
    manifest = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
    wrong = damaged(manifest["pieces"])
    if wrong:
        print("\n".join([*wrong, "carry these pieces again"]), file=sys.stderr)
        return 1
    if options.to.exists() and any(options.to.iterdir()):
        print(f"{options.to} is not empty: name another place with --to", file=sys.stderr)
        return 1
    options.to.mkdir(parents=True, exist_ok=True)
    stream = io.BufferedReader(Joined([HERE / piece["name"] for piece in manifest["pieces"]]), CHUNK_BYTES)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall(options.to, filter="data")
    print(f"{len(manifest['pieces'])} pieces are whole; {manifest['files']} files are in {options.to}")
    if not options.no_install:
        install(options.to.resolve())
    print(f"next: cd {options.to} && {manifest['next']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
