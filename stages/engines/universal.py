"""A ZeRO 1-3 checkpoint of any number of processes as whole tensors that any other number can read: DeepSpeed's
universal format.
"""

import contextlib
import io
import os
from argparse import Namespace
from pathlib import Path


def to_universal(source: Path, target: Path) -> None:
    """Writes the engine directory `source` in universal format to the new directory `target`. For one rank; takes about
    three times `source`.

    Works from inside the target's parent: DeepSpeed reads paths as patterns, and the names of people's directories may
    hold anything.
    """
    from deepspeed.checkpoint import ds_to_universal

    target.mkdir(parents=True)
    source = os.path.relpath(source, target.parent)
    settings = Namespace(
        input_folder=source,
        output_folder=target.name,
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with (
        contextlib.chdir(target.parent),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        ds_to_universal.main(settings)
