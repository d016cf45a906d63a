"""What a run was asked for, as plain data: two runs of equal settings have equal results, on one machine.

It is written before a run begins, so that nobody goes on with another run's checkpoint, and stands in its `run.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mairl.core.errors import InvalidData, Unsupported
from mairl.core.game import MarkovGame
from mairl.data.demonstrations import Demonstrations

AT_LEAST = {
    **dict.fromkeys(("batch", "updates", "num_envs", "num_steps", "buffer", "epochs", "minibatches", "width"), 1),
    **dict.fromkeys(("anneal", "learning_rate", "reward_learning_rate", "weight_decay", "reward_l2"), 0),
}
ABOVE = ("alpha", "rationality", "max_grad_norm")
SHARES = ("discount", "target_rate", "trace", "epsilon", "final_epsilon", "label_smoothing")
"""Learners' fields by name: the least value, values above 0, and values from 0 to 1. Names mean the same everywhere."""


def check_ranges(algorithm: Any) -> None:
    """Refuses a learner's field, or one of what it is made of, outside of its range.

    Raises:
        Unsupported: with the field, its value and the range.
    """
    for field in dataclasses.fields(algorithm):
        value = getattr(algorithm, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        least = AT_LEAST.get(field.name)
        wrong = None
        if least is not None and not value >= least:
            wrong = f"must be at least {least}"
        elif field.name in ABOVE and not value > 0:
            wrong = "must be above 0"
        elif field.name in SHARES and not 0 <= value <= 1:
            wrong = "must be from 0 to 1"
        if wrong is not None:
            raise Unsupported(f"{type(algorithm).__name__}'s {field.name} {wrong}, got {value}")


def settings(algorithm: Any, game: MarkovGame, data: Demonstrations | None, **asked: Any) -> dict[str, Any]:
    """A learner's configuration, which game and recording it is given, and what else was asked for (`asked`)."""
    return plain(
        {
            "algorithm": {"name": type(algorithm).__name__, "config": algorithm},
            "game_digest": digest(game),
            "recording_digest": None if data is None else digest(data),
            **asked,
        }
    )


def plain(value: Any) -> Any:
    """A configuration (nested frozen dataclasses and modules) as plain JSON-able data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # Where an object lies in memory says nothing of it.
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def digest(value: Any) -> str:
    """Of everything that a module holds: its class, its fields, and every number in its arrays."""
    found = hashlib.blake2b(f"{type(value).__module__}.{type(value).__qualname__}".encode(), digest_size=16)
    if dataclasses.is_dataclass(value):
        found.update(json.dumps(plain(value), sort_keys=True).encode())
    # Printed arrays are cut short: their numbers count, too.
    for array in jax.tree.leaves(value):
        if isinstance(array, jax.Array | np.ndarray) and not jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            found.update(f"{array.shape}{array.dtype}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Where two settings differ, in words: "learning_rate 0.001, not 0.01"."""
    found = []
    for name, value in asked.items():
        if name not in known or known[name] == value:
            continue
        if isinstance(value, dict) and isinstance(known[name], dict):
            found += differences(known[name], value)
        elif name.endswith("_digest"):
            found.append(f"another {name.removesuffix('_digest')}")
        else:
            found.append(f"{name} {known[name]}, not {value}")
    return found


def check_same(
    path: Path, asked: Mapping[str, Any], what: str, remedy: str = "choose another folder, or remove it"
) -> None:
    """Refuses to go on with work that was begun with other settings, as far as the file names them.

    Args:
        path: JSON with the settings that were asked for then.
        what, remedy: name the work and what else can be done, in the message.

    Raises:
        InvalidData: with the differences and the remedy.
    """
    try:
        begun = json.loads(path.read_text())
    except ValueError:
        begun = None
    if not isinstance(begun, dict):
        raise InvalidData(f"{path} is damaged, {what} cannot be gone on with: {remedy}")
    if different := differences(begun, asked):
        raise InvalidData(f"{what} has {'; '.join(different)}: ask for the same, or {remedy}")
