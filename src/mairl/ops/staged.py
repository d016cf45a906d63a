"""A stage of a computation that stays apart from what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def staged(always: Bool[Array, ""], stage: Callable[..., Any], *inputs: Any) -> Any:
    """`stage(*inputs)`, computed once, before what uses it: merged with that, XLA on a CPU would compute it anew for
    every element of larger arrays.

    It stands in a branch that is always taken.

    Args:
        always: true, which the compiler must not be able to tell: from data or from a loop's counter. Where it is
            mapped over by `vmap` the stage is merged after all, and the result is the same.
    """

    def never(*inputs):
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(stage, *inputs))

    return jax.lax.cond(always, stage, never, *inputs)
