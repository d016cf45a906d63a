"""Driving after the log: the actions by which a vehicle keeps to where it was seen.

`following` keeps to the log in place and time, which is exact where nothing went wrong. `retracing` keeps to the log's
path at the pace it had there, which makes sense from wherever a vehicle has got to: it can teach others.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.driving.dynamics import Dynamics, motion, wrap
from mairl.driving.prepare import LOG
from mairl.driving.simulator import State
from mairl.driving.tracking import steadied, toward
from mairl.driving.world import Worlds


def following(worlds: Worlds, dynamics: Dynamics, state: State) -> Float[Array, "agent size"]:
    """For each driven vehicle the action that brings it nearest to its log's next step, and makes up for what it has
    lost; after the log's end, and where the log has a gap, on as fast as it is, straight on."""
    n = worlds.num_agents
    now = state.motion
    log = worlds.log[state.world, :, :, :n]
    x, y, heading, vx, vy, valid = (log[:, LOG.index(name)] for name in ("x", "y", "heading", "vx", "vy", "valid"))
    steady = steadied(motion(x, y, heading, vx, vy), valid > 0, worlds.dt)
    next_step = jnp.minimum(state.time + 1, log.shape[0] - 1)
    seen = (valid[next_step] > 0) & (state.time + 1 < log.shape[0])
    on = motion(now.x + now.vx * worlds.dt, now.y + now.vy * worlds.dt, now.heading, now.vx, now.vy)
    target = jax.tree.map(lambda a, b: jnp.where(seen, a[next_step], b), steady, on)
    length = jnp.where(worlds.length[state.world, :n] > 0, worlds.length[state.world, :n], 1.0)
    return toward(dynamics, now, target, length, worlds.dt)


WHEN = 0.03
"""Metres that a step's difference in time counts as, where a log passes one place more than once, or waits there."""

REACH, REACH_SECONDS = 3.0, 0.6
"""What is steered for lies this far ahead on the path: metres, or seconds if that is more."""

SETTLE = 0.15
"""Seconds in which the speed is to become the path's."""

HURRY, HURRY_MOST = 0.02, 0.2
"""Share by which a vehicle is faster than its log for each step that it is late, and at most."""

LEAST_SPEED = 2.0
"""m/s near the path's end: a log that ends standing would otherwise never be followed to its end."""


def retracing(worlds: Worlds, dynamics: Dynamics, state: State) -> Float[Array, "agent size"]:
    """For each driven vehicle the action that keeps it to its log's path, at about the pace it had there.

    The nearest place of the path decides the speed; a place ahead is steered for (pure pursuit, Coulter 1992).
    """
    n, now, dt = worlds.num_agents, state.motion, worlds.dt
    log = worlds.log[state.world, :, :, :n]
    x, y, heading, vx, vy, valid = (log[:, LOG.index(name)] for name in ("x", "y", "heading", "vx", "vy", "valid"))
    steps = jnp.arange(log.shape[0])[:, None]
    seen = (valid > 0) & (steps >= worlds.start[state.world])
    last = log.shape[0] - 1 - jnp.argmax(seen[::-1], axis=0)

    def at(values, step):
        return jnp.take_along_axis(values, step[None], axis=0)[0]

    away = (x - now.x) ** 2 + (y - now.y) ** 2 + (WHEN * (steps - state.time)) ** 2
    place = jnp.argmin(jnp.where(seen, away, jnp.inf), axis=0)
    pace = at(vx * jnp.cos(heading) + vy * jnp.sin(heading), jnp.minimum(place + 2, last))
    pace = pace * (1.0 + jnp.clip(HURRY * (state.time - place), 0.0, HURRY_MOST))
    pace = jnp.where(place >= last - 1, jnp.maximum(pace, LEAST_SPEED), pace)

    length = jnp.where(worlds.length[state.world, :n] > 0, worlds.length[state.world, :n], 1.0)
    back = 0.3 * length  # From the middle to the rear axle, about which a vehicle turns.
    rear_x, rear_y = now.x - back * jnp.cos(now.heading), now.y - back * jnp.sin(now.heading)
    path_x, path_y = x - back * jnp.cos(heading), y - back * jnp.sin(heading)
    reach = jnp.maximum(REACH, REACH_SECONDS * now.speed)
    ahead = seen & (steps > place) & ((path_x - rear_x) ** 2 + (path_y - rear_y) ** 2 >= reach**2)
    first = jnp.argmax(ahead, axis=0)
    # Beyond the path's end: straight on.
    end_x, end_y, end = at(path_x, last), at(path_y, last), at(heading, last)
    beyond = jnp.maximum(reach - jnp.hypot(end_x - rear_x, end_y - rear_y), 0.5)
    on = jnp.any(ahead, axis=0)
    dx = jnp.where(on, at(path_x, first), end_x + beyond * jnp.cos(end)) - rear_x
    dy = jnp.where(on, at(path_y, first), end_y + beyond * jnp.sin(end)) - rear_y
    aside = dy * jnp.cos(now.heading) - dx * jnp.sin(now.heading)
    curvature = 2.0 * aside / jnp.maximum(dx**2 + dy**2, 1.0)

    turned = wrap(now.heading + curvature * now.speed * dt)
    speed = now.speed + (pace - now.speed) * dt / SETTLE
    vx, vy = speed * jnp.cos(turned), speed * jnp.sin(turned)
    target = motion(now.x + vx * dt, now.y + vy * dt, turned, vx, vy)
    return dynamics.inverse(now, target, length, dt)
