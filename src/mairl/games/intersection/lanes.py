"""The lanes of the intersection: three for each route, in the frame of the route's own arm.

Arm 0 comes from below (+y) at x = 2; arm k is turned by k quarter turns. A route is its approach (100 m straight), its
crossing (straight, or an arc to the right or left) and its exit (straight). Measures as in highway-env: lanes 4 m
wide, arcs of radius 9 m (right) and 13 m (left), the junction 11 m from the centre to each side.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.games.intersection.angles import wrapped
from mairl.games.intersection.types import APPROACH, CROSSING, EXIT, LEFT, RIGHT, STRAIGHT

APPROACH_LENGTH, HALF, OFFSET = 100.0, 11.0, 2.0
RADIUS = {RIGHT: 9.0, LEFT: 13.0}


class Lane(NamedTuple):
    """One lane per vehicle, each field `[vehicle, ...]`.

    Attributes:
        start: first point of a straight lane, centre of an arc.
        direction: unit vector of a straight lane.
        heading: of a straight lane; the phase at which an arc begins.
        radius: of an arc; 0 for straight lanes.
        sign: +1 for arcs to the right (clockwise on screen), -1 to the left.
        length: along the centre line.
    """

    start: Array
    direction: Array
    heading: Array
    radius: Array
    sign: Array
    length: Array


def _rotation(quarters: int) -> np.ndarray:
    c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters % 4]
    return np.array([[c, -s], [s, c]], float)


def _straight(begin, end) -> list:
    delta = np.subtract(end, begin)
    length = float(np.hypot(*delta))
    return [*begin, *(delta / length), np.arctan2(delta[1], delta[0]), 0.0, 1.0, length]


def _arc(centre, radius: float, begin: float, sign: float) -> list:
    return [*centre, 0.0, 0.0, begin, radius, sign, radius * np.pi / 2]


def table() -> Float[np.ndarray, "arm turn lane 8"]:
    """All lanes: [start x, y, direction x, y, heading, radius, sign, length]."""
    rows = np.zeros((4, 3, 3, 8))
    for arm in range(4):
        turned, angle = _rotation(arm), np.pi / 2 * arm
        for turn, exit_arm in ((RIGHT, arm - 1), (STRAIGHT, arm + 2), (LEFT, arm + 1)):
            out = _rotation(exit_arm + 1)
            rows[arm, turn, APPROACH] = _straight(turned @ (OFFSET, HALF + APPROACH_LENGTH), turned @ (OFFSET, HALF))
            rows[arm, turn, EXIT] = _straight(out @ (HALF, OFFSET), out @ (HALF + APPROACH_LENGTH, OFFSET))
        rows[arm, STRAIGHT, CROSSING] = _straight(turned @ (OFFSET, HALF), turned @ (OFFSET, -HALF))
        rows[arm, RIGHT, CROSSING] = _arc(turned @ (HALF, HALF), RADIUS[RIGHT], angle + np.pi, 1.0)
        rows[arm, LEFT, CROSSING] = _arc(turned @ (-HALF, HALF), RADIUS[LEFT], angle, -1.0)
    return rows


TABLE = table()


def routes(turn: Array) -> Float[Array, "vehicle lane 8"]:
    """The three lanes of every vehicle's route; vehicle i comes from arm i modulo 4."""
    arms = jnp.arange(turn.shape[0]) % 4
    return jnp.asarray(TABLE, jnp.float32)[arms, turn]


def lane_at(route: Float[Array, "vehicle lane 8"], index: Array) -> Lane:
    """The lane that each vehicle follows."""
    row = jnp.take_along_axis(route, index[:, None, None], axis=1)[:, 0]
    return Lane(row[:, 0:2], row[:, 2:4], row[:, 4], row[:, 5], row[:, 6], row[:, 7])


def local(lane: Lane, position: Float[Array, "vehicle 2"]) -> tuple[Array, Array]:
    """Distance along and across each vehicle's lane, metres."""
    delta = position - lane.start
    along = jnp.sum(delta * lane.direction, axis=-1)
    across = delta[:, 1] * lane.direction[:, 0] - delta[:, 0] * lane.direction[:, 1]
    phase = wrapped(jnp.arctan2(delta[:, 1], delta[:, 0]) - lane.heading)
    curved = lane.radius > 0
    distance = jnp.sqrt(jnp.sum(delta * delta, axis=-1))
    return (
        jnp.where(curved, lane.sign * phase * lane.radius, along),
        jnp.where(curved, lane.sign * (lane.radius - distance), across),
    )


def heading_at(lane: Lane, along: Array) -> Array:
    """The lane's heading at a distance along it."""
    curved = lane.radius > 0
    phase = lane.sign * along / jnp.where(curved, lane.radius, 1.0)
    return jnp.where(curved, lane.heading + phase + lane.sign * jnp.pi / 2, lane.heading)


def progress(route: Float[Array, "vehicle lane 8"], lane_index: Array, along: Array) -> Array:
    """Distance along the whole route: 0 where the approach begins."""
    lengths = route[..., 7]
    before = jnp.cumsum(lengths, axis=-1) - lengths
    return jnp.take_along_axis(before, lane_index[:, None], axis=1)[:, 0] + along
