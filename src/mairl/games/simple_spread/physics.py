"""Bodies that push themselves, are slowed down and repel each other when they touch, as in the multi-agent particle
environments (Mordatch & Abbeel 2017; Lowe et al. 2017)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.games.simple_spread.types import RADIUS, SpreadState

STEP = 0.1
"""Seconds a step."""

DAMPING = 0.25
"""Share of the velocity that is lost in a step."""

PUSH = 5.0
"""Acceleration of a full push."""

STIFFNESS, MARGIN = 100.0, 1e-3
"""Force for each unit of overlap, and how sharply it begins."""


def push(actions: Array) -> Float[Array, "agent 2"]:
    """Where each agent pushes, 1 for a full push: of discrete actions `[agent]` (stay, left, right, down, up), or of
    `[agent, 5]` how much of each (the first does nothing)."""
    if actions.ndim == 1:
        actions = jax.nn.one_hot(actions, 5)
    actions = jnp.clip(actions, 0.0, 1.0)
    return jnp.stack([actions[:, 2] - actions[:, 1], actions[:, 4] - actions[:, 3]], axis=-1)


def move(state: SpreadState, pushed: Float[Array, "agent 2"]) -> tuple[Array, Array]:
    """Places and velocities after a step. Places move by the old velocity; forces are those of the old places."""
    force = PUSH * pushed + repulsion(state.place)
    return state.place + STEP * state.velocity, (1 - DAMPING) * state.velocity + STEP * force


def repulsion(place: Float[Array, "agent 2"]) -> Float[Array, "agent 2"]:
    """The force on each agent from all others: a softplus of the overlap, along the line between the centres."""
    between = place[:, None] - place[None]
    far = lengths(between)
    overlap = MARGIN * jax.nn.softplus((2 * RADIUS - far) / MARGIN)
    # An agent does not repel itself: its distance to itself is 0, and so is the direction.
    return jnp.sum(STIFFNESS * (overlap / jnp.where(far > 0, far, 1.0))[..., None] * between, axis=1)


def lengths(vectors: Float[Array, "*b 2"]) -> Float[Array, "*b"]:
    """Euclidean lengths, with derivative 0 at 0."""
    square = jnp.sum(vectors**2, axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
