"""The lanes of the intersection: three for each route, and the frame in which a vehicle on each is described.

Arm 0 comes from below (+y) at x = 2; arm k is turned by k quarter turns. A route is its approach (100 m straight), its
crossing (straight, or an arc to the right or left) and its exit (straight). Measures as in highway-env: lanes 4 m
wide, arcs of radius 9 m (right) and 13 m (left), the junction 11 m from the centre to each side.

A straight lane's frame begins where the lane does; its first axis runs along the lane, its second to the right. An
arc's frame has its origin in the arc's centre and its first axis towards the arc's beginning. All frames are turned by
quarter turns, so that a position in them loses nothing: small lateral errors matter (see `ROUNDING`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.games.intersection.angles import arctan
from mairl.games.intersection.types import APPROACH, CROSSING, EXIT, LEFT, RIGHT, STRAIGHT, Body

APPROACH_LENGTH, HALF, OFFSET = 100.0, 11.0, 2.0
RADIUS = {RIGHT: 9.0, LEFT: 13.0}
ARC_LENGTH = {turn: radius * np.pi / 2 for turn, radius in RADIUS.items()}

ROUNDING = 2.0**-52
"""Radians. highway-env's headings on the lanes that it turns by 90° or more are off by a bit in the last place. Below
0.7 m/s its steering is unstable and makes centimetres of that while a vehicle comes to rest: to stay in step, we have
it too."""


class Lane(NamedTuple):
    """Lanes as arrays of any shape.

    Attributes:
        x, y: origin of the frame, metres.
        cos, sin: of the frame's angle: 0 or ±1.
        angle: of the frame, radians.
        length: along the centre line.
        rounding: heading error in each sub-step, radians: 0 or `ROUNDING`.
        radius: of an arc; 0 for straight lanes.
        sign: +1 for arcs to the right (clockwise on screen), -1 to the left.
    """

    x: Array
    y: Array
    cos: Array
    sin: Array
    angle: Array
    length: Array
    rounding: Array
    radius: Array
    sign: Array


def _quarter(k: int) -> np.ndarray:
    c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][k % 4]
    return np.array([[c, -s], [s, c]], float)


def _row(origin, quarters: int, length: float, rounding: float = 0.0, radius: float = 0.0, sign: float = 1.0):
    turned = _quarter(quarters)
    return [*origin, turned[0, 0], turned[1, 0], np.pi / 2 * quarters, length, rounding, radius, sign]


def table() -> Float[np.ndarray, "arm turn lane field"]:
    """All lanes; the last axis is as `Lane`'s fields."""
    rows = np.zeros((4, 3, 3, 9))
    outer = HALF + APPROACH_LENGTH
    for arm in range(4):
        turned = _quarter(arm)
        for turn, exit_arm in ((RIGHT, arm - 1), (STRAIGHT, arm + 2), (LEFT, arm + 1)):
            rows[arm, turn, APPROACH] = _row(turned @ (OFFSET, outer), arm - 1, APPROACH_LENGTH, ROUNDING * (arm > 0))
            corner = (exit_arm + 1) % 4
            start = _quarter(corner) @ (HALF, OFFSET)
            rows[arm, turn, EXIT] = _row(start, corner, APPROACH_LENGTH, ROUNDING * (corner > 0))
        rows[arm, STRAIGHT, CROSSING] = _row(turned @ (OFFSET, HALF), arm - 1, 2 * HALF, ROUNDING * (arm > 0))
        for turn, centre, quarters, sign in ((RIGHT, (HALF, HALF), arm + 2, 1.0), (LEFT, (-HALF, HALF), arm, -1.0)):
            rows[arm, turn, CROSSING] = _row(turned @ centre, quarters, ARC_LENGTH[turn], 0.0, RADIUS[turn], sign)
    return rows


TABLE = table()


def routes(turn: Array) -> Float[Array, "vehicle lane field"]:
    """The three lanes of every vehicle's route; vehicle i comes from arm i modulo 4."""
    return jnp.asarray(TABLE, float)[jnp.arange(turn.shape[0]) % 4, turn]


def lane_at(route: Float[Array, "vehicle lane field"], index: Array) -> Lane:
    """The lane that each vehicle follows."""
    row = jnp.take_along_axis(route, index[:, None, None], axis=1)[:, 0]
    return Lane(*jnp.moveaxis(row, -1, 0))


def world(turn: Array, body: Body) -> tuple[Float[Array, "vehicle 2"], Float[Array, " vehicle"]]:
    """Centres in metres (y points down) and headings in radians."""
    lane = lane_at(routes(turn), body.lane)
    a, b = body.place[:, 0], body.place[:, 1]
    x, y = lane.x + lane.cos * a - lane.sin * b, lane.y + lane.sin * a + lane.cos * b
    return jnp.stack([x, y], axis=-1), body.angle + lane.angle


def progress(turn: Array, body: Body) -> tuple[Array, Array]:
    """Metres covered on the whole route (0 where the approach begins), and metres down the lane that is followed."""
    route = routes(turn)
    lane = lane_at(route, body.lane)
    a, b = body.place[:, 0], body.place[:, 1]
    phase = 2 * arctan(jnp.clip(b / jnp.maximum(jnp.hypot(a, b) + a, 1e-6), -2.4, 2.4))
    along = jnp.where(lane.radius > 0, lane.sign * phase * lane.radius, a)
    lengths = route[..., 5]
    before = jnp.cumsum(lengths, axis=-1) - lengths
    return jnp.take_along_axis(before, body.lane[:, None], axis=1)[:, 0] + along, along
