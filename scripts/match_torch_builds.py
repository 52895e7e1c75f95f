"""Makes torchvision, torchaudio and torchcodec fit a CPU build of torch: `python scripts/match_torch_builds.py`.

vLLM for CPUs asks for the three without saying which build, so that pip takes those that are linked to CUDA. They do
not import beside a CPU build of torch, and then plain transformers imports no model at all. Each is replaced by its own
+cpu build; where there is none, it is removed, for nothing here needs it. Options go to pip (`--extra-index-url URL`).
"""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def main(options: list[str]) -> int:
    """Replaces or removes what does not fit; returns pip's exit code where it fails."""
    if "+cpu" not in (installed("torch") or ""):
        return 0
    for name in COMPANIONS:
        found = installed(name)
        if found is None or "+cpu" in found:
            continue
        wanted = f"{name}=={found}+cpu"
        replace = [*PIP, "install", "-qq", "--no-deps", "--force-reinstall", *options, wanted]
        if subprocess.run(replace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            print(f"{name} {found} replaced by its CPU build")
            continue
        code = subprocess.run([*PIP, "uninstall", "-qq", "--yes", name]).returncode
        if code:
            return code
        print(f"{name} {found} removed: it is built for CUDA and has no CPU build here")
    return 0


def installed(name: str) -> str | None:
    """The version of an installed package, with its build; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
