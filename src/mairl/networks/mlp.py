"""Dense layers on one vector. Unbatched; `vmap` at the call."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

ACTIVATIONS = {
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
}
"""Nonlinearities by the name that configurations use."""


class Linear(eqx.Module):
    """`x @ weight + bias`, with normal initial weights of fan-in scaling (He et al. 2015).

    Not orthogonal ones: a QR factorisation batched over agents and seeds can deadlock on CPUs with two cores
    (seen with jaxlib 0.10.2, where its parallel loop waits for a thread of its own pool).
    """

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]

    @classmethod
    def new(cls, size_in: int, size_out: int, key: Key[Array, ""], scale: float = 2.0**0.5) -> Linear:
        """A layer with weights of standard deviation `scale` / √in and no bias."""
        weight = jax.random.normal(key, (size_in, size_out)) * (scale / size_in**0.5)
        return cls(weight, jnp.zeros(size_out))

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """Applies the layer."""
        return x @ self.weight + self.bias


class MLP(eqx.Module):
    """`depth` hidden layers of `width` units, and a linear output. Dropout acts on hidden units when a key is given."""

    layers: tuple[Linear, ...]
    activation: str = eqx.field(static=True, default="elu")
    dropout: float = eqx.field(static=True, default=0.0)

    @classmethod
    def new(
        cls,
        size_in: int,
        size_out: int,
        *,
        width: int,
        depth: int,
        key: Key[Array, ""],
        activation: str = "elu",
        dropout: float = 0.0,
        out_scale: float = 1.0,
    ) -> MLP:
        """A fresh network; `out_scale` is the gain of the output layer."""
        sizes = [size_in] + [width] * depth
        keys = jax.random.split(key, depth + 1)
        hidden = [Linear.new(a, b, k) for a, b, k in zip(sizes[:-1], sizes[1:], keys[:-1])]
        return cls((*hidden, Linear.new(sizes[-1], size_out, keys[-1], out_scale)), activation, dropout)

    def __call__(self, x: Float[Array, " in"], key: Key[Array, ""] | None = None) -> Float[Array, " out"]:
        """Applies the network; without a key, without dropout."""
        act = ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.layers[:-1]):
            x = act(layer(x))
            if key is not None and self.dropout > 0:
                keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - self.dropout, x.shape)
                x = jnp.where(keep, x / (1 - self.dropout), 0.0)
        return self.layers[-1](x)
