"""How many rows a supervised stage will train on, before it runs: from the file, or from what the builder will keep."""

from pathlib import Path
from typing import Any

from pipeline.configuration.graph import Node
from pipeline.configuration.schema import RunConfig
from stages.contract.manifest import Manifest

MAX_READ_BYTES = 16 * 2**20  # of a file of lines; more is extrapolated from its size


def training_rows(node: Node, config: Any, run: RunConfig) -> int | None:
    """The rows of an SFT stage; None where nothing says it.

    Args:
        node: the stage in the graph.
        config: its configuration.
        run: the configuration of the whole run.
    """
    if config.traces.path:
        return _rows_of_file(Path(config.traces.path).expanduser())
    builder = node.inputs.get("data")
    if builder is None:
        return None
    made = Manifest.find(run.run_dir / builder / "latest")
    if made is not None and made.metrics.get("data/samples"):
        return round(made.metrics["data/samples"])
    return _rows_of_builder(run.stage(builder))


def _rows_of_builder(config: Any) -> int:
    """The most rows that a builder keeps: of each prompt, in all, and the general pairs that it adds."""
    kept = config.num_prompts * min(config.keep_per_prompt, config.samples_per_prompt)
    return min(kept, config.keep_total or kept) + config.num_general


def _rows_of_file(path: Path) -> int | None:
    """The rows of a Parquet file by its footer, the lines of another file; None for what is not such a file."""
    if not path.is_file():
        return None
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(path).metadata.num_rows
        except (OSError, ValueError):  # which the checks of the data report
            return None
    size = path.stat().st_size
    with open(path, "rb") as stream:
        read = stream.read(MAX_READ_BYTES)
    lines = read.count(b"\n") + (not read.endswith(b"\n") and size <= MAX_READ_BYTES)
    return round(lines * size / max(len(read), 1))
