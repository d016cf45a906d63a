"""Values out of a ScenarioNet pickle, each checked before it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.data.restricted_pickle import Array

LONGEST = 1_000_000
"""Items of a list of points."""


def mapping(value: Any, field: str) -> dict:
    """The dictionary that must be there."""
    if type(value) is not dict:
        raise InvalidData(f"{field} is of type {type(value).__name__}, expected a dictionary")
    return value


def get(record: dict, name: str, where: str) -> Any:
    """The entry that must be there."""
    if name not in record:
        raise InvalidData(f"{where} lacks {name!r}")
    return record[name]


def text(value: Any, field: str) -> str:
    """A name: text, or a whole number that stands for one."""
    if type(value) is str and value:
        return value
    if type(value) is int:
        return str(value)
    raise InvalidData(f"{field} has a name of type {type(value).__name__}, expected text")


def plain(value: Any) -> Any:
    """An array as lists; anything else as it is."""
    return value.items.tolist() if isinstance(value, Array) and value.items is not None else value


def numbers(value: Any, field: str, shape: tuple) -> np.ndarray:
    """Float64 of this shape, from an array or lists.

    Args:
        shape: sizes; None for any, a tuple for one of several. A last axis of size 1 too many is dropped.

    Raises:
        InvalidData: something else than numbers, or another shape.
    """
    if isinstance(value, Array) and value.items is not None:
        found = value.items
    elif type(value) in (list, tuple):
        found = _listed(value, field)
    else:
        raise InvalidData(f"{field} is of type {type(value).__name__}, expected an array")
    if found.dtype.kind not in "biuf":
        raise InvalidData(f"{field} holds no numbers but {found.dtype}")
    if found.ndim == len(shape) + 1 and found.shape[-1] == 1:
        found = found[..., 0]
    fits = found.ndim == len(shape) and all(
        want is None or size == want or (isinstance(want, tuple) and size in want)
        for size, want in zip(found.shape, shape)
    )
    if not fits or found.size > 4 * LONGEST:
        raise InvalidData(f"{field} has shape {found.shape}, expected {shape}")
    return found.astype(np.float64)


def _listed(value: Any, field: str) -> np.ndarray:
    """Numbers, or points of up to four numbers: deeper or wider lists, which may share parts, are not walked."""
    if len(value) > LONGEST:
        raise InvalidData(f"{field} has {len(value)} items, expected at most {LONGEST}")
    rows: list[Any] = [list(row.items.tolist()) if _is_point(row) else row for row in value]
    width = len(rows[0]) if rows and type(rows[0]) in (list, tuple) else None
    flat = rows
    if width is not None:
        if width > 4 or not all(type(row) in (list, tuple) and len(row) == width for row in rows):
            raise InvalidData(f"{field} is no list of points of the same size")
        flat = [x for row in rows for x in row]
    if not set(map(type, flat)) <= {int, float, bool}:
        wrong = next(x for x in flat if type(x) not in (int, float, bool))
        raise InvalidData(f"{field} holds a {type(wrong).__name__}, expected numbers")
    made = np.array(flat, np.float64)
    return made if width is None else made.reshape(len(rows), width)


def _is_point(row: Any) -> bool:
    return isinstance(row, Array) and row.items is not None and row.items.ndim == 1 and row.items.size <= 4
