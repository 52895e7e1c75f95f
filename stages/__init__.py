"""The science: what runs in worker processes. Knows nothing of Hydra, Prefect or the driver; reads and writes one stage
directory.

Importing this package first hides torchvision, torchaudio and torchcodec where they do not match a CPU build of torch:
vLLM pulls in their CUDA-linked builds, whose import failure would otherwise take every transformers model down with it.
"""

import sys
from importlib.metadata import PackageNotFoundError, version


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if "+cpu" in _version("torch"):
    for _name in ("torchvision", "torchaudio", "torchcodec"):
        if "+cpu" not in _version(_name) and _name not in sys.modules:
            sys.modules[_name] = None  # find_spec() then answers "not installed"
