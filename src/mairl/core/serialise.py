"""Modules as plain data: a JSON tree that names classes and static fields, and an NPZ with the arrays.

No pickle. Only `eqx.Module`s and frozen dataclasses from allowed packages are rebuilt; third parties add theirs with
`allow`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidData
from mairl.core.stacked import one_of

_allowed = {"mairl", "equinox"}


def allow(package: str) -> None:
    """Lets modules defined in `package` be rebuilt by `load_module`."""
    _allowed.add(package)


def save_module(module: Any, folder: Path, name: str) -> None:
    """Writes `{name}.json` and `{name}.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    tree = encode(module, arrays, name)
    np.savez_compressed(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    (folder / f"{name}.json").write_text(json.dumps({"format": 1, "tree": tree}, indent=1))


def load_module(folder: Path, name: str, kind: type, seed: int | None = None) -> Any:
    """Rebuilds what `save_module` wrote, checking that it is a `kind`.

    Args:
        seed: picks one of several that were saved stacked, by its index.

    Raises:
        InvalidData: missing or damaged files, classes that are not allowed, another kind, or no such seed.
    """
    try:
        tree = json.loads((folder / f"{name}.json").read_text())["tree"]
        # Opened here: of a damaged file NumPy would leave its own open.
        with (folder / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
        module = decode(tree, arrays)
    except FileNotFoundError as error:
        raise InvalidData(f"{error.filename} is missing: is {folder} a complete result?") from error
    except (LookupError, ValueError, TypeError, AttributeError, ImportError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidData(f"{folder}/{name}.json and .npz cannot be read: {error}") from error
    if not isinstance(module, kind):
        raise InvalidData(f"{folder}/{name}.json holds a {type(module).__name__}, not a {kind.__name__}")
    if seed is not None:
        stacked = min((x.shape[0] for x in jax.tree.leaves(module) if eqx.is_array(x) and x.ndim), default=0)
        if not -stacked <= seed < stacked:
            raise InvalidData(f"{folder} holds {stacked} seeds: there is no seed {seed}, counted from 0")
        module = one_of(module, seed)
    return module


def encode(value: Any, arrays: dict[str, np.ndarray], path: str) -> Any:
    """A value as plain JSON-able data; its arrays go into `arrays` under dotted names that start with `path`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, jax.Array | np.ndarray):
        arrays[path] = np.asarray(value)
        return {"array": path}
    if isinstance(value, jax.ShapeDtypeStruct):
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [encode(v, arrays, f"{path}.{i}") for i, v in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": {k: encode(v, arrays, f"{path}.{k}") for k, v in value.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {f.name: encode(getattr(value, f.name), arrays, f"{path}.{f.name}") for f in dataclasses.fields(value)}
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "fields": fields}
    raise TypeError(f"{path} is a {type(value).__name__}, which cannot be written as plain data")


def decode(tree: Any, arrays: dict[str, np.ndarray], leaf=on_device) -> Any:
    """The inverse of `encode`; `leaf` makes the arrays.

    Raises:
        ValueError, KeyError: classes that are not allowed or have changed, arrays that are missing.
    """
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return leaf(arrays[tree["array"]])
    if "shape" in tree:
        return jax.ShapeDtypeStruct(tuple(tree["shape"]), jnp.dtype(tree["dtype"]))
    if "list" in tree:
        return [decode(v, arrays, leaf) for v in tree["list"]]
    if "tuple" in tree:
        return tuple(decode(v, arrays, leaf) for v in tree["tuple"])
    if "dict" in tree:
        return {k: decode(v, arrays, leaf) for k, v in tree["dict"].items()}
    module_name, _, qualname = tree["class"].partition(":")
    if module_name.split(".")[0] not in _allowed or not qualname.isidentifier():
        raise ValueError(f"class {tree['class']} is not allowed; see mairl.core.serialise.allow")
    cls = getattr(importlib.import_module(module_name), qualname)
    if not dataclasses.is_dataclass(cls):
        raise ValueError(f"{tree['class']} is not a module")
    module: Any = object.__new__(cls)  # type: ignore[arg-type]
    # A field that came later has a default that means what was meant before.
    later = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    names = {f.name for f in dataclasses.fields(cls)}
    changed = {name for name in names ^ set(tree["fields"]) if name not in later or name not in names}
    if changed:
        raise ValueError(f"{qualname} has other fields than when it was saved: {sorted(changed)}")
    for name, value in later.items():
        object.__setattr__(module, name, value)
    for name, value in tree["fields"].items():
        object.__setattr__(module, name, decode(value, arrays, leaf))
    return module
