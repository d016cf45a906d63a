"""One sub-step of all vehicles: lane keeping, speed control, kinematic bicycle, collisions; as highway-env does it.

Steering: a lateral error becomes a heading error, that a heading rate, that a slip angle β; the wheel's angle
δ = atan(2 tan β) is clipped to ±π/3, and the bicycle's β is atan(tan(δ)/2). Only tan β is needed.

Every quantity is one number per vehicle, in a Python list over vehicles: under `vmap` each is a contiguous array over
games, so that a whole sub-step becomes a few long loops without gathers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mairl.games.intersection.angles import arcsin, arctan, wrapped
from mairl.games.intersection.collisions import contact
from mairl.games.intersection.types import APPROACH, CROSSING, EXIT, FASTER, LENGTH, SLOWER, SPEEDS, Body

SUB_STEPS = 15
DT = 1.0 / SUB_STEPS
SPEED_GAIN, HEADING_GAIN, LATERAL_GAIN = 1 / 0.6, 1 / 0.2, 1 / 0.6
PURSUIT = 0.1
LARGEST = math.sin(math.pi / 4)
"""Lateral errors ask for at most 45° of heading."""

MAX_TAN = math.tan(math.pi / 3) / 2


class One(NamedTuple):
    """One vehicle as scalars; see `Body`."""

    x: Array
    y: Array
    heading: Array
    speed: Array
    lane: Array
    crashed: Array
    hit: Array
    push_x: Array
    push_y: Array


def aim(speed: Array, target: Array, actions: Array) -> Array:
    """The new target speeds: one level above or below the level nearest to the present speed; IDLE keeps the target."""
    levels = jnp.asarray(SPEEDS, jnp.float32)
    top = len(SPEEDS) - 1
    nearest = jnp.clip(jnp.round(speed / SPEEDS[-1] * top), 0, top).astype(jnp.int32)
    step = jnp.where(actions == FASTER, 1, jnp.where(actions == SLOWER, -1, 0))
    return jnp.where(step == 0, target, levels[jnp.clip(nearest + step, 0, top)])


def advance(route, body: Body, steps: int = SUB_STEPS) -> Body:
    """Plays `steps` sub-steps of 1/15 s.

    Args:
        route: `[vehicle, lane, 8]`, see `mairl.games.intersection.lanes`.
    """
    count = body.speed.shape[0]
    ones = [
        One(
            *(body.position[i, 0], body.position[i, 1], body.heading[i], body.speed[i], body.lane[i]),
            *(body.crashed[i], body.hit[i], body.impact[i, 0], body.impact[i, 1]),
        )
        for i in range(count)
    ]
    lanes = [Lanes.of(route[i]) for i in range(count)]
    target = [body.target[i] for i in range(count)]
    gone = [body.gone[i] for i in range(count)]

    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]

    def move(ones):
        return [_move(lanes[i], target[i], one) for i, one in enumerate(ones)]

    def turn(ones):
        return [(jnp.cos(one.heading), jnp.sin(one.heading)) for one in ones]

    def once(k, ones):
        # A branch that is always taken keeps the stages apart: merged, the compiler would compute every vehicle's
        # motion and direction anew for each pair.
        moved = jax.lax.cond(k >= 0, move, lambda x: x, ones)
        directions = jax.lax.cond(k >= 0, turn, lambda x: [(one.x, one.y) for one in x], moved)
        nothing = (False, False, 0.0, 0.0)
        touching = jax.lax.cond(
            k >= 0,
            lambda x: [contact(x[0][i], x[0][j], *x[1][i], *x[1][j], DT) for i, j in pairs],
            lambda x: [tuple(jnp.full_like(x[0][0].x, v, dtype=type(v)) for v in nothing) for _ in pairs],
            (moved, directions),
        )
        return _collide(moved, touching, pairs, gone)

    ones = jax.lax.fori_loop(0, steps, once, ones)
    fields = [jnp.stack(values) for values in zip(*ones, strict=True)]
    x, y, heading, speed, lane, crashed, hit, push_x, push_y = fields
    return Body(
        jnp.stack([x, y], axis=-1),
        heading,
        speed,
        body.target,
        lane,
        crashed,
        jnp.stack([push_x, push_y], axis=-1),
        hit,
        body.gone,
    )


class Lanes(NamedTuple):
    """One vehicle's route as scalars: two or three straight lanes, and the arc of a turn.

    Attributes:
        straight: for each lane x, y of its start, x, y of its direction, heading, length; an arc's are unused.
        curved: the crossing is an arc.
        arc: x, y of the centre, cosine and sine of the phase where it begins, heading there, radius, sign.
        end: x, y of the radius from half a vehicle before the arc's end.
    """

    straight: list
    curved: Array
    arc: tuple
    end: tuple

    @classmethod
    def of(cls, route) -> Lanes:
        """From `[lane, 8]`, see `mairl.games.intersection.lanes`."""
        straight = [tuple(row[f] for f in (0, 1, 2, 3, 4, 7)) for row in (route[k] for k in range(3))]
        row = route[CROSSING]
        begin, radius, sign, length = row[4], row[5], row[6], row[7]
        curved = radius > 0
        radius = jnp.where(curved, radius, 1.0)
        angle = begin + sign * (length - LENGTH / 2) / radius
        arc = (row[0], row[1], jnp.cos(begin), jnp.sin(begin), begin + sign * jnp.pi / 2, radius, sign)
        return cls(straight, curved, arc, (jnp.cos(angle), jnp.sin(angle)))


def _move(lanes: Lanes, target: Array, one: One) -> One:
    """A vehicle's own sub-step, with the displacement of an earlier collision."""
    lane = _next_lane(lanes, one)
    tangent = jnp.where(one.crashed, 0.0, _steering(lanes, lane, one))
    acceleration = jnp.where(one.crashed, -one.speed, SPEED_GAIN * (target - one.speed))
    cos_beta = jax.lax.rsqrt(1 + tangent * tangent)
    sin_beta = tangent * cos_beta
    cos, sin = jnp.cos(one.heading), jnp.sin(one.heading)
    way = one.speed * DT
    return One(
        x=one.x + way * (cos * cos_beta - sin * sin_beta) + one.push_x,
        y=one.y + way * (sin * cos_beta + cos * sin_beta) + one.push_y,
        heading=one.heading + way * sin_beta / (LENGTH / 2),
        speed=one.speed + acceleration * DT,
        lane=lane,
        crashed=one.crashed | one.hit,
        hit=jnp.zeros_like(one.hit),
        push_x=jnp.zeros_like(one.push_x),
        push_y=jnp.zeros_like(one.push_y),
    )


