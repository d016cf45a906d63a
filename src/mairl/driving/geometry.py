"""Boxes, segments and distances, exactly and elementwise: leaves may have any shapes that broadcast."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Box(eqx.Module):
    """An upright box that is turned about its vertical axis. Metres and radians."""

    x: Float[Array, "*b"]
    y: Float[Array, "*b"]
    heading: Float[Array, "*b"]
    length: Float[Array, "*b"]
    width: Float[Array, "*b"]


def overlap(a: Box, b: Box) -> Bool[Array, "*b"]:
    """Whether two boxes share more than their border, seen from above (separating axes, exact)."""
    dx, dy = b.x - a.x, b.y - a.y
    ca, sa, cb, sb = jnp.cos(a.heading), jnp.sin(a.heading), jnp.cos(b.heading), jnp.sin(b.heading)
    # |cos| and |sin| of the angle between them: how far each box reaches along the other's axes.
    c, s = jnp.abs(ca * cb + sa * sb), jnp.abs(ca * sb - sa * cb)
    la, wa, lb, wb = a.length / 2, a.width / 2, b.length / 2, b.width / 2
    return (
        (jnp.abs(dx * ca + dy * sa) < la + lb * c + wb * s)
        & (jnp.abs(dy * ca - dx * sa) < wa + lb * s + wb * c)
        & (jnp.abs(dx * cb + dy * sb) < lb + la * c + wa * s)
        & (jnp.abs(dy * cb - dx * sb) < wb + la * s + wa * c)
    )


def same_level(z_a, height_a, z_b, height_b) -> Bool[Array, "*b"]:
    """Whether two boxes overlap in height: those of a bridge and of the road below it do not. z is the middle's."""
    return jnp.abs(z_a - z_b) < (height_a + height_b) / 2


def meets(half_length, half_width, x, y, half, ux, uy) -> Bool[Array, "*b"]:
    """Whether a box at the origin, along the axes, and a segment share more than the box's border (separating axes,
    exact). All lengths in the same unit, whichever.

    Args:
        x, y: the middle of the segment.
        half: half its length.
        ux, uy: its direction, of length 1.
    """
    across, along = jnp.abs(uy), jnp.abs(ux)
    return (
        (jnp.abs(x) < half_length + half * along)
        & (jnp.abs(y) < half_width + half * across)
        & (jnp.abs(x * uy - y * ux) < half_length * across + half_width * along)
    )


def crosses(box: Box, x0, y0, x1, y1) -> Bool[Array, "*b"]:
    """Whether a box and a segment share more than the box's border."""
    c, s = jnp.cos(box.heading), jnp.sin(box.heading)
    x, y, half = (x0 + x1) / 2 - box.x, (y0 + y1) / 2 - box.y, jnp.hypot(x1 - x0, y1 - y0) / 2
    over = jnp.where(half > 0, 2 * half, 1.0)
    ux, uy = (x1 - x0) / over, (y1 - y0) / over
    local = x * c + y * s, y * c - x * s, half, ux * c + uy * s, uy * c - ux * s
    return meets(box.length / 2, box.width / 2, *local)


def nearest_side(
    x, y, half, ux, uy, there, two_sided: Bool[Array, "*b n"] | bool = False
) -> tuple[Float[Array, "*b"], Bool[Array, "*b n"]]:
    """Signed distance of the origin to the nearest of several segments, and which ones are that near but for rounding.

    Positive is left of the segment, negative right of it. Segments stand on the last axis, given as in `meets`. Where
    the nearest point is the end of two segments, the side is that of the one whose line is farther away: the sides
    differ only behind the corner, where only this one is right.

    Args:
        there: which segments count; where none does the distance is infinite (and positive).
        two_sided: segments whose both sides count as the left.
    """
    there = there & (half > 0)
    t = jnp.clip(-(x * ux + y * uy), -half, half)
    ex, ey = x + t * ux, y + t * uy
    side = x * uy - y * ux
    side = jnp.where(two_sided, jnp.abs(side), side)
    square = jnp.where(there, ex * ex + ey * ey, jnp.inf)
    least = jnp.min(square, axis=-1)
    known = jnp.isfinite(least)
    positive = known & (least > 0)
    # No gradient of a root at 0.
    distance = jnp.where(positive, jnp.sqrt(jnp.where(positive, least, 1.0)), 0.0)
    rounding = 1e-6 * (jnp.abs(x) + jnp.abs(y) + half)
    nearest = there & (square <= (distance[..., None] + rounding) ** 2)
    side = jnp.where(nearest, side, 0.0)
    left, right = jnp.max(side, axis=-1), -jnp.min(side, axis=-1)
    distance = jnp.where(known, distance, jnp.inf)
    return jnp.where(right > left, -distance, distance), nearest


def segment_distance(px, py, x0, y0, x1, y1) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Squared distance of points to segments, and on which side: positive is left of the way from 0 to 1.

    The side is that of the endless line, as twice a triangle's area; it is 0 on the line and for segments of no length.
    """
    dx, dy = x1 - x0, y1 - y0
    square = dx * dx + dy * dy
    t = jnp.clip(((px - x0) * dx + (py - y0) * dy) / jnp.where(square > 0, square, 1.0), 0.0, 1.0)
    ex, ey = px - (x0 + t * dx), py - (y0 + t * dy)
    return ex * ex + ey * ey, dx * (py - y0) - dy * (px - x0)


def corners(box: Box) -> Float[Array, "*b 4 2"]:
    """Front left, front right, rear right, rear left."""
    c, s = jnp.cos(box.heading)[..., None], jnp.sin(box.heading)[..., None]
    u = box.length[..., None] / 2 * jnp.array([1.0, 1.0, -1.0, -1.0])
    v = box.width[..., None] / 2 * jnp.array([1.0, -1.0, -1.0, 1.0])
    return jnp.stack([box.x[..., None] + c * u - s * v, box.y[..., None] + s * u + c * v], -1)


def signed_distance(px, py, x0, y0, x1, y1, there) -> Float[Array, "*b"]:
    """Distance of points to the nearest of several segments, signed as in `nearest_side`.

    Segments stand on the last axis, the points' arrays have 1 there.
    """
    half = jnp.hypot(x1 - x0, y1 - y0) / 2
    over = jnp.where(half > 0, 2 * half, 1.0)
    found, _ = nearest_side((x0 + x1) / 2 - px, (y0 + y1) / 2 - py, half, (x1 - x0) / over, (y1 - y0) / over, there)
    return found
