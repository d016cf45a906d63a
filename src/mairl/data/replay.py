"""A ring of past play, kept on the device."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from mairl.core.transition import Transition


class Replay(eqx.Module):
    """The newest `capacity` steps of play.

    Attributes:
        storage: leaves `[capacity, ...]`.
        added: steps added so far; the ring holds the last `min(added, capacity)`.
    """

    storage: Transition
    added: Int[Array, ""]

    @classmethod
    def like(cls, transition: Transition, capacity: int) -> Replay:
        """An empty ring for steps shaped as in `transition` (one step, arrays or shapes, no leading axis)."""
        zeros = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), transition)
        return cls(zeros, jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        """How many steps fit."""
        return self.storage.truncated.shape[0]

    @property
    def size(self) -> Int[Array, ""]:
        """How many steps are held."""
        return jnp.minimum(self.added, self.capacity)

    def add(self, steps: Transition) -> Replay:
        """Adds a block `[block, ...]`. `capacity` must be a multiple of every block's length: a block never wraps."""
        block = steps.truncated.shape[0]
        if self.capacity % block:
            raise ValueError(f"the ring's capacity {self.capacity} is no multiple of a block of {block} steps")
        at = self.added % self.capacity
        storage = jax.tree.map(lambda s, x: jax.lax.dynamic_update_slice_in_dim(s, x, at, 0), self.storage, steps)
        return Replay(storage, self.added + block)

    def sample(self, key: Key[Array, ""], batch: int) -> Transition:
        """`batch` held steps, uniform with replacement."""
        index = jax.random.randint(key, (batch,), 0, self.size)
        return jax.tree.map(lambda x: x[index], self.storage)
