"""Angles. In float32 by short polynomials: XLA's own inverse functions take most of a step's time on a CPU."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array


def wrapped(angle: Array) -> Array:
    """The same angle in [-π, π)."""
    return angle - 2 * jnp.pi * jnp.floor((angle + jnp.pi) / (2 * jnp.pi))


def arcsin(x: Array) -> Array:
    """arcsin of |x| ≤ 1 within 3e-7 in float32 (the coefficients of Cephes' single-precision asinf)."""
    if x.dtype == jnp.float64:
        return jnp.arcsin(x)
    size = jnp.abs(x)
    large = size > 0.5
    z = jnp.where(large, 0.5 * (1 - size), size * size)
    root = jnp.where(large, jnp.sqrt(z), size)
    tail = (((4.2163199048e-2 * z + 2.4181311049e-2) * z + 4.5470025998e-2) * z + 7.4953002686e-2) * z
    small = root + root * z * (tail + 1.6666752422e-1)
    return jnp.sign(x) * jnp.where(large, jnp.pi / 2 - 2 * small, small)


def arctan(x: Array) -> Array:
    """arctan of |x| ≤ 2.4 within 3e-7 in float32 (the coefficients of Cephes' single-precision atanf)."""
    if x.dtype == jnp.float64:
        return jnp.arctan(x)
    size = jnp.abs(x)
    large = size > 0.4142135623730950
    y = jnp.where(large, (size - 1) / (size + 1), size)
    z = y * y
    tail = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1
    return jnp.sign(x) * (jnp.where(large, jnp.pi / 4, 0.0) + tail * z * y + y)
