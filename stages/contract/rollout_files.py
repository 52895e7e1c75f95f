"""The rollouts of a step on disk: columns of tokens, one shard a rank, and a manifest that is written last.

    rollouts/step_000012/rank_0.arrow     an Arrow file of the rollouts that rank 0 has drawn, a row each
                         rank_1.arrow
                         manifest.jsonl   a file of records: the shards with their checksums, then a row a rollout

The columns of a shard are lists of int32 (`prompt_ids`, `completion_ids`, `version`) and of float32
(`rollout_logprobs`, `old_logprobs`), and `prompt`, as JSON. `prompt` and `prompt_ids` are null where they are those of
the row before; `version` and `old_logprobs` are null where nobody gave them. Shards hold no texts: tokens give them.

Older versions wrote rollouts/step_000012.jsonl, a file of records with a line for each rollout.
"""

import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from stages.contract import files
from stages.contract.files import FileEntry
from stages.contract.records import DamagedRecords, read_record_file, write_record_file

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.jsonl"
COLUMNS: dict[str, type[np.int32] | type[np.float32]] = {
    "prompt_ids": np.int32,
    "completion_ids": np.int32,
    "rollout_logprobs": np.float32,
    "old_logprobs": np.float32,
    "version": np.int32,
}
SHARED = ("prompt", "prompt_ids")  # null in a shard where they are those of the row before
BATCH_TOKENS = 2**20  # of completions, that are copied together before they are written
SYNC_BATCHES = 16  # after which the disk gets what was written so far

ShardRow = dict[str, Any]  # `prompt`, plain data, and an array or None for each of COLUMNS


def step_path(directory: Path, step: int) -> Path:
    """Where the rollouts of a step are."""
    return directory / f"step_{step:06d}"


def older_path(directory: Path, step: int) -> Path:
    """Where an older version wrote the rollouts of a step."""
    return directory / f"step_{step:06d}.jsonl"


def step_of(path: Path) -> int:
    """The step whose rollouts a path has, of either kind."""
    return int(path.stem.split("_")[1])


def logged_steps(directory: Path) -> list[int]:
    """The steps whose rollouts are there, in order."""
    paths = [path.parent for path in directory.glob(f"step_*/{MANIFEST}")] + list(directory.glob("step_*.jsonl"))
    return sorted({step_of(path) for path in paths})


def shard_name(rank: int) -> str:
    """The file of a rank's rollouts."""
    return f"rank_{rank}.arrow"


def write_shard(path: Path, rows: Iterable[ShardRow]) -> FileEntry:
    """Writes a shard, atomically; its content is on the disk when this returns. Returns its checksum and size."""
    import pyarrow

    kinds = {np.int32: pyarrow.int32(), np.float32: pyarrow.float32()}
    schema = pyarrow.schema(
        [("prompt", pyarrow.large_string())]
        + [(name, pyarrow.large_list(kinds[dtype])) for name, dtype in COLUMNS.items()]
    )
    with files.open_atomic(path) as stream, ThreadPoolExecutor(1, thread_name_prefix="shard") as disk:
        hashed, synced = _Hashed(stream), []
        with pyarrow.ipc.new_file(pyarrow.PythonFile(hashed, "w"), schema) as writer:
            for number, batch in enumerate(_batches(rows), start=1):
                writer.write_batch(_record_batch(batch, schema))
                if number % SYNC_BATCHES == 0:
                    synced.append(disk.submit(os.fsync, stream.fileno()))  # while more is put together
        for one in synced:
            one.result()  # raises what the disk said
        stream.flush()
        os.fsync(stream.fileno())
    return {"sha256": hashed.digest.hexdigest(), "bytes": hashed.size}


class _Hashed(io.RawIOBase):
    """Writes to a stream and keeps the checksum of what was written."""

    def __init__(self, stream: BinaryIO):
        super().__init__()
        self.stream, self.digest, self.size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest.update(view)
        self.stream.write(view)
        self.size += view.nbytes
        return view.nbytes


