"""Folders that appear only when complete."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path


def put_in_place(finished: Path, path: Path) -> None:
    """Makes a finished folder `path`, in place of what is there, and makes sure that all of it is on the disk.

    Killed at any moment, it leaves the old one or the new one whole; the old one perhaps under a name `{path}.KEY.old`
    that is nobody else's.

    Args:
        finished: on the same file system.
    """
    for file in [*finished.rglob("*"), finished]:
        sync(file)
    old = path.with_name(f"{path.name}.{uuid.uuid4().hex}.old")
    if path.exists():  # Moved aside, not deleted: a kill between the two renames loses nothing.
        os.rename(path, old)
    os.rename(finished, path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(file: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
