"""Reads pickles as data: arrays, numbers, text and containers, and nothing else. Nothing in a file is executed."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.data.pickle_machine import Inert, Machine, plain

LARGEST = 1 << 28
"""Bytes of a file."""

MOST_DIMENSIONS = 8


class DType(Inert):
    """Stands in for `numpy.dtype`: booleans, numbers, text and objects."""

    def resolved(self) -> np.dtype:
        """The NumPy type.

        Raises:
            InvalidData: another kind, such as a record.
        """
        code = self.arguments[0] if self.arguments else ""
        if not isinstance(code, str) or not re.fullmatch(r"[biufSUO][1-9][0-9]{0,7}", code):
            raise InvalidData("it holds an array whose items are not plain numbers, text or objects")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        try:
            return np.dtype("O") if code[0] == "O" else np.dtype((">" if order == ">" else "<") + code)
        except (TypeError, ValueError) as error:
            raise InvalidData(f"it holds an array of the unknown type {code!r}") from error


class Array(Inert):
    """Stands in for a NumPy array, under the names of NumPy 1 and 2.

    Attributes:
        items: the array, once its state is set; read-only views of the file's bytes.
    """

    items: np.ndarray | None = None

    def set_state(self, state) -> None:
        """From (version, shape, dtype, column-major, bytes or list of objects)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise InvalidData("it holds an array without shape and items")
        self.items = _array(state[4], state[2], state[1], state[3])

    @staticmethod
    def from_buffer(data, dtype, shape, order) -> Array:
        """The form of protocol 5."""
        made = Array()
        made.items = _array(data, dtype, shape, order == "F")
        return made


def _array(data, dtype, shape, column_major) -> np.ndarray:
    if not isinstance(dtype, DType) or not isinstance(shape, tuple) or len(shape) > MOST_DIMENSIONS:
        raise InvalidData("it holds an array without a shape or a type")
    if not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise InvalidData("it holds an array whose shape is no list of sizes")
    kind, size = dtype.resolved(), 1
    for n in shape:
        size *= n
    if not size and (len(shape) > 2 or max(shape) > 1_000_000):
        raise InvalidData(f"it holds an array of shape {shape}: so many rows of nothing")
    order = "F" if column_major else "C"
    if kind == np.dtype("O"):
        if not isinstance(data, list) or len(data) != size:
            raise InvalidData(f"it holds an array of shape {shape} without its {size} items")
        items = np.empty(size, object)
        for k, item in enumerate(data):
            items[k] = item
        return items.reshape(shape, order=order)
    if not isinstance(data, bytes) or len(data) != size * kind.itemsize:
        raise InvalidData(f"it holds an array of shape {shape} without its {size} items of {kind.itemsize} bytes")
    return np.frombuffer(data, kind).reshape(shape, order=order)


def _scalar(dtype, data) -> Any:
    return _array(data, dtype, (), False).item()


def _latin(text, encoding="") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise InvalidData("it encodes text in an unknown way")
    return text.encode("latin1")


def _collection(*items) -> set:
    if len(items) > 1 or not all(isinstance(part, (list, tuple, set, frozenset)) for part in items):
        raise InvalidData("it makes a set of something else than a list")
    return {plain(item) for part in items for item in part}


def _no_bytes() -> bytes:
    """How protocol 2 writes an empty string of bytes."""
    return b""


def _mapping(*arguments) -> dict:
    """Defaults and orders are of no use to a reader: the entries follow on their own."""
    return {}


NUMPY: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): Inert,
    ("numpy", "dtype"): DType,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", Array.from_buffer),
        )
    },
}
"""What arrays, scalars and their types need."""

CONTAINERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _latin,
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): _mapping,
    **{
        (module, name): stand_in
        for module in ("builtins", "__builtin__")
        for name, stand_in in (
            ("set", _collection),
            ("frozenset", _collection),
            ("int", Inert),
            ("list", Inert),
            ("long", Inert),
            ("bytes", _no_bytes),
        )
    },
}
"""What bytes, sets and dictionaries of older protocols need."""


def loads(data: bytes, allowed: Mapping[tuple[str, str], Callable[..., Any]], largest: int = LARGEST) -> Any:
    """The value that a pickle describes. Nothing in it is executed.

    Args:
        data: a whole pickle; what follows its end is not read.
        allowed: (module, name) to what is called in its place; `Inert`s among the results get their state set.
        largest: bytes beyond which it is refused.

    Returns:
        Lists, tuples, dictionaries, sets, numbers, text, bytes, and what the stand-ins made (arrays as `Array`).

    Raises:
        InvalidData: a cut, damaged, hostile or too large pickle, or one that asks for other names.
    """
    if len(data) > largest:
        raise InvalidData(f"it has {len(data)} bytes, expected at most {largest}")
    try:
        return Machine(data, allowed).run()
    except InvalidData:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        raise InvalidData(f"it is cut or damaged ({type(error).__name__})") from error
    except (MemoryError, RecursionError) as error:
        raise InvalidData(f"it needs more memory than there is ({type(error).__name__})") from error
