"""Several of the same kind in one tree: their arrays stacked on the first axis."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np


def one_of(stacked: Any, index: Any) -> Any:
    """The one at `index`; what is no array is the same for all. A slice or an array of indices: several, stacked."""
    arrays, rest = eqx.partition(stacked, eqx.is_array)
    if isinstance(index, slice):
        taken = jax.tree.map(lambda x: x[index], arrays)
    else:
        taken = _taken(arrays, np.int32(index) if isinstance(index, int) else index)
    return eqx.combine(taken, rest)


@jax.jit
def _taken(arrays: Any, index: Any) -> Any:
    # One program for a tree, rather than several for each of its arrays.
    return jax.tree.map(lambda x: x[index], arrays)
