"""Driving along a log: the actions by which a model of motion keeps to what was seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mairl.driving.dynamics import STANDSTILL, Dynamics, Jerk, Motion, wrap


def replay(model: Dynamics, logged: Motion, length: Float[Array, "*b"], dt: float) -> tuple[Array, Motion]:
    """Drives along a log with the model's own actions, each chosen by `toward` from where the vehicle has got to.

    Args:
        logged: leaves `[time, *b]`, valid throughout.

    Returns:
        Actions `[time - 1, *b, size]`, and the motions that they lead to, `[time, *b]`, the first being the log's.
    """
    steady = steadied(logged, jnp.ones(logged.x.shape, bool), dt)
    start = jax.tree.map(lambda x: x[0], logged)
    ahead = jax.tree.map(lambda x: x[1:], steady)

    def one(now: Motion, target: Motion):
        action = toward(model, now, target, length, dt)
        after = model.step(now, action, length, dt)
        return after, (action, after)

    _, (actions, after) = jax.lax.scan(one, start, ahead)
    return actions, jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, after)


STEADY, STEADIER = 0.2, 0.3
"""Seconds before and after each moment over which `steadied` takes means: of speeds, and of what changes them."""


def steadied(logged: Motion, seen: Bool[Array, "time *b"], dt: float) -> Motion:
    """A log with means over some moments in place of its speeds, and with the acceleration and curvature that go with
    them: from one moment to the next, logged speeds of the Waymo Open Motion Dataset change by 5 m/s² (standard
    deviation), which nothing should try to follow.

    Args:
        logged: leaves `[time, *b]`.
        seen: who was; the others count for nothing.
    """
    speed = _mean_around(logged.speed, seen, round(STEADY / dt))
    both = seen[1:] & seen[:-1]
    way = 0.5 * (speed[1:] + speed[:-1]) * dt
    goes = both & (jnp.abs(way) > STANDSTILL)
    turn = wrap(jnp.diff(logged.heading, axis=0)) / jnp.where(goes, way, 1.0)

    def since(values, known):
        first = [(1, 0)] + [(0, 0)] * (values.ndim - 1)
        return _mean_around(jnp.pad(values, first), jnp.pad(known, first), round(STEADIER / dt))

    c, s = jnp.cos(logged.heading), jnp.sin(logged.heading)
    acceleration, curvature = since(jnp.diff(speed, axis=0) / dt, both), since(turn, goes)
    return Motion(logged.x, logged.y, logged.heading, speed * c, speed * s, acceleration, curvature)


def _mean_around(values: Float[Array, "time *b"], known: Bool[Array, "time *b"], reach: int) -> Float[Array, "time *b"]:
    """Means of what is known up to `reach` moments before and after each; 0 where nothing is."""
    margin = [(reach, reach)] + [(0, 0)] * (values.ndim - 1)
    parts, there = jnp.pad(jnp.where(known, values, 0.0), margin), jnp.pad(known, margin)
    shifts = [slice(k, k + len(values)) for k in range(2 * reach + 1)]
    return sum(parts[k] for k in shifts) / jnp.maximum(sum(there[k].astype(parts.dtype) for k in shifts), 1.0)


def toward(model: Dynamics, now: Motion, target: Motion, length: Float[Array, "*b"], dt: float) -> Array:
    """The action `[*b, size]` that brings a vehicle to a log's next motion, and makes up for what it has lost.

    Args:
        target: from `steadied`.
    """
    if isinstance(model, Jerk):
        return jnp.clip(_chased(now, target, dt), jnp.asarray(model.low), jnp.asarray(model.high))
    return model.inverse(now, aimed(now, target, dt), length, dt)


CHASE = 3.0
"""Per second: how fast `Jerk` makes up for what it has lost. Faster, jerks reach their bounds most of the time."""


def _chased(now: Motion, target: Motion, dt: float) -> Array:
    """Jerks `[*b, 2]` under which gaps in position, speed and acceleration to the next moment vanish together, without
    swinging over: three equal poles at -`CHASE`, along and across the target's heading."""
    rate = min(CHASE, 0.3 / dt)
    c, s, v = jnp.cos(target.heading), jnp.sin(target.heading), now.speed
    dx, dy = target.x - now.x, target.y - now.y
    turned = jnp.sin(wrap(target.heading - now.heading))
    square = jnp.maximum(v**2, 1.0)
    along = (
        c * dx + s * dy - v * dt - 0.5 * now.acceleration * dt**2,
        target.speed - v - now.acceleration * dt,
        target.acceleration - now.acceleration,
    )
    across = (
        c * dy - s * dx + v * turned * dt,
        v * turned - v**2 * now.curvature * dt,
        square * (target.curvature - now.curvature),
    )
    gains = rate**3, 3 * rate**2, 3 * rate
    return jnp.stack([sum(gain * gap for gain, gap in zip(gains, part, strict=True)) for part in (along, across)], -1)


def aimed(now: Motion, target: Motion, dt: float) -> Motion:
    """The logged motion, with speed and heading bent so that what is lost in position is made up for.

    Speeds and headings of logs do not integrate to their positions, and a bicycle's next position hardly depends on its
    next action: following them alone drifts away. Half the gap that this leaves one step later is closed at a time.
    """
    c, s = jnp.cos(target.heading), jnp.sin(target.heading)
    dx, dy = target.x - now.x, target.y - now.y
    along, across = c * dx + s * dy - now.speed * dt, c * dy - s * dx
    speed = target.speed + 0.5 * along / dt
    away = jnp.maximum(jnp.abs(target.speed), 2.0) * 4 * dt
    heading = target.heading + jnp.where(jnp.abs(target.speed) > 0.5, jnp.sign(target.speed) * across / away, 0.0)
    return Motion(
        target.x,
        target.y,
        heading,
        speed * jnp.cos(heading),
        speed * jnp.sin(heading),
        target.acceleration,
        target.curvature,
    )
