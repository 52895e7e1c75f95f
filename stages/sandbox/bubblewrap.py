"""The default backend: every run in a fresh box on this machine, made by bubblewrap.

A box is a set of namespaces with a seccomp filter and limits.
Nothing of the host is there but read-only system directories and an interpreter; nothing is written but a scratch
directory in memory. A process of root would be exempt from the limit on processes and could read root's files: root
runs the box as an unprivileged user.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from stages.sandbox.interface import MIB, Limits, Program, Result, SandboxError
from stages.sandbox.languages import LANGUAGES
from stages.sandbox.process import limited, run_boxed
from stages.sandbox.seccomp import filter_program

HOW_TO_GET = (
    "install bubblewrap 0.8 or newer (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap), "
    "or run programs elsewhere: "
    "sandbox.backend=piston sandbox.url=http://HOST:2000"
)
HOW_TO_ALLOW = (
    "user namespaces must be allowed: sysctl -w kernel.unprivileged_userns_clone=1 (Debian), "
    "sysctl -w user.max_user_namespaces=15000 (RHEL), "
    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for bwrap (Ubuntu 24.04); "
    "in a container they must be allowed "
    "from outside. Or run programs elsewhere: sandbox.backend=piston sandbox.url=http://HOST:2000"
)
UNPRIVILEGED = 60700  # user and group of the box where we are root: of a range that systemd leaves unused (60578-61183)
SYSTEM = (
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/include",
    "/etc/alternatives",
    "/etc/ld.so.cache",
)
LINKS = ("/bin", "/lib", "/lib32", "/lib64")  # into /usr on a merged system, directories of their own elsewhere
HIDDEN = (  # of /proc: what tells of the host
    "cmdline",
    "config.gz",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "sched_debug",
    "timer_list",
)
NAMESPACES = (  # new ones of all kinds, in which a program can make no further ones; nothing of the host's environment
    *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--clearenv"),
)
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
SHARED_MEMORY_MIB = 16
COMPILE = Limits(cpu_s=30.0, wall_s=120.0, memory_mib=2048, output_mib=32)
_SELF_TEST = (
    "import os, sys\nif os.fork() == 0: os._exit(0)\nos.wait()\nprint(os.getuid(), "
    "len(os.listdir('/proc/self/fd')) < 8, sys.stdin.read())"
)


class Bubblewrap:
    """Boxes on this machine.

    Args:
        python: The interpreter that programs run in. None: the system's, or where there is none the one that runs us.
    """

    def __init__(self, python: str | None = None):
        self.python = python or ("/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable)

    def setup_problem(self, limits: Limits) -> str | None:
        """See `Executor.setup_problem`."""
        if sys.platform != "linux":
            return (
                f"programs are run in bubblewrap, which needs Linux, not {sys.platform}: "
                "use sandbox.backend=piston sandbox.url=http://HOST:2000"
            )
        if shutil.which("bwrap") is None:
            return f"programs are run in bubblewrap, which is not installed: {HOW_TO_GET}"
        if _version() < (0, 8):
            return f"bubblewrap {'.'.join(map(str, _version()))} cannot limit its scratch directory: {HOW_TO_GET}"
        for tool in ("/usr/bin/prlimit", *(["/usr/bin/setpriv"] if os.geteuid() == 0 else [])):
            if not Path(tool).exists():
                return f"{tool} is missing: install util-linux"
        if not os.access(self.python, os.X_OK):
            return f"sandbox.python={self.python} cannot be executed: name an interpreter"
        return self._self_test(limits)

    def _self_test(self, limits: Limits) -> str | None:
        """Runs a small program in a box; returns what went wrong."""
        try:
            result = self.run(self.build("python", _SELF_TEST), b"hello", replace(limits, wall_s=60.0))
        except SandboxError as error:
            return f"bubblewrap is installed but cannot make a box ({error}): {HOW_TO_ALLOW}"
        if result.stdout.split() == [b"1000", b"True", b"hello"]:
            return None
        return (
            f"a box does not work ({result.status}: {result.stderr.decode(errors='replace').strip()[-300:]}). "
            "Linux 5.14 or newer is needed, "
            f"/usr/bin/python3 or sandbox.python=INTERPRETER; {HOW_TO_ALLOW}"
        )

    def build(self, language: str, source: str, companions: dict[str, bytes] | None = None) -> Program:
        """See `Executor.build`; compilers run in a box too."""
        rules, files = LANGUAGES[language], dict(companions or {})
        if not rules.compile:
            return Program(language, {**files, rules.source: source.encode(errors="replace")})
        # The binary leaves the box through standard output; what the compiler says, on standard error.
        command = ["/bin/sh", "-c", '"$@" >&2 && cat ' + rules.binary, "sh", *rules.compile]
        result = self._boxed({**files, rules.source: source.encode(errors="replace")}, command, b"", COMPILE)
        if result.status != "ok":
            said = result.stderr.decode(errors="replace").strip()[:2000]
            return Program(
                language, compile_error=said or f"the compiler ended with {result.status} {result.exit_code}"
            )
        return Program(language, {**files, rules.binary: result.stdout})

    def run(self, program: Program, stdin: bytes, limits: Limits) -> Result:
        """See `Executor.run`."""
        assert not program.compile_error, "a program that does not compile cannot be run"
        command = [part.replace("{python}", self.python) for part in LANGUAGES[program.language].run]
        return self._boxed(program.files, command, stdin, limits)

    def _boxed(self, files: dict[str, bytes], command: list[str], stdin: bytes, limits: Limits) -> Result:
        """Runs a command in a fresh box whose scratch directory has these files."""
        options = list(_walls(self.python))
        place = options.index("SCRATCH")
        options[place : place + 1] = ["--size", str(limits.scratch_mib * MIB), "--tmpfs", "/tmp"]
        return run_boxed(_command(), options, filter_program(), files, limited(limits, command), stdin, limits)


@cache
def _version() -> tuple[int, ...]:
    """Bubblewrap's version, as (0, 8)."""
    said = subprocess.run(
        ["bwrap", "--version"], capture_output=True, text=True, env={"PATH": os.environ.get("PATH", "")}
    ).stdout
    return tuple(int(part) for part in said.split()[-1].split(".")[:2])


