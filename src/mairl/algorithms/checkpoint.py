"""A tree as what a checkpoint holds, and back."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp


def arrays_of(tree) -> dict[str, Any]:
    """All arrays of a tree by position, keys as plain integers: what a checkpoint holds."""
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    return {f"{i:05d}": jax.random.key_data(x) if _is_key(x) else x for i, x in enumerate(leaves)}


def with_arrays(tree, arrays: dict[str, Any]):
    """The tree with the arrays that `arrays_of` took from one like it."""
    dynamic, static = eqx.partition(tree, eqx.is_array)
    leaves, structure = jax.tree.flatten(dynamic)
    new = [
        jax.random.wrap_key_data(jnp.asarray(arrays[f"{i:05d}"]))
        if _is_key(x)
        else jnp.asarray(arrays[f"{i:05d}"], x.dtype)
        for i, x in enumerate(leaves)
    ]
    return eqx.combine(jax.tree.unflatten(structure, new), static)


def _is_key(x) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
