"""The header of a safetensors file: names, types and shapes of its tensors, read without the tensors and without torch.

The format: eight bytes with the length of the header, the header as JSON, then the tensors one after the other.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_HEADER = 100_000_000  # bytes; the library's own limit
LFS_POINTER = b"version https://git-lfs"

# Bits of one element of each type that the format knows.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


class BadWeights(ValueError):
    """A file is not a whole safetensors file; the message is a phrase that names it."""


@dataclass(frozen=True)
class TensorEntry:
    """What a header says of one tensor."""

    dtype: str  # as the format writes it: F32, BF16, ...
    shape: tuple[int, ...]
    file: str  # the name of its file


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what Git LFS leaves in the place of a large file that was not fetched."""
    with open(path, "rb") as stream:
        return stream.read(len(LFS_POINTER)) == LFS_POINTER


def raw_header(path: Path) -> dict[str, dict[str, Any]]:
    """The header as it stands: {name: {"dtype", "shape", "data_offsets"}}, whatever follows it in the file.

    Raises:
        BadWeights: The file has no such header.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise BadWeights(f"{path.name} ({size} bytes) is not a safetensors file, or is cut off in its header")
        text = stream.read(length)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise BadWeights(f"the header of {path.name} cannot be read ({error})") from error
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"} if _is_one(header) else None
    if entries is None:
        raise BadWeights(f"the header of {path.name} cannot be read")
    return entries


def _is_one(header: Any) -> bool:
    return isinstance(header, dict) and all(
        name == "__metadata__" or (isinstance(entry, dict) and isinstance(entry.get("shape"), list))
        for name, entry in header.items()
    )


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a file by name.

    Raises:
        BadWeights: It is not a safetensors file, or it is longer or shorter than its header says.
    """
    entries = raw_header(path)
    try:
        ends = [_end_of(path, name, entry) for name, entry in entries.items()]
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, BadWeights):
            raise
        raise BadWeights(f"the header of {path.name} cannot be read ({type(error).__name__}: {error})") from error
    with open(path, "rb") as stream:
        whole = 8 + int.from_bytes(stream.read(8), "little") + max(ends, default=0)
    size = path.stat().st_size
    if size != whole:
        what = "is cut short" if size < whole else "has more bytes than its header says"
        raise BadWeights(f"{path.name} {what}: {size} of {whole} bytes")
    return {name: TensorEntry(entry["dtype"], tuple(entry["shape"]), path.name) for name, entry in entries.items()}


def _end_of(path: Path, name: str, entry: dict) -> int:
    """Where the tensor of a header's entry ends, in bytes; raises BadWeights where its size is not its shape's."""
    begin, end = entry["data_offsets"]
    bits = BITS.get(entry["dtype"])
    if bits is not None and (end - begin) * 8 != bits * math.prod(entry["shape"]):
        raise BadWeights(
            f"{path.name}: the tensor {name} has {end - begin} bytes, which its type and shape do not fill"
        )
    return int(end)