def _batches(rows: Iterable[ShardRow]) -> Iterator[list[ShardRow]]:
    """Cuts rows into batches of about BATCH_TOKENS, so that no second copy of all of them is ever made."""
    batch: list[ShardRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row["completion_ids"])
        if size >= BATCH_TOKENS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _record_batch(rows: Sequence[ShardRow], schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    """Rows as columns. The first row of a batch has its prompt, whatever the row before was."""
    import pyarrow

    repeats = [False] + [_has_same_prompt(row, before) for before, row in itertools.pairwise(rows)]
    columns = []
    for field in schema:
        found = [None if field.name in SHARED and repeated else row[field.name] for row, repeated in zip(rows, repeats)]
        if field.name == "prompt":
            found = [None if prompt is None else _encoded(prompt) for prompt in found]
        columns.append(_column(found, field.type))
    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _column(rows: Sequence[np.ndarray | None], kind: "pyarrow.DataType") -> "pyarrow.Array":
    """An Arrow array of lists or texts, made of its buffers: `pyarrow.array` would load pandas, which takes long."""
    import pyarrow

    given = [row for row in rows if row is not None]
    flags = np.packbits([row is not None for row in rows], bitorder="little")
    offsets = np.cumsum([0] + [0 if row is None else len(row) for row in rows], dtype=np.int64)
    values = np.concatenate(given) if given else np.empty(0, np.uint8)
    buffers = [pyarrow.py_buffer(flags) if len(given) < len(rows) else None, pyarrow.py_buffer(offsets)]
    if pyarrow.types.is_large_string(kind):
        return pyarrow.Array.from_buffers(kind, len(rows), [*buffers, pyarrow.py_buffer(values)])
    items = pyarrow.Array.from_buffers(kind.value_type, int(offsets[-1]), [None, pyarrow.py_buffer(values)])
    return pyarrow.Array.from_buffers(kind, len(rows), buffers, children=[items])


def _encoded(prompt: dict) -> np.ndarray:
    """The bytes of a prompt's JSON."""
    return np.frombuffer(json.dumps(prompt, ensure_ascii=False).encode(), np.uint8)


def _has_same_prompt(row: ShardRow, other: ShardRow) -> bool:
    return row["prompt"] == other["prompt"] and np.array_equal(row["prompt_ids"], other["prompt_ids"])


class Shard:
    """The rollouts of a shard, mapped into memory: only what is asked for is read."""

    def __init__(self, path: Path):
        import pyarrow

        reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.starts = np.cumsum([0] + [batch.num_rows for batch in batches])
        self.prompts = [batch.column("prompt") for batch in batches]
        self.columns = {
            name: [_views(batch.column(name), dtype) for batch in batches] for name, dtype in COLUMNS.items()
        }

    def __len__(self) -> int:
        return int(self.starts[-1])

    def row(self, place: int) -> ShardRow:
        """The rollout at a place; the arrays are those of the file and cannot be written to."""
        batch = int(np.searchsorted(self.starts, place, side="right")) - 1
        place -= int(self.starts[batch])
        first = place
        while not self.prompts[batch][first].is_valid:
            first -= 1
        row: ShardRow = {"prompt": json.loads(self.prompts[batch][first].as_py())}
        for name in COLUMNS:
            offsets, values, is_given = self.columns[name][batch]
            i = first if name in SHARED else place
            row[name] = values[offsets[i] : offsets[i + 1]] if is_given[i] else None
        return row


def _views(
    column: "pyarrow.LargeListArray", dtype: type[np.int32] | type[np.float32]
) -> tuple[np.ndarray, np.ndarray, list[bool]]:
    """Offsets and values of a column of lists, as they lie in the file, and which rows are not null."""
    _, offsets, _, values = column.buffers()
    ends = np.frombuffer(offsets, np.int64, len(column) + 1)
    count = int(ends[-1])
    return ends, np.frombuffer(values, dtype, count) if count else np.empty(0, dtype), column.is_valid().to_pylist()


def write_manifest(directory: Path, shards: dict[str, FileEntry], rows: Iterable[dict]) -> None:
    """Writes the manifest of a step, which makes its rollouts count; they are on the disk when this returns."""
    write_record_file(directory / MANIFEST, [{"shards": shards}, *rows])
    for path in directory.iterdir():
        if path.name not in shards and path.name != MANIFEST:
            path.unlink()  # an attempt on more ranks was ended before its manifest
    files.fsync_directory(directory.parent)


def read_manifest(directory: Path) -> tuple[dict[str, FileEntry], list[dict]]:
    """The shards of a step, with their checksums, and its rows.

    Raises:
        FileNotFoundError: There are no rollouts of this step, or not yet.
        DamagedRecords: The manifest is damaged.
    """
    records = read_record_file(directory / MANIFEST)
    if not records or "shards" not in records[0]:
        raise DamagedRecords(f"{directory / MANIFEST} names no shards")
    return records[0]["shards"], records[1:]


def read_plain(
    directory: Path, step: int, choose: Callable[[list[dict]], list[dict]] = list
) -> tuple[list[dict], Iterator[dict]]:
    """The rollouts of a step as plain data: what is known of each, its prompt and its tokens.

    Args:
        directory: `rollouts/` of a stage.
        step: The first step that trained on them.
        choose: Takes the rows of all, in order, and returns those that are wanted; tokens are read of these alone.

    Returns:
        The rows of all rollouts, without tokens; and those that were chosen, with them: one after the other, because
        numbers of Python take ten times the memory.

    Raises:
        FileNotFoundError: There are no rollouts of this step.
        DamagedRecords: They are damaged.
    """
    path = step_path(directory, step)
    if not (path / MANIFEST).exists():
        rows = read_record_file(older_path(directory, step))
        return rows, iter(choose(rows))
    entries, rows = read_manifest(path)
    chosen = choose(rows)
    names = {shard_name(row["shard"]) for row in chosen}
    if damaged := files.damaged_files(path, {name: entries[name] for name in names}):
        raise DamagedRecords(f"{path} is damaged: {', '.join(damaged)}")
    shards = {name: Shard(path / name) for name in names}
    return rows, (_plain(row, shards[shard_name(row["shard"])].row(row["place"])) for row in chosen)


def _plain(row: dict, drawn: ShardRow) -> dict:
    arrays = {name: None if drawn[name] is None else drawn[name].tolist() for name in COLUMNS}
    return {"prompt": drawn["prompt"], **row, **arrays}
