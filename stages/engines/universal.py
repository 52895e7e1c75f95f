"""Converts a ZeRO 1-3 checkpoint, whichever number of processes wrote it, into whole tensors that any number can read.

The format and the program that converts are DeepSpeed's: `python -m deepspeed.checkpoint.ds_to_universal`.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch

_SAID_CHARACTERS = 2000  # of the converter's last words, in the message of a failure


def to_universal(source: Path, target: Path) -> None:
    """Writes the engine directory `source` in universal format to the new directory `target`; for one rank only.

    It takes about three times the space of `source`. The converter works from inside the target's parent with relative
    paths: it reads paths as patterns, and the names of people's directories may hold anything.

    Raises:
        RuntimeError: The converter failed; the message has its last words.
    """
    target.mkdir(parents=True)
    command = [sys.executable, "-P", "-m", "deepspeed.checkpoint.ds_to_universal"]
    command += ["--input_folder", os.path.relpath(source, target.parent), "--output_folder", target.name]
    command += ["--num_extract_workers", "1", "--num_merge_workers", "1", "--inject_missing_state"]
    ended = subprocess.run(
        command,
        cwd=target.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C asks the worker to stop, after it has resumed; it must not end the converter
    )
    if ended.returncode != 0:
        raise RuntimeError(
            f"DeepSpeed could not convert {source} for another number of processes (exit code {ended.returncode}): "
            f"{ended.stdout.strip()[-_SAID_CHARACTERS:]}"
        )


def buffers_of(source: Path) -> dict[str, torch.Tensor]:
    """The persistent buffers in the engine directory `source`, by their names in the module; every rank has them whole.

    The universal format leaves them out, because no optimizer has a state for them.
    """
    part = min(source.glob("*model_states.pt"))  # DeepSpeed writes one at ZeRO 1-2, and one for each rank at ZeRO 3
    state = torch.load(part, map_location="cpu", weights_only=False)  # its checksum was compared; it holds settings too
    return {name: state["module"][name] for name in state["buffer_names"]}
