"""Records as versions before 0.2 wrote them, so that a stage which such a version began can go on.

A line of a log had its checksum in front: 16 hex digits of the SHA-256 and a space for the builders of data, 8 of the
CRC-32 for evaluation. A whole file of rollouts had {"sha256": ...} of all lines before it as its last line.
"""

import hashlib
import json
import zlib


def text_of_line(line: bytes) -> bytes | None:
    """The JSON of a line of an older log, given without its end; None where it is none, or damaged."""
    checksum, _, text = line.partition(b" ")
    if len(checksum) == 16 and checksum == hashlib.sha256(text).hexdigest()[:16].encode():
        return text
    if len(checksum) == 8 and checksum == b"%08x" % zlib.crc32(text):
        return text
    return None


def texts_of_file(content: bytes) -> list[bytes] | None:
    """The JSON of each row of an older file of rollouts; None where it is none, or damaged."""
    lines = content[: content.rfind(b"\n", 0, -1) + 1]
    seal = json.dumps({"sha256": hashlib.sha256(lines).hexdigest()}).encode() + b"\n"
    return lines.splitlines() if lines and content == lines + seal else None
