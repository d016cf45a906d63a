"""The formats that can be imported, and which of them a file is in, by its content."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from mairl.core.errors import InvalidData, MissingPackage
from mairl.scenarios.schema import Scenario

FORMATS = {
    "waymo": "mairl.scenarios.waymo",
    "gpudrive": "mairl.scenarios.gpudrive",
    "scenarionet": "mairl.scenarios.scenarionet",
    "commonroad": "mairl.scenarios.commonroad",
    "argoverse2": "mairl.scenarios.argoverse2",
}
"""Format to the module that reads it, imported when it is used."""

HEAD = 1 << 16
"""Bytes of a file by which its format is known."""


class Reader(Protocol):
    """What a module of `FORMATS` offers."""

    FORMAT: str
    NAMES: str
    """A regular expression for the names that files of this format usually have, whole and in small letters: so a file
    is noticed that is damaged where its content would show the format."""

    def knows(self, head: bytes) -> bool:
        """The file that starts with these (up to `HEAD`) bytes is in this format, whatever its name."""
        ...

    def other(self, path: Path) -> bool:
        """The file, whatever its name, is whole and of another kind: in a folder it is passed over."""
        ...

    def read(self, path: Path) -> Iterator[Scenario | InvalidData]:
        """One validated scenario a record, in file order; for a bad record, an error that is yielded, not raised."""
        ...


def reader(name: str, formats: Mapping[str, str] = FORMATS) -> Reader:
    """The reader of a format.

    Raises:
        InvalidData: there is no such format; `MissingPackage`: a package that it needs is absent.
    """
    if name not in formats:
        raise InvalidData(f"there is no format {name!r}; there are {', '.join(formats)}")
    try:
        return cast(Reader, import_module(formats[name]))
    except ImportError as error:
        raise MissingPackage(f"the format {name} cannot be read: {error}") from error


def find(
    paths: Iterable[Path], name: str, formats: Mapping[str, str] = FORMATS, *, skip_bad: bool = False
) -> list[Path]:
    """The files to import, each once: those given, in order, and for a folder all in it (and below) that are in the
    format, or seem to be damaged files of it, in the order of their names. What is wrong with the latter, the reader
    says.

    Args:
        skip_bad: a given file that is not in the format is left to the reader, too, and so is a folder with nothing
            but damaged files.

    Raises:
        InvalidData: a given file is not in the format, or a folder holds none that is; says what there is instead.
    """
    asked = reader(name, formats)
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            files = list(_below(path))
            other = _other(asked)
            known = {file for file in files if asked.knows(_head(file)) and not other(file)}
            bad = {
                file for file in files if file not in known and not other(file) and _seems_damaged(file, asked, formats)
            }
            if not known and not (skip_bad and bad):
                seen = sorted({looks_like(_head(file), formats) for file in files[:1000]})
                what = f"{len(files)} files; they look like {', '.join(seen)}" if files else "no files"
                such = f" ({min(bad)} seems to be damaged)" if bad else ""
                raise InvalidData(f"{path} holds nothing in the format {name}: it has {what}{such}")
            chosen = [file for file in files if file in known or file in bad]
        elif path.is_file():
            head, chosen = _head(path), [path]
            if not skip_bad and not asked.knows(head):
                raise InvalidData(f"{path} is not in the format {name}: it looks like {looks_like(head, formats)}")
        else:
            raise InvalidData(f"{path} is neither a file nor a folder")
        found.update((file.resolve(), file) for file in chosen if file.resolve() not in found)
    if not found:
        raise InvalidData("name the files or folders to import")
    return list(found.values())


def _seems_damaged(file: Path, asked: Reader, formats: Mapping[str, str]) -> bool:
    """A file that is not in the format should be: no reader knows it, and it is named like one, or empty.

    Names that begin with a dot or an underline are those of what tools leave behind (`._a.json`, `_SUCCESS`).
    """
    if file.name.startswith((".", "_")):
        return False
    head = _head(file)
    if not head:
        return True
    return re.fullmatch(asked.NAMES, file.name.lower()) is not None and looks_like(head, formats) not in formats


def looks_like(head: bytes, formats: Mapping[str, str] = FORMATS) -> str:
    """What a file that starts so may be, in a few words."""
    for name in formats:
        # A format whose own packages are missing is not guessed at.
        with contextlib.suppress(MissingPackage):
            if reader(name, formats).knows(head):
                return name
    if not head:
        return "an empty file"
    signs: Sequence[tuple[bytes, str]] = (
        (b"PAR1", "a Parquet table"),
        (b"\x1f\x8b", "a gzip archive: unpack it first"),
        (b"PK\x03\x04", "a ZIP archive: unpack it first"),
        (b"BZh", "a bzip2 archive: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
        (b"\x80", "a Python pickle"),
        (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself first"),
    )
    for sign, what in signs:
        if head.startswith(sign):
            return what
    if b"ustar" in head[257:265]:
        return "a tar archive: unpack it first"
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    if text.startswith(("{", "[")):
        return "JSON of another kind"
    if text.startswith("<"):
        return "XML of another kind"
    return "text" if b"\0" not in head and len(text.encode()) > 0.9 * len(head.strip()) else "an unknown binary file"


def _below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(error) from error

    entered = set()
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in entered:  # A link back up, or to a folder that was seen.
            folders.clear()
            continue
        entered.add((about.st_dev, about.st_ino))
        # What this library has written, or is writing, is no source.
        folders[:] = sorted(name for name in folders if not name.endswith(".partial") and not _written(place, name))
        yield from (path for name in sorted(files) if (path := Path(place, name)).is_file())


def _other(asked: Reader) -> Callable[[Path], bool]:
    """`Reader.other`, asked once for each file; readers of others need not have it."""
    return functools.cache(getattr(asked, "other", lambda path: False))


def _written(place: str, name: str) -> bool:
    """The folder is a STORE of scenarios."""
    try:
        facts = json.loads(Path(place, name, "metadata.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and facts.get("format") == "scenarios" and "shards" in facts


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> InvalidData:
    return InvalidData(f"{error.filename} cannot be read: {error.strerror}")
