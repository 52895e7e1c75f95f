"""The science, which runs in worker processes. A worker reads and writes one stage directory and knows no driver.

Importing this package hides torchvision, torchaudio and torchcodec where they do not match a CPU build of torch: vLLM
pulls in their CUDA-linked builds, whose import failure would otherwise take every transformers model down with it. It
must happen before anything imports them, so it stands here and not in `stages/engines/patches.py`.
"""

import sys
from importlib.metadata import PackageNotFoundError, version


def _version(name: str) -> str:
    """The version of an installed distribution, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if "+cpu" in _version("torch"):
    for _name in ("torchvision", "torchaudio", "torchcodec"):
        if "+cpu" not in _version(_name) and _name not in sys.modules:
            # None is Python's own way to say that a module cannot be imported: find_spec() then finds none.
            sys.modules[_name] = None  # type: ignore[assignment]  # typeshed allows modules only
