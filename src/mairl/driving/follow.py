"""Driving after the log: the actions by which a vehicle keeps to where it was seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.driving.dynamics import Dynamics, aimed, motion
from mairl.driving.simulator import State
from mairl.driving.world import LOG, Worlds


def following(worlds: Worlds, dynamics: Dynamics, state: State) -> Float[Array, "agent size"]:
    """For each driven vehicle the action that brings it nearest to its log's next step, and makes up for what it has
    lost; after the log's end, and where the log has a gap, on as fast as it is, straight on."""
    n = worlds.num_agents
    now = state.motion
    row = worlds.log[state.world, jnp.minimum(state.time + 1, worlds.log.shape[1] - 1), :, :n]
    x, y, heading, vx, vy, valid = (row[LOG.index(name)] for name in ("x", "y", "heading", "vx", "vy", "valid"))
    seen = (valid > 0) & (state.time + 1 < worlds.log.shape[1])
    on = motion(now.x + now.vx * worlds.dt, now.y + now.vy * worlds.dt, now.heading, now.vx, now.vy)
    target = jax.tree.map(lambda a, b: jnp.where(seen, a, b), motion(x, y, heading, vx, vy), on)
    length = jnp.where(worlds.length[state.world, :n] > 0, worlds.length[state.world, :n], 1.0)
    return dynamics.inverse(now, aimed(now, target, worlds.dt), length, worlds.dt)
