"""Cheap checks before anything is launched: data files and disk space. What needs a tokenizer is checked by the worker."""
import importlib.util
import json
import shutil
from pathlib import Path

from pipeline import estimate
from pipeline.config import RunConfig
from pipeline.errors import MissingInput
from stages.config import DataConfig

MAX_CHECKED_ROWS = 200_000  # a larger JSONL file is checked up to here; the worker reads all of it
SHOWN_MISTAKES = 3

Error = tuple[str, str]


def check_data(config: RunConfig, steps) -> list[Error]:
    """Errors in the data files of the stages that are going to run, each file once."""
    files: dict[tuple, DataConfig] = {}
    for step in steps:
        data = getattr(step.config, "data", None)
        if data is not None and data.name == "file" and not step.is_done:
            files.setdefault((data.path, data.prompt_column, data.answer_column), data)
    return [(message, f"mend {data.path}, or name its columns with data.prompt_column and data.answer_column")
            for data in files.values() for message in check_file(data)]


def check_suites(steps) -> list[Error]:
    """Evaluation suites whose files are not there, or that name no data at all."""
    suites = {name: suite for step in steps if not step.is_done for name, suite in getattr(step.config, "settings", {}).items()}
    errors = []
    for name, suite in suites.items():
        if suite.loader not in ("tiny", "file") and not (suite.path or suite.hub):
            errors.append((f"the suite {name} has neither a file nor a data set of the hub", f"eval.{name}.path=FILE or eval.{name}.hub=OWNER/NAME"))
        if suite.path and not Path(suite.path).is_file():
            errors.append((f"eval.{name}.path={suite.path}: no such file", f"give the data set's file, in the schema of conf/eval/{name}.yaml"))
        if suite.standings and not Path(suite.standings).is_dir():
            errors.append((f"eval.{name}.standings={suite.standings}: no such directory", "give the directory with CONTEST.standings.json and CONTEST.ratings.json"))
        if suite.loader == "file" and not any(getattr(step.config.data, "path", None) for step in steps if hasattr(step.config, "settings")):
            errors.append((f"the suite {name} evaluates on the held-out rows of your own file, but there is none", "data.path=FILE"))
    return errors


def check_file(data: DataConfig) -> list[str]:
    path = Path(data.path)
    if not path.is_file():
        return [f"data file {path}: no such file"]
    if path.stat().st_size == 0:
        return [f"data file {path} is empty"]
    columns = (data.prompt_column,) if data.checks_column else (data.prompt_column, data.answer_column)
    if path.suffix == ".parquet":
        return _check_parquet(path, columns)
    if path.suffix in (".jsonl", ".json", ".ndjson"):
        return _check_jsonl(path, columns)
    return [f"data file {path}: its name must end in .jsonl or .parquet"]


def _check_parquet(path: Path, columns: tuple[str, ...]) -> list[str]:
    import pyarrow.lib
    import pyarrow.parquet
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.lib.ArrowInvalid, OSError) as error:
        return [f"data file {path} is not readable as Parquet: {str(error).splitlines()[0]}"]
    names = file.schema_arrow.names
    errors = [f"data file {path} has no column {column!r}; it has {', '.join(names)}" for column in columns if column not in names]
    return errors + ([f"data file {path} has no rows"] if file.metadata.num_rows == 0 else [])


def _check_jsonl(path: Path, columns: tuple[str, ...]) -> list[str]:
    mistakes, num_rows = [], 0
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if number > MAX_CHECKED_ROWS or len(mistakes) > SHOWN_MISTAKES:
                break
            if line.strip():
                num_rows += 1
                mistake = _row_mistake(line, columns)
                mistakes += [f"data file {path}, line {number}: {mistake}"] if mistake else []
    if not num_rows:
        return [f"data file {path} has no rows"]
    return mistakes[:SHOWN_MISTAKES] + (["... and more lines like these"] if len(mistakes) > SHOWN_MISTAKES else [])


def _row_mistake(line: bytes, columns: tuple[str, ...]) -> str | None:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error.reason} at byte {error.start})"
    except ValueError as error:
        return f"not JSON ({error}): {line[:60].decode(errors='replace').strip()!r}"
    if not isinstance(row, dict):
        return f"a row must be a JSON object, got {type(row).__name__}"
    for column in columns:
        if column not in row:
            return f"no column {column!r}; it has {', '.join(map(str, row)) or 'none'}"
        if row[column] is None or not str(row[column]).strip():
            return f"column {column!r} is empty"
        if isinstance(row[column], (dict, list)):
            return f"column {column!r} must be text or a number, got {type(row[column]).__name__}"
    return None


def check_tracker(config: RunConfig) -> list[Error]:
    """tracker=tensorboard without the package, before hours of work rather than after."""
    if config.tracker.name != "tensorboard" or importlib.util.find_spec("tensorboard"):
        return []
    return [("tracker=tensorboard needs the tensorboard package", "pip install tensorboard, or tracker=none")]


def check_disk(config: RunConfig, steps) -> list[Error]:
    """Too little free space on the disk of the runs for any stage. What a trained stage needs is checked when it is its turn."""
    if all(step.is_done for step in steps):
        return []
    return _too_little(config.run_dir, config.launcher.min_free_gib, "a stage")


def require_disk(step, config: RunConfig) -> None:
    """Raises MissingInput where the disk has no room for the checkpoints and the model of a stage, less what it has written before."""
    written = sum(path.stat().st_size for path in (step.dir / "state").rglob("*") if path.is_file())
    needed_gib = max(config.launcher.min_free_gib, estimate.disk_gib(step.stage, step.config, config) - written / 2**30)
    for message, fix in _too_little(config.run_dir, needed_gib, step.stage):
        raise MissingInput(message, fix)


def _too_little(place: Path, needed_gib: float, who: str) -> list[Error]:
    while not place.exists():
        place = place.parent
    free_gib = shutil.disk_usage(place).free / 2**30
    if free_gib >= needed_gib:
        return []
    return [(f"{place} has {free_gib:.2f} GiB free; {who} needs {needed_gib:.2f} GiB for checkpoints and its model",
             "free some space, put the runs elsewhere (runs_dir=DIRECTORY), or lower launcher.min_free_gib or keep_checkpoints")]
