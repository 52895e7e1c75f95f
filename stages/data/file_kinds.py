"""What a file really is, by its first bytes, and what to do about one that holds no rows as it is.

A name says little: a clone of a repository without Git LFS has pointers in the place of its files, a failed download
is a page of HTML, a spreadsheet writes UTF-16. Read as text, such files are rows that make no sense, or none.
"""

import shlex
from pathlib import Path

SNIFFED_BYTES = 4096

GZIP, ZSTD, PARQUET, ARROW_FILE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"
_UTF8_MARK = b"\xef\xbb\xbf"

# The first bytes of files that hold no rows for us: (bytes, what it is, what to do with FILE)
_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive (or an Excel file)", "unpack it with unzip {file}, or export the sheet as CSV"),
    (b"PK\x05\x06", "an empty ZIP archive", "fetch it again"),
    (b"BZh", "compressed by bzip2", "unpack it with bunzip2 -k {file}"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it with unxz -k {file}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it with 7z x {file}"),
    (b"Rar!", "a RAR archive", "unpack it with unrar x {file}"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "unpack it with lz4 -dk {file}"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Office file", "export the sheet as CSV"),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "export a table, as sqlite3 -csv -header {file} 'SELECT * FROM TABLE'",
    ),
    (b"\x89HDF", "an HDF5 file", "write its table as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write its rows as JSON Lines"),
    (b"\x80\x02", "a Python pickle", "write its rows as JSON Lines"),
    (b"\x80\x03", "a Python pickle", "write its rows as JSON Lines"),
    (b"\x80\x04", "a Python pickle", "write its rows as JSON Lines"),
    (b"\x80\x05", "a Python pickle", "write its rows as JSON Lines"),
    (b"ORC", "an ORC file", "write its rows as Parquet"),
    (b"Obj\x01", "an Avro file", "write its rows as Parquet"),
    (b"FEA1", "a Feather file of version 1", "write its rows as Parquet"),
    (b"PARE", "an encrypted Parquet file", "decrypt it"),
    (b"%PDF", "a PDF", "name the file with the rows"),
    (b"\x89PNG", "a picture", "name the file with the rows"),
    (b"\xff\xd8\xff", "a picture", "name the file with the rows"),
)
_LFS = b"version https://git-lfs.github.com/spec/"


def foreign_kind(head: bytes, path: Path) -> str | None:
    """Returns what a file is that holds no rows as it is, and what to do, in one sentence; None for any other file.

    Args:
        head: its first SNIFFED_BYTES bytes, decompressed.
        path: the file, for the advice.
    """
    name, directory = shlex.quote(str(path)), shlex.quote(str(path.parent))
    for magic, what, advice in _FOREIGN:
        if head.startswith(magic):
            return f"is {what}: {advice.format(file=name)}"
    if head[257:262] == b"ustar":
        return f"is a tar archive: unpack it with tar -xf {name}"
    if head.startswith(_LFS):
        return (
            "is a Git LFS pointer, not the data: fetch the data with "
            f"git -C {directory} lfs pull, or the set with `r1 data fetch`"
        )
    start = head.removeprefix(_UTF8_MARK).lstrip()[:400].lower()
    if len(head) < SNIFFED_BYTES and b"annex/objects/" in start and start.count(b"\n") <= 1:
        return f"is a git-annex link, not the data: fetch it with git -C {directory} annex get {shlex.quote(path.name)}"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return f"is a page of {'XML' if start.startswith(b'<?xml') else 'HTML'}, not rows: fetch the file itself again"
    if encoding := _wide_encoding(head):
        converted = shlex.quote(str(path.with_name(f"utf8-{path.name}")))
        return f"is {encoding}, not UTF-8: convert it with iconv -f {encoding} -t UTF-8 {name} > {converted}"
    return None


def is_binary_table(head: bytes) -> bool:
    """Returns whether a file begins as Parquet and Arrow files do, whatever its name is."""
    return head.startswith((PARQUET, ARROW_FILE)) or (head.startswith(ARROW_STREAM) and len(head) >= 8)


def broken_link(path: Path) -> str | None:
    """Returns what a symbolic link without a target is and what to do; None where there is no such link."""
    if not path.is_symlink() or path.exists():
        return None
    target = str(path.readlink())
    directory = shlex.quote(str(path.parent))
    if "annex/objects/" in target:
        return f"is a git-annex link, not the data: fetch it with git -C {directory} annex get {shlex.quote(path.name)}"
    advice = "fetch the set again with `r1 data fetch`" if "/blobs/" in target else "mend or remove the link"
    return f"is a link to {target}, which is not there: {advice}"


def _wide_encoding(head: bytes) -> str | None:
    """The encoding of a text whose characters have two or four bytes, with or without a byte order mark."""
    for mark, encoding in ((b"\xff\xfe\0\0", "UTF-32LE"), (b"\0\0\xfe\xff", "UTF-32BE")):
        if head.startswith(mark):
            return encoding
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"  # iconv reads the mark
    if len(head) < 4:
        return None
    even, odd = head[0::2][:400], head[1::2][:400]
    if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
        return "UTF-16LE"
    if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "UTF-16BE"
    return None
