"""Two network namespaces with a cable between them, as two hosts."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import psutil

HOSTS = ("10.78.0.1", "10.78.0.2")


def can_make_networks() -> bool:
    """Whether this process may make namespaces."""
    if not (shutil.which("ip") and shutil.which("unshare")) or os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def kill_all_in(name: str) -> None:
    """Ends every process in a namespace at once."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
    for pid in map(int, found):
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).kill()


@contextlib.contextmanager
def two_hosts(name: str) -> Iterator[tuple[str, str]]:
    """The names of two namespaces, with the addresses in HOSTS. What runs in them at the end is killed."""
    names = (f"{name}a{os.getpid()}", f"{name}b{os.getpid()}")
    try:
        for one in names:
            ip("netns", "add", one)
        ip("link", "add", f"{names[0]}v", "netns", names[0], "type", "veth", "peer", f"{names[1]}v", "netns", names[1])
        for one, host in zip(names, HOSTS):
            ip("-n", one, "addr", "add", f"{host}/24", "dev", f"{one}v")
            ip("-n", one, "link", "set", f"{one}v", "up")
            ip("-n", one, "link", "set", "lo", "up")
        yield names
    finally:
        for one in names:
            kill_all_in(one)
            subprocess.run(["ip", "netns", "del", one], capture_output=True)
