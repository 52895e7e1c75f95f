"""Stages that another run of the same directory of runs has made: with the same fingerprint they are the same stage."""

from pathlib import Path

from pipeline.configuration.schema import RunConfig
from pipeline.planning.fingerprint import short_fingerprint
from stages.contract.manifest import Manifest, verify

NEVER_REUSED = ("report",)  # kinds: a report names its run


def find_made(config: RunConfig, stage: str, kind: str, fingerprint: str) -> Path | None:
    """The directory of another run that holds this stage, finished and with all checksums right; None for none.

    Args:
        config: the configuration, which says where runs are and which of them is this one.
        stage: the stage's name.
        kind: its kind.
        fingerprint: the whole of it.
    """
    if not config.reuse or kind in NEVER_REUSED:
        return None
    place = config.run_dir.parent
    for directory in sorted(place.glob(f"*/{stage}/{short_fingerprint(fingerprint)}")):
        if directory.parents[1] == config.run_dir or directory.is_symlink():
            continue
        try:
            manifest = Manifest.find(directory)
            if manifest is None or manifest.fingerprint != fingerprint:
                continue
            if not verify(directory).problems:
                return directory
        except OSError:  # somebody else's run, which we may not read; or it is being deleted
            continue
    return None
