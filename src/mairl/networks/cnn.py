"""Convolutions as one matrix product over shifted slices.

On CPUs, gradients of grouped convolutions (what `vmap` over agents or seeds turns them into) are many times slower
than the matrix product of the same size; this form has no convolution in it.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mairl.networks.mlp import ACTIVATIONS, MLP, Linear


class Conv3x3(eqx.Module):
    """A 3×3 convolution, stride 1 or 2, zero-padded so that stride 1 keeps the size."""

    linear: Linear
    stride: int = eqx.field(static=True, default=1)

    @classmethod
    def new(cls, channels_in: int, channels_out: int, key: Key[Array, ""], stride: int = 1) -> Conv3x3:
        """A fresh layer."""
        return cls(Linear.new(9 * channels_in, channels_out, key), stride)

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 d"]:
        """Applies the layer."""
        h, w, _ = x.shape
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
        s = self.stride
        shifted = [padded[i : i + h : s, j : j + w : s] for i in range(3) for j in range(3)]
        return jnp.concatenate(shifted, axis=-1) @ self.linear.weight + self.linear.bias


class CNN(eqx.Module):
    """3×3 convolutions on an image `[height, width, channel]` (scaled to about [0, 1]), then an MLP."""

    convolutions: tuple[Conv3x3, ...]
    head: MLP
    activation: str = eqx.field(static=True, default="elu")

    @classmethod
    def new(
        cls,
        shape: tuple[int, int, int],
        size_out: int,
        *,
        channels: int,
        layers: int,
        width: int,
        depth: int,
        key: Key[Array, ""],
        activation: str = "elu",
        dropout: float = 0.0,
        out_scale: float = 1.0,
    ) -> CNN:
        """A fresh network: the first layer keeps the size, each later one halves it."""
        *keys, key_head = jax.random.split(key, layers + 1)
        height, wide, depth_in = shape
        convolutions = []
        for i, k in enumerate(keys):
            stride = 1 if i == 0 else 2
            convolutions.append(Conv3x3.new(depth_in, channels, k, stride))
            height, wide, depth_in = -(-height // stride), -(-wide // stride), channels
        head = MLP.new(
            height * wide * channels,
            size_out,
            width=width,
            depth=depth,
            key=key_head,
            activation=activation,
            dropout=dropout,
            out_scale=out_scale,
        )
        return cls(tuple(convolutions), head, activation)

    def __call__(self, x: Float[Array, "h w c"], key: Key[Array, ""] | None = None) -> Float[Array, " out"]:
        """Applies the network; without a key, without dropout."""
        act = ACTIVATIONS[self.activation]
        for layer in self.convolutions:
            x = act(layer(x))
        return self.head(x.reshape(-1), key)