@cache
def _command() -> tuple[str, ...]:
    """How bubblewrap is started: root starts it as an unprivileged user."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError(f"bubblewrap is not installed: {HOW_TO_GET}")
    if os.geteuid() != 0:
        return (bwrap,)
    return (
        "/usr/bin/setpriv",
        f"--reuid={UNPRIVILEGED}",
        f"--regid={UNPRIVILEGED}",
        "--clear-groups",
        "--inh-caps=-all",
        bwrap,
    )


@cache
def _walls(python: str) -> tuple[str, ...]:
    """Bubblewrap's options that are the same for every box; SCRATCH stands for the scratch directory."""
    options = list(NAMESPACES)
    for name, value in ENVIRONMENT.items():
        options += ["--setenv", name, value]
    for path in SYSTEM:
        options += ["--ro-bind-try", path, path]
    for link in map(Path, LINKS):
        if link.is_symlink():
            options += ["--symlink", os.readlink(link), str(link)]
        elif link.exists():
            options += ["--ro-bind", str(link), str(link)]
    for directory in _homes_of(python):
        options += ["--ro-bind", directory, directory]
    options += ["--proc", "/proc"]
    for name in HIDDEN:
        if Path("/proc", name).exists():
            options += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    options += [
        "--dev",
        "/dev",
        "--size",
        str(SHARED_MEMORY_MIB * MIB),
        "--tmpfs",
        "/dev/shm",
        "--remount-ro",
        "/dev",
        "SCRATCH",
        "--chdir",
        "/tmp",
        "--remount-ro",
        "/",
    ]
    return tuple(options)


def _homes_of(python: str) -> list[str]:
    """The directories that an interpreter needs which is not the system's.

    Its own and, for a virtual environment, that of the interpreter it was made from.
    """
    prefixes = {str(Path(path).parent.parent) for path in (os.path.abspath(python), os.path.realpath(python))}
    return sorted(
        prefix
        for prefix in prefixes
        if not any(prefix == top or prefix.startswith(top + "/") for top in ("/usr", "/bin", "/lib"))
    )