def _next_lane(lanes: Lanes, one: One) -> Array:
    """The lane to follow: the next one from half a vehicle before the end of the present one."""

    def past(x, y, direction_x, direction_y, heading, length):
        return (one.x - x) * direction_x + (one.y - y) * direction_y > length - LENGTH / 2

    x, y, _, _, _, _, sign = lanes.arc
    side = lanes.end[0] * (one.y - y) - lanes.end[1] * (one.x - x)
    past_crossing = jnp.where(lanes.curved, sign * side > 0, past(*lanes.straight[CROSSING]))
    past_approach = past(*lanes.straight[APPROACH])
    go = jnp.where(one.lane == APPROACH, past_approach, (one.lane == CROSSING) & past_crossing)
    return one.lane + go.astype(one.lane.dtype)


def _steering(lanes: Lanes, lane: Array, one: One) -> Array:
    """tan β of the steering that keeps to the lane."""

    def of(f):
        first, crossing, last = (row[f] for row in lanes.straight)
        return jnp.where(lane == APPROACH, first, jnp.where(lane == CROSSING, crossing, last))

    across_straight = (one.y - of(1)) * of(2) - (one.x - of(0)) * of(3)
    x, y, cos, sin, heading, radius, sign = lanes.arc
    dx, dy = one.x - x, one.y - y
    distance = jnp.sqrt(dx * dx + dy * dy)
    # The phase since the arc began, by its half: tan(φ/2) = sin φ / (1 + cos φ). Within ±135° on any crossing.
    half = (cos * dy - sin * dx) / jnp.maximum(distance + cos * dx + sin * dy, 1e-6)
    ahead_curved = heading + 2 * arctan(jnp.clip(half, -2.4, 2.4)) + sign * PURSUIT * one.speed / radius
    curved = (lane == CROSSING) & lanes.curved
    across = jnp.where(curved, sign * (radius - distance), across_straight)
    ahead = jnp.where(curved, ahead_curved, of(4))
    speed = jnp.where(jnp.abs(one.speed) > 1e-2, one.speed, jnp.where(one.speed >= 0, 1e-2, -1e-2))
    towards = jnp.clip(-LATERAL_GAIN * across / speed, -LARGEST, LARGEST)
    rate = HEADING_GAIN * wrapped(ahead + arcsin(towards) - one.heading)
    sine = jnp.clip(LENGTH / 2 / speed * rate, -1, 1)
    return jnp.clip(sine * jax.lax.rsqrt(jnp.maximum(1 - sine * sine, 1e-12)), -MAX_TAN, MAX_TAN)


def _collide(ones: list[One], touching, pairs, gone) -> list[One]:
    """Marks vehicles that overlap as crashed, and gives those that will overlap within a sub-step half of the
    smallest translation that parts them. Pairs in order: a later pair's impact replaces an earlier one's."""
    after = list(ones)
    for (i, j), (overlap, soon, x, y) in zip(pairs, touching, strict=True):
        present = ~(gone[i] | gone[j])
        for k, share in ((i, 0.5), (j, -0.5)):
            one = after[k]
            after[k] = one._replace(
                crashed=one.crashed | (overlap & present),
                hit=one.hit | (soon & present),
                push_x=jnp.where(soon & present, share * x, one.push_x),
                push_y=jnp.where(soon & present, share * y, one.push_y),
            )
    return after
