"""Safetensors files written one tensor at a time, in any order: what is written never lies in memory as a whole.

The header comes first in such a file, so names, types and shapes must be known before the first tensor. The bytes are
those that `safetensors.torch.save_file` writes of the same tensors. A file appears under its name when it is whole.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from stages.contract import files
from stages.runtime.errors import InputError

# What the format calls each type, in the order in which the library puts the tensors of a file.
TYPES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ORDER = {dtype: place for place, dtype in enumerate(TYPES)}
ALIGNMENT = 8  # bytes, of the header


class SafetensorsWriter:
    """One file that is being written; to be used in a with statement, at whose end every tensor must be there.

    Args:
        path: The file; until it is whole it has another name beside it.
        layout: For each name a tensor of the type and shape that will be written, on the meta device for instance.
        metadata: What the header says besides, as `save_file` takes it.
    """

    def __init__(self, path: Path, layout: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None):
        self.path = path
        self.layout = dict(layout)
        self.missing = set(self.layout)
        self._header, self._begins = _header(self.layout, metadata)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._stream: BinaryIO | None = None

    def __enter__(self) -> "SafetensorsWriter":
        self._stream = open(self._temporary, "wb")
        self._stream.write(self._header)
        return self

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Writes one tensor to its place; it has the type and shape of the layout."""
        assert self._stream is not None, "the writer is used in a with statement"
        like = self.layout[name]
        assert tensor.dtype == like.dtype and tensor.shape == like.shape, (name, tensor.dtype, tensor.shape, like)
        self._stream.seek(len(self._header) + self._begins[name])
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        self._stream.write(plain.numpy().data)
        self.missing.discard(name)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        assert self._stream is not None
        try:
            if error is None:
                assert not self.missing, f"{len(self.missing)} tensors of {self.path.name} were not written"
                self._stream.flush()
                os.fsync(self._stream.fileno())
            self._stream.close()
            if error is None:
                os.replace(self._temporary, self.path)
                files.fsync_directory(self.path.parent)
        finally:
            self._temporary.unlink(missing_ok=True)


def _header(layout: dict[str, torch.Tensor], metadata: dict[str, str] | None) -> tuple[bytes, dict[str, int]]:
    """The beginning of a file, and where each tensor begins after it."""
    if unknown := sorted({str(tensor.dtype) for tensor in layout.values()} - {str(dtype) for dtype in TYPES}):
        raise InputError(
            f"weights of type {unknown[0]} cannot be written as safetensors: give the model in bf16 or fp32"
        )
    entries: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    begins = {}
    place = 0
    for name in sorted(layout, key=lambda name: (ORDER[layout[name].dtype], name.encode())):
        tensor = layout[name]
        end = place + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, end],
        }
        begins[name], place = place, end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, begins
