"""Several of the same kind in one tree: their arrays stacked on the first axis."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax


def one_of(stacked: Any, index: Any) -> Any:
    """The one at `index`; what is no array is the same for all. A slice or an array of indices: several, stacked."""
    return jax.tree.map(lambda x: x[index] if eqx.is_array(x) else x, stacked)
