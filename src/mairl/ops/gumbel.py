"""Choices that gradients pass through: the Gumbel-softmax, straight through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def straight_through(
    key: Key[Array, ""], logits: Float[Array, "*b action"], temperature: float
) -> Float[Array, "*b action"]:
    """A draw from softmax(logits) as a one-hot vector, with a gradient (Jang et al. 2017, arXiv:1611.01144, §2.2).

    With Gumbel noise g the value is the one-hot of argmax(logits + g), which is distributed as the softmax; the
    gradient is that of softmax((logits + g) / temperature). Logits of forbidden actions are -inf; one at least is not.
    """
    noisy = logits + jax.random.gumbel(key, logits.shape)
    soft = jax.nn.softmax(noisy / temperature, axis=-1)
    hard = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), logits.shape[-1])
    # In this order the value is exactly 0 or 1.
    return hard + (soft - jax.lax.stop_gradient(soft))
