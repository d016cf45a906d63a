"""From the host to the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def on_device(x: Any, dtype: Any = None) -> Array:
    """`jnp.asarray`, without the program that it compiles for every new shape of an array of NumPy's.

    Loading makes arrays of many shapes, and a program costs a hundred times as much as the copy. Both may share the
    array's memory instead of copying it: it must not be written to afterwards.
    """
    if isinstance(x, np.ndarray | np.generic):
        return jax.device_put(np.asarray(x, dtype))
    return jnp.asarray(x, dtype)
