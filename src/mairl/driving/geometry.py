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


def crosses(box: Box, x0, y0, x1, y1) -> Bool[Array, "*b"]:
    """Whether a box and a segment share more than the box's border (separating axes, exact)."""
    c, s = jnp.cos(box.heading), jnp.sin(box.heading)

    def local(x, y):
        dx, dy = x - box.x, y - box.y
        return dx * c + dy * s, dy * c - dx * s

    (u0, v0), (u1, v1) = local(x0, y0), local(x1, y1)
    half_l, half_w = box.length / 2, box.width / 2
    along = (jnp.minimum(u0, u1) < half_l) & (jnp.maximum(u0, u1) > -half_l)
    across = (jnp.minimum(v0, v1) < half_w) & (jnp.maximum(v0, v1) > -half_w)
    # The axis across the segment: the box's reach along it against the segment's distance from the middle.
    du, dv = u1 - u0, v1 - v0
    return along & across & (jnp.abs(u0 * dv - v0 * du) < half_l * jnp.abs(dv) + half_w * jnp.abs(du))


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
    """Distance of points to the nearest of several segments, positive on its left, negative on its right.

    Segments stand on the last axis, the points' arrays have 1 there. Where the nearest point is the end of two
    segments, the side is that of the one whose line is farther away: the sides differ only behind the corner, where
    only this one is right.

    Args:
        there: which segments count; where none does the distance is infinite (and positive).
    """
    square, side = segment_distance(px, py, x0, y0, x1, y1)
    length = (x1 - x0) ** 2 + (y1 - y0) ** 2
    off = side * side / jnp.where(length > 0, length, 1.0)
    # Off is at most the squared distance, so this orders by distance, and by off where distances are equal.
    key = jnp.where(there & (length > 0), square * (1 + 1e-5) - off * 1e-5, jnp.inf)
    nearest = jnp.argmin(key, axis=-1, keepdims=True)
    square, side, key = (jnp.take_along_axis(v, nearest, -1)[..., 0] for v in jnp.broadcast_arrays(square, side, key))
    distance = jnp.sqrt(jnp.where(jnp.isfinite(key), square, jnp.inf))
    return jnp.where(jnp.isfinite(key) & (side < 0), -distance, distance)
