"""Human play in Overcooked: the trials that the package `overcooked-ai` 1.1.0 ships (Carroll et al. 2019).

They are found in the installed package without importing it, and read by an unpickler that knows only the few
constructors of an old pandas table and runs none of them. Their licence is unclear, so they stay where they are.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mairl.core.errors import InvalidData
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations
from mairl.games.overcooked.game import Overcooked
from mairl.games.overcooked.layout import ALIASES
from mairl.games.overcooked.types import DISH, NOTHING, ONION, SOUP, OvercookedState

FILES = {"train": "clean_train_trials.pickle", "test": "clean_test_trials.pickle"}
INSTALL = "pip install --no-deps overcooked-ai==1.1.0"
OBJECTS = {"onion": ONION, "dish": DISH}
FACING = {(0, -1): 0, (0, 1): 1, (1, 0): 2, (-1, 0): 3}
PAID = {0: 0.0, 5: 20.0, 20: 20.0}
"""Recorded reward of a step to points: the experiment paid 5 a soup, the game counts 20."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One pair of people in one kitchen.

    Attributes:
        layout: name of the kitchen.
        trial: the recording's number of it.
        split: "train" or "test".
        states: of every recorded step, leaves `[step, ...]`.
        actions: `[step, 2]`.
        reward: `[step]` points for the pair.
    """

    layout: str
    trial: str
    split: str
    states: OvercookedState
    actions: np.ndarray
    reward: np.ndarray


def find_files(path: str | Path | None = None) -> dict[str, Path]:
    """Where the recordings are: below `path`, or in the installed package.

    Raises:
        InvalidData: they are not there, with how to get them.
    """
    if path is None:
        spec = importlib.util.find_spec("overcooked_ai_py")
        if spec is None or not spec.submodule_search_locations:
            raise InvalidData(f"overcooked-ai is not installed and no path was given: {INSTALL}, or name a folder")
        root = Path(next(iter(spec.submodule_search_locations)))
    else:
        root = Path(path)
        if root.is_file():
            split = next((s for s, n in FILES.items() if n == root.name), "train")
            return {split: root}
    found = {split: hit for split, name in FILES.items() if (hit := next(iter(sorted(root.rglob(name))), None))}
    if not found:
        raise InvalidData(f"no {' or '.join(FILES.values())} below {root}: {INSTALL}, or name the folder that has them")
    return found


class _Inert:
    """What stands in for any class that the pickle names: it keeps its arguments and state and does nothing."""

    def __init__(self, *arguments, **named):
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state):
        self.state = state


def _new_inert(*arguments):
    return _Inert(*arguments)


class _Array:
    """Stands in for NumPy's array reconstruction: keeps shape and items of object arrays, numbers of plain ones."""

    def __init__(self, *arguments):
        self.items: Any = None

    def __setstate__(self, state):
        _, shape, dtype, _, items = state
        if isinstance(items, list):
            self.items = np.empty(len(items), object)
            self.items[:] = items
            self.items = self.items.reshape(shape, order="F" if state[3] else "C")
        else:
            kind = dtype.arguments[0] if isinstance(dtype, _Inert) else "i8"
            self.items = np.frombuffer(items, np.dtype(kind)).reshape(shape, order="F" if state[3] else "C")


_ALLOWED = {
    ("pandas.core.frame", "DataFrame"): _Inert,
    ("pandas.core.internals.managers", "BlockManager"): _Inert,
    ("pandas.core.internals", "BlockManager"): _Inert,
    ("pandas.core.indexes.base", "_new_Index"): _new_inert,
    ("pandas.core.indexes.base", "Index"): _Inert,
    ("pandas.core.indexes.numeric", "Int64Index"): _Inert,
    ("pandas.core.indexes.range", "RangeIndex"): _Inert,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Inert,
    ("numpy", "dtype"): _Inert,
    ("numpy.core.multiarray", "scalar"): _Inert,
    ("builtins", "slice"): slice,
}


class _Reader(pickle.Unpickler):
    """Knows a fixed list of names, all of them inert; anything else ends in an error."""

    def find_class(self, module: str, name: str):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise InvalidData(f"the file asks for {module}.{name}, which no recording needs: it was not made by overcooked-ai 1.1.0") from None


def read_table(file: Path) -> dict[str, np.ndarray]:
    """The columns of a pickled table, `[row]` each.

    Raises:
        InvalidData: a cut, damaged or hostile file. Nothing in it is executed.
    """
    try:
        frame = _Reader(io.BytesIO(file.read_bytes())).load()
        state = frame.state
        manager = state["_data"] if "_data" in state else state["_mgr"]
        axes, values, items = manager.state[0], manager.state[1], manager.state[2]
        names = _index(axes[0])
        columns: dict[str, np.ndarray] = {}
        for block, which in zip(values, items):
            data = block.items
            for row, name in zip(np.atleast_2d(data), _index(which)):
                columns[str(name)] = row
        missing = {"state", "joint_action", "reward", "layout_name", "trial_id"} - set(map(str, names))
    except InvalidData as error:
        raise InvalidData(f"{file}: {error}") from error
    except Exception as error:  # any byte may be wrong, so any exception may come
        raise InvalidData(f"{file} is cut or damaged ({type(error).__name__}: {error}): install it again ({INSTALL})") from error
    if missing:
        raise InvalidData(f"{file} lacks the columns {', '.join(sorted(missing))}: it was not made by overcooked-ai 1.1.0")
    return columns


def _index(index) -> list:
    """The labels of a pickled pandas index."""
    return list(index.arguments[1]["data"].items)
