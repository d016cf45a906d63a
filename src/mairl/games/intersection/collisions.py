"""Two equal boxes: do they overlap, will they, and what parts them? By separating axes, in scalars.

Along an axis n the first box has its centre at c = n·(p₁ - p₂) and reaches r₁ to each side, the second one r₂ about 0.
The first one's interval grows by the relative motion m = n·(v₁ - v₂) dt. highway-env measures the overlap of two
intervals from the side of the one that begins first, so that where one holds the other n and -n differ: both count.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from mairl.games.intersection.types import LENGTH, WIDTH

DIAGONAL = (LENGTH**2 + WIDTH**2) ** 0.5


def contact(first, second, dt: float) -> tuple[Array, Array, Array, Array]:
    """Whether two vehicles overlap, whether they will within `dt`, and the translation (x, y) that parts them then.

    Args:
        first, second: with `x`, `y`, `speed`, `cos` and `sin` of the heading; the one with the lower index first.
    """
    cos1, sin1, cos2, sin2 = first.cos, first.sin, second.cos, second.sin
    dx, dy = first.x - second.x, first.y - second.y
    mx = (first.speed * cos1 - second.speed * cos2) * dt
    my = (first.speed * sin1 - second.speed * sin2) * dt
    straight, crosswise = jnp.abs(cos1 * cos2 + sin1 * sin2), jnp.abs(cos1 * sin2 - sin1 * cos2)
    long, wide = LENGTH / 2, WIDTH / 2
    shadow_long = long * straight + wide * crosswise
    shadow_wide = long * crosswise + wide * straight
    reach = DIAGONAL + first.speed * dt
    overlap = soon = (dx * dx + dy * dy <= reach * reach) & (reach >= 0)
    best, best_x, best_y = jnp.full_like(dx, jnp.inf), jnp.zeros_like(dx), jnp.zeros_like(dx)
    # Each box's axes in the order of its corners' edges: backwards, sideways, forwards, sideways.
    for x, y, own, other in (
        (-cos1, -sin1, long, shadow_long),
        (-sin1, cos1, wide, shadow_wide),
        (-cos2, -sin2, shadow_long, long),
        (-sin2, cos2, shadow_wide, wide),
    ):
        centre, motion = x * dx + y * dy, x * mx + y * my
        overlap = overlap & (jnp.abs(centre) <= own + other)
        low, high = centre - own + jnp.minimum(motion, 0), centre + own + jnp.maximum(motion, 0)
        soon = soon & (low <= other) & (high >= -other)
        one_way = jnp.abs(jnp.where(low < -other, -other - high, low - other))
        other_way = jnp.abs(jnp.where(high > other, low - other, -high - other))
        size = jnp.minimum(one_way, other_way)
        away = jnp.where(centre > 0, size, -size)
        better = size < best
        best = jnp.where(better, size, best)
        best_x, best_y = jnp.where(better, away * x, best_x), jnp.where(better, away * y, best_y)
    return overlap, soon, best_x, best_y
