"""The command `data` and its three: `inspect`, `prepare`, `fetch`.

The configuration is composed here; the rows are read in a child process, since the driver loads no engine.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.commands.data_process import relay
from pipeline.commands.declaration import Overrides, declare, exit_codes
from pipeline.configuration import compose, spelling
from pipeline.planning import models
from stages.config import to_dict

INTERRUPTED = "interrupted; pass rates that were measured are kept"

CODES = exit_codes(0, 2, 3) | {4: "the process that reads the data failed", 75: "interrupted"}

app = declare(
    "data",
    "inspect|prepare|fetch [KEY=VALUE ...]",
    {
        "r1 data inspect data=gsm8k": "what a data set holds",
        "r1 data prepare --help": "each of the three has its own help",
    },
    CODES,
)
app.help = "Look at data from outside, filter it into one file, or fetch it from the hub."

inspect_app = declare(
    "inspect",
    "[KEY=VALUE ...]",
    {
        "r1 data inspect data.path=problems.jsonl data.verifier=integer": "a file of your own",
        "r1 data inspect data=gsm8k": "a preset of conf/data/, after `r1 data fetch`",
    },
    CODES,
    parent="r1 data",
)
prepare_app = declare(
    "prepare",
    "[KEY=VALUE ...]",
    {"r1 data prepare data=gsm8k prepare.output=prepared": "prepared/train.parquet and its card"},
    CODES | {75: "interrupted; pass rates that were measured are kept, the same command continues"},
    parent="r1 data",
)
fetch_app = declare(
    "fetch",
    "[KEY=VALUE ...]",
    {"HF_HUB_OFFLINE=0 r1 data fetch data=gsm8k": "a preset of conf/data/, where the hub can be reached"},
    CODES,
    parent="r1 data",
)
for number, command in enumerate((inspect_app, prepare_app, fetch_app)):
    command.sort_key = number
    app.command(command)


@inspect_app.default
def inspect(*overrides: Overrides) -> int:
    """Show what a data set holds.

    Counts, lengths, languages, sample rows, and the rows that cannot be used with the reason.

    Args:
        overrides: The data, as for `run`: `data=PRESET`, `data.path=FILE`, or `data.sources.NAME...` for a mixture.
    """
    return _run_worker("inspect", overrides)


@prepare_app.default
def prepare(*overrides: Overrides) -> int:
    """Filter a data set into one file, with a card that says what each filter left.

    Drops malformed rows, duplicates, what is too long, what is contaminated by the sets of `prepare.against`, and
    prompts that a model solves always or never where pass rates are asked for.

    Args:
        overrides: The data, as for `run`, and the keys of `prepare`, for example `prepare.output=DIRECTORY`.
    """
    return _run_worker("prepare", overrides)


@fetch_app.default
def fetch(*overrides: Overrides) -> int:
    """Fetch a data set from the Hugging Face hub.

    Afterwards everything works offline.

    Args:
        overrides: The data set, as for `run`: `data=PRESET`, with `data.revision=COMMIT` a certain version of it.
    """
    return _run_worker("fetch", overrides)


def _run_worker(action: str, overrides: Sequence[str]) -> int:
    """Composes the configuration and hands what the action needs to `python -m stages.data`, as a file."""
    config = compose.compose_config(spelling.rewrite(list(overrides)))
    model_dir = None
    if config.model.path and action != "fetch":
        model_dir = str(models.locate(config.model.path, config.model.revision))
    output = str(Path(config.prepare.output).expanduser().resolve())
    given = {
        "data": to_dict(config.data),
        "prepare": {**to_dict(config.prepare), "output": output},
        "rollout": to_dict(config.rollout),
        "sandbox": to_dict(config.sandbox),
        "seed": config.seed,
        "model_dir": model_dir,
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.json"
        path.write_text(json.dumps(given, ensure_ascii=False), encoding="utf-8")
        return relay([sys.executable, "-m", "stages.data", action, str(path)], INTERRUPTED)
