"""One sub-step of all vehicles: lane keeping, speed control, kinematic bicycle, collisions; as highway-env does it.

Steering: a lateral error becomes a heading error, that a heading rate, that a slip angle β; the wheel's angle
δ = atan(2 tan β) is clipped to ±π/3, and the bicycle's β is atan(tan(δ)/2). Only tan β is needed.

Vehicles live in the frame of the lane that they follow, so that float32 keeps even tiny lateral errors: at walking pace
the steering above is unstable and multiplies them up to a hundredfold in each sub-step.

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
from mairl.games.intersection.lanes import Lane
from mairl.games.intersection.types import APPROACH, CROSSING, FASTER, LENGTH, SLOWER, SPEEDS, Body
from mairl.ops.staged import staged

SUB_STEPS = 15
DT = 1.0 / SUB_STEPS
SPEED_GAIN, HEADING_GAIN, LATERAL_GAIN = 1 / 0.6, 1 / 0.2, 1 / 0.6
PURSUIT = 0.1
LARGEST = math.sin(math.pi / 4)
"""Lateral errors ask for at most 45° of heading."""

MAX_TAN = math.tan(math.pi / 3) / 2


class One(NamedTuple):
    """One vehicle as scalars; see `Body`. `a`, `b` are its place."""

    a: Array
    b: Array
    angle: Array
    speed: Array
    lane: Array
    crashed: Array
    hit: Array
    push_x: Array
    push_y: Array


class Outline(NamedTuple):
    """One vehicle on the map: centre, speed, and its heading's cosine and sine."""

    x: Array
    y: Array
    speed: Array
    cos: Array
    sin: Array


def aim(speed: Array, target: Array, actions: Array) -> Array:
    """The new target speeds: one level above or below the level nearest to the present speed; IDLE keeps the target."""
    levels = jnp.asarray(SPEEDS, float)
    top = len(SPEEDS) - 1
    nearest = jnp.clip(jnp.round(speed / SPEEDS[-1] * top), 0, top).astype(jnp.int32)
    step = jnp.where(actions == FASTER, 1, jnp.where(actions == SLOWER, -1, 0))
    return jnp.where(step == 0, target, levels[jnp.clip(nearest + step, 0, top)])


def advance(route, body: Body, steps: int = SUB_STEPS) -> Body:
    """Plays `steps` sub-steps of 1/15 s.

    Args:
        route: `[vehicle, lane, field]`, see `mairl.games.intersection.lanes`.
    """
    count = body.speed.shape[0]
    ones = [
        One(
            *(body.place[i, 0], body.place[i, 1], body.angle[i], body.speed[i], body.lane[i]),
            *(body.crashed[i], body.hit[i], body.impact[i, 0], body.impact[i, 1]),
        )
        for i in range(count)
    ]
    lanes = [[Lane(*(route[i, k, f] for f in range(route.shape[-1]))) for k in range(3)] for i in range(count)]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]

    def move(inputs):
        ones, wobble = inputs
        return [_move(lanes[i], body.target[i], one, wobble) for i, one in enumerate(ones)]

    def outline(ones):
        return [_outline(lanes[i], one) for i, one in enumerate(ones)]

    def touch(outlines):
        return [contact(outlines[i], outlines[j], DT) for i, j in pairs]

    def once(k, ones):
        # Stages in branches that are always taken stay apart: merged, the compiler would compute every vehicle's
        # motion anew for each pair.
        moved = staged(k >= 0, move, (ones, 1.0 - 2.0 * (k % 2)))
        return _collide(moved, staged(k >= 0, touch, staged(k >= 0, outline, moved)), pairs, body.gone)

    ones = jax.lax.fori_loop(0, steps, once, ones)
    a, b, angle, speed, lane, crashed, hit, push_x, push_y = (jnp.stack(v) for v in zip(*ones, strict=True))
    place, impact = jnp.stack([a, b], axis=-1), jnp.stack([push_x, push_y], axis=-1)
    return Body(place, angle, speed, body.target, lane, crashed, impact, hit, body.gone)


def _move(lanes: list[Lane], target: Array, one: One, wobble) -> One:
    """A vehicle's own sub-step, with the displacement of an earlier collision."""
    one = _next_lane(lanes, one)
    tangent = jnp.where(one.crashed, 0.0, _steering(lanes, one, wobble))
    acceleration = jnp.where(one.crashed, -one.speed, SPEED_GAIN * (target - one.speed))
    cos_beta = jax.lax.rsqrt(1 + tangent * tangent)
    sin_beta = tangent * cos_beta
    cos, sin = jnp.cos(one.angle), jnp.sin(one.angle)
    way = one.speed * DT
    turned_cos, turned_sin = followed(lanes, one.lane, "cos"), followed(lanes, one.lane, "sin")
    return One(
        a=one.a + way * (cos * cos_beta - sin * sin_beta) + turned_cos * one.push_x + turned_sin * one.push_y,
        b=one.b + way * (sin * cos_beta + cos * sin_beta) + turned_cos * one.push_y - turned_sin * one.push_x,
        angle=one.angle + way * sin_beta / (LENGTH / 2),
        speed=one.speed + acceleration * DT,
        lane=one.lane,
        crashed=one.crashed | one.hit,
        hit=jnp.zeros_like(one.hit),
        push_x=jnp.zeros_like(one.push_x),
        push_y=jnp.zeros_like(one.push_y),
    )


