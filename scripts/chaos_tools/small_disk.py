"""A real file system of a few MiB (tmpfs), for what happens when it is full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotMount(RuntimeError):
    """This user may not mount a tmpfs."""


class SmallDisk:
    """A mounted tmpfs that can be filled up and emptied again."""

    def __init__(self, path: Path):
        self.path = path

    def fill(self) -> None:
        """Takes all that is free, again until nothing more goes in."""
        with open(self.path / "ballast", "ab", buffering=0) as stream:
            for size in (2**16, 2**12, 1):
                try:
                    while stream.write(os.urandom(size)) == size:
                        pass
                except OSError:
                    pass

    def make_room(self) -> None:
        (self.path / "ballast").unlink()

    def resize(self, size_kib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_kib}k", str(self.path)], check=True)


@contextmanager
def small_disk(path: Path, size_kib: int) -> Iterator[SmallDisk]:
    """Mounted at the new directory `path`. Raises CannotMount."""
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise CannotMount(
            f"a full disk needs a small one, and this user may not mount a tmpfs: {mounted.stderr.strip()}"
        )
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
