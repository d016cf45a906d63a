"""What must not happen on the road, decided exactly in each vehicle's own frame. Lengths in `surroundings.UNIT`."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mairl.driving.dynamics import Motion
from mairl.driving.geometry import meets, nearest_side
from mairl.driving.prepare import STOP
from mairl.driving.segments import SegmentKind
from mairl.driving.surroundings import PARTNER, PER_UNIT, ROAD, UNIT, Partners

LANE_REACH = 2.5
"""Metres from a lane's centreline within which a vehicle is on it, for driving the wrong way."""


def overlaps(
    around: Partners, length: Float[Array, " agent"], width: Float[Array, " agent"]
) -> Bool[Array, "agent partner"]:
    """Whose box overlaps with each agent's, of this length and width in metres, on its level (separating axes,
    exact)."""
    x, y, co, so, lo, wo = (around.features[:, PARTNER.index(n)] for n in ("x", "y", "cos", "sin", "length", "width"))
    la, wa, lb, wb = 0.5 * PER_UNIT * length[:, None], 0.5 * PER_UNIT * width[:, None], lo / 2, wo / 2
    c, s = jnp.abs(co), jnp.abs(so)
    hit = (
        (jnp.abs(x) < la + lb * c + wb * s)
        & (jnp.abs(y) < wa + lb * s + wb * c)
        & (jnp.abs(x * co + y * so) < lb + la * c + wa * s)
        & (jnp.abs(y * co - x * so) < wb + la * s + wa * c)
    )
    return hit & around.level & around.present


def collided(around: Partners, length: Float[Array, " agent"], width: Float[Array, " agent"]) -> Bool[Array, " agent"]:
    """Whether an agent's box overlaps with anybody's."""
    return jnp.any(overlaps(around, length, width), axis=-1)


def off_road(
    edges: Float[Array, "agent 7 edge"],
    there: Bool[Array, "agent edge"],
    length: Float[Array, " agent"],
    width: Float[Array, " agent"],
) -> tuple[Bool[Array, " agent"], Float[Array, " agent"], Float[Array, " agent"]]:
    """Whether an agent's box crosses a road edge of its level, or its middle lies on the far side of the nearest one
    (dividers have none).

    Returns:
        That; the signed distance of the middle to the nearest edge (metres, positive on the road, infinite where there
        is none); and that edge's height above the ground (metres, 0 where there is none).
    """
    x, y, half, ux, uy, kind, z = (edges[:, k] for k in range(len(ROAD)))
    crossing = jnp.any(
        meets(0.5 * PER_UNIT * length[:, None], 0.5 * PER_UNIT * width[:, None], x, y, half, ux, uy) & there, axis=-1
    )
    distance, nearest = nearest_side(x, y, half, ux, uy, there, kind == SegmentKind.DIVIDER)
    rise = jnp.max(jnp.where(nearest, z, -jnp.inf), axis=-1)
    return crossing | (distance < 0), distance * UNIT, jnp.where(jnp.isfinite(rise), rise * UNIT, 0.0)


def ran_red(
    before: Motion,
    after: Motion,
    length: Float[Array, " agent"],
    stop: Float[Array, "stop light"],
    red: Bool[Array, " light"],
) -> Bool[Array, " agent"]:
    """Whether the front of an agent passed the stop line of a red light, in the driving direction of its lane."""
    x, y, ux, uy, half = (stop[STOP.index(n)] for n in STOP)

    def front(motion: Motion) -> tuple[Array, Array, Array]:
        c, s = jnp.cos(motion.heading), jnp.sin(motion.heading)
        dx = (motion.x + length / 2 * c)[:, None] - x
        dy = (motion.y + length / 2 * s)[:, None] - y
        return dx * ux + dy * uy, dy * ux - dx * uy, c[:, None] * ux + s[:, None] * uy

    (was, _, _), (along, across, aligned) = front(before), front(after)
    return jnp.any((was < 0) & (along >= 0) & (jnp.abs(across) < half) & (aligned > 0.5) & red, axis=-1)


def wrong_way(
    pieces: Float[Array, "agent 7 slot"], there: Bool[Array, "agent slot"], speed: Float[Array, " agent"]
) -> Bool[Array, " agent"]:
    """Whether an agent drives against all lanes whose centreline it is on, faster than 1 m/s.

    Args:
        pieces: `ROAD` of the map but for its edges.
        speed: along the heading, m/s; in reverse a vehicle faces the other way.
    """
    x, y, half, ux, uy, kind, _ = (pieces[:, k] for k in range(len(ROAD)))
    t = jnp.clip(-(x * ux + y * uy), -half, half)
    square = (x + t * ux) ** 2 + (y + t * uy) ** 2
    on = there & (kind == SegmentKind.LANE) & (square < (LANE_REACH * PER_UNIT) ** 2)
    way = ux * jnp.sign(speed)[:, None]
    return jnp.any(on & (way < -0.5), axis=-1) & ~jnp.any(on & (way > 0.0), axis=-1) & (jnp.abs(speed) > 1.0)