def followed(lanes: list[Lane], index: Array, field: str) -> Array:
    """A field of the lane that a vehicle follows."""
    approach, crossing, last = (getattr(lane, field) for lane in lanes)
    return jnp.where(index == APPROACH, approach, jnp.where(index == CROSSING, crossing, last))


def _next_lane(lanes: list[Lane], one: One) -> One:
    """The vehicle, on the next lane and in its frame once it is within half a vehicle of the present lane's end."""
    arc = lanes[CROSSING]
    curved, sign, radius = arc.radius > 0, arc.sign, arc.radius
    on_arc = (one.lane == CROSSING) & curved
    # On an arc the end is where the radius has turned by all but 2.5 m.
    angle = (arc.length - LENGTH / 2) / jnp.where(curved, radius, 1.0)
    past_arc = sign * one.b * jnp.cos(angle) - one.a * jnp.sin(angle) > 0
    past = jnp.where(on_arc, past_arc, one.a > followed(lanes, one.lane, "length") - LENGTH / 2)
    leaves_approach = past & (one.lane == APPROACH)
    leaves_crossing = past & (one.lane == CROSSING)
    enters_arc, leaves_arc = leaves_approach & curved, leaves_crossing & curved
    further = one.a - followed(lanes, one.lane, "length")
    quarter = sign * jnp.pi / 2
    a = jnp.where(enters_arc, radius - sign * one.b, jnp.where(leaves_arc, -one.a, further))
    b = jnp.where(enters_arc, sign * further, jnp.where(leaves_arc, sign * radius - one.b, one.b))
    turn = jnp.where(enters_arc, quarter, jnp.where(leaves_arc, -2 * quarter, 0.0))
    leaves = leaves_approach | leaves_crossing
    return one._replace(
        a=jnp.where(leaves, a, one.a),
        b=jnp.where(leaves, b, one.b),
        angle=one.angle + jnp.where(leaves, turn, 0.0),
        lane=one.lane + leaves.astype(one.lane.dtype),
    )


def _steering(lanes: list[Lane], one: One, wobble) -> Array:
    """tan β of the steering that keeps to the lane."""
    arc = lanes[CROSSING]
    curved = (one.lane == CROSSING) & (arc.radius > 0)
    distance = jnp.sqrt(one.a * one.a + one.b * one.b)
    # The phase since the arc began, by its half: tan(φ/2) = sin φ / (1 + cos φ). Within ±135° on any crossing.
    half = jnp.clip(one.b / jnp.maximum(distance + one.a, 1e-6), -2.4, 2.4)
    turned = arc.sign * PURSUIT * one.speed / jnp.where(arc.radius > 0, arc.radius, 1.0)
    ahead = jnp.where(curved, 2 * arctan(half) + turned + arc.sign * jnp.pi / 2, 0.0)
    across = jnp.where(curved, arc.sign * (arc.radius - distance), one.b)
    speed = jnp.where(jnp.abs(one.speed) > 1e-2, one.speed, jnp.where(one.speed >= 0, 1e-2, -1e-2))
    towards = jnp.clip(-LATERAL_GAIN * across / speed, -LARGEST, LARGEST)
    # Only on arcs is the difference not small: elsewhere wrapping would round it.
    error = ahead + arcsin(towards) - one.angle
    error = jnp.where(jnp.abs(error) > 1, wrapped(error), error) + wobble * followed(lanes, one.lane, "rounding")
    sine = jnp.clip(LENGTH / 2 / speed * HEADING_GAIN * error, -1, 1)
    return jnp.clip(sine * jax.lax.rsqrt(jnp.maximum(1 - sine * sine, 1e-12)), -MAX_TAN, MAX_TAN)


def _outline(lanes: list[Lane], one: One) -> Outline:
    """A vehicle on the map."""
    x, y, c, s = (followed(lanes, one.lane, f) for f in ("x", "y", "cos", "sin"))
    cos, sin = jnp.cos(one.angle), jnp.sin(one.angle)
    return Outline(
        x + c * one.a - s * one.b, y + s * one.a + c * one.b, one.speed, c * cos - s * sin, s * cos + c * sin
    )


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
