"""What a vehicle sees: itself, and the others in its own arm's frame, those to its left first."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.games.intersection.lanes import progress, routes, world
from mairl.games.intersection.types import FASTER, SPEEDS, IntersectionState

RANGE, TOP_SPEED, ROUTE = 50.0, 10.0, 100.0
"""Units of positions (m), speeds (m/s) and progress (m): observations are around 1."""


def entities(state: IntersectionState, intentions: bool, horizon: int) -> dict[str, Array]:
    """`ego` `[vehicle, 13]`: speed, target speed, progress, and the distance to the junction's far side; the lane and
    the turn, one-hot; arrived; time left; crashed. `entities` `[vehicle, others, 12]`: presence, position, velocity and
    direction relative to the ego's arm, progress, time since the start of its crossing; its turn, one-hot (0 unless
    `intentions`). `mask` `[vehicle, others]`: who is there."""
    n = state.turn.shape[0]
    body, route = state.body, routes(state.turn)
    position, heading = world(state.turn, body)
    covered, _ = progress(state.turn, body)
    turn = jax.nn.one_hot(state.turn, 3)
    ego = jnp.concatenate(
        [
            jnp.stack([body.speed / TOP_SPEED, body.target / SPEEDS[FASTER]], axis=-1),
            jnp.stack([covered / ROUTE - 1, (covered - route[:, :2, 5].sum(-1)) / ROUTE], axis=-1),
            jax.nn.one_hot(body.lane, 3),
            turn,
            state.arrived[:, None].astype(jnp.float32),
            jnp.broadcast_to(1 - state.time / horizon, (n, 1)),
            body.crashed[:, None].astype(jnp.float32),
        ],
        axis=-1,
    )
    velocity = body.speed[:, None] * jnp.stack([jnp.cos(heading), jnp.sin(heading)], axis=-1)
    angle = -jnp.pi / 2 * (jnp.arange(n) % 4)
    cos, sin = jnp.cos(angle), jnp.sin(angle)

    def turned(vector: Float[Array, "vehicle other 2"]):
        x, y = vector[..., 0], vector[..., 1]
        return jnp.stack([cos[:, None] * x - sin[:, None] * y, sin[:, None] * x + cos[:, None] * y], axis=-1)

    # Others in the order of their arms, clockwise from the ego's.
    order = (jnp.arange(n)[:, None] + jnp.arange(1, n)) % n
    if n > 1:
        place = turned(position[order] - position[:, None]) / RANGE
        moves = turned(velocity[order] - velocity[:, None]) / TOP_SPEED
        relative = heading[order] - heading[:, None]
        there = ~body.gone[order]
        rows = jnp.concatenate(
            [
                there[..., None].astype(jnp.float32),
                place,
                moves,
                jnp.stack([jnp.cos(relative), jnp.sin(relative)], axis=-1),
                (covered[order] / ROUTE - 1)[..., None],
                (body.speed[order] / TOP_SPEED)[..., None],
                turn[order] * intentions,
            ],
            axis=-1,
        )
        rows = jnp.where(there[..., None], rows, 0.0)
    else:
        rows, there = jnp.zeros((1, 0, 12)), jnp.zeros((1, 0), bool)
    return {"ego": ego, "entities": rows, "mask": there}


def vector(state: IntersectionState, intentions: bool, horizon: int) -> Float[Array, "vehicle feature"]:
    """`entities` as one vector."""
    seen = entities(state, intentions, horizon)
    return jnp.concatenate([seen["ego"], seen["entities"].reshape(seen["ego"].shape[0], -1)], axis=-1)


OBSERVATIONS = {"vector": vector, "entities": entities}
