"""Normals whose samples are clipped to a box before they are played: how likely a played action is.

Clipping gathers the tails at the bounds, so an action at a bound has a probability and one inside has a density
(Fujita & Maeda 2018, arXiv:1802.07564, Eq. 6). The density of the unclipped normal in its place would move means
further out of the box with every update, until ratios of likelihoods overflow.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def clipped_normal_log_prob(
    actions: Float[Array, "*b size"],
    mean: Float[Array, "*b size"],
    log_std: Float[Array, "*#b size"],
    low: float,
    high: float,
) -> Float[Array, "*b"]:
    """log-likelihood of clip(mean + exp(log_std) · ε, low, high), independent components, in nats.

    Actions at or beyond a bound count as at it.
    """
    std = jnp.exp(log_std)
    inside = jax.scipy.stats.norm.logpdf(actions, mean, std)
    below = jax.scipy.special.log_ndtr((low - mean) / std)
    above = jax.scipy.special.log_ndtr((mean - high) / std)
    return jnp.sum(jnp.where(actions <= low, below, jnp.where(actions >= high, above, inside)), axis=-1)
