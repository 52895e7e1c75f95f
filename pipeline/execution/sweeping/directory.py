"""Where a sweep keeps its jobs: a directory that the same command finds again."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from pipeline.configuration.schema import RunConfig
from stages.contract.files import digest

SWEEPS = "sweeps"
# how words begin that do not decide what the jobs are: where and how many at once they run, who watches them
OPERATIONAL = (
    *("hydra/launcher", "hydra.launcher", "hydra.sweeper.n_trials", "hydra.sweeper.n_jobs", "force=", "launcher"),
    *("tracker", "notify", "orchestrator", "cost.", "runs_dir="),
)


def sweep_directory(config: RunConfig, words: Sequence[str]) -> Path:
    """runs/<run>/sweeps/<time it was first typed>-<digits>; the digits stand for the words of the command."""
    told = sorted(word for word in words if not word.lstrip("+").startswith(OPERATIONAL))
    digits = digest([config.recipe, told])[:8]
    sweeps = config.run_dir / SWEEPS
    found = sorted(sweeps.glob(f"*-{digits}"))
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return found[-1] if found else sweeps / f"{now}-{digits}"
