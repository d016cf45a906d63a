"""What is around each driven vehicle, in its own frame: the one computation behind observations and infractions.

The frame has its origin in the middle of the vehicle's box and its x axis along the heading. Lengths are divided by
`UNIT`, so that networks see numbers around 1. Feature-major arrays keep each read and each write contiguous.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mairl.driving.geometry import same_level
from mairl.driving.prepare import LOG
from mairl.driving.road_grid import FEATURES
from mairl.driving.segments import LEVEL
from mairl.driving.world import Worlds

UNIT = 50.0
"""Metres that count as 1."""

FAST = 20.0
"""Metres a second that count as 1."""

PER_UNIT, PER_FAST = 1 / UNIT, 1 / FAST
"""Factors: a division by a constant costs several times what a product does."""

PARTNER = ("x", "y", "cos", "sin", "length", "width", "speed")
"""Of whatever else moves: its middle, its heading relative to the vehicle's, its box, its speed along its heading."""

ROAD = ("x", "y", "half_length", "ux", "uy", "kind", "z")
"""Of a piece of the map: its middle, half its length, its direction, its `SegmentKind` (not divided), its height above
the ground under the vehicle."""


class Scene(eqx.Module):
    """Everybody at one moment.

    Directions are kept as cosines and sines: XLA would compute those of a heading anew for every pair of vehicles.

    Attributes:
        x, y, z: of the middle of each box, metres.
        c, s: cosine and sine of the heading.
        speed: along the heading, m/s.
        present: who is there.
    """

    x: Float[Array, " slot"]
    y: Float[Array, " slot"]
    z: Float[Array, " slot"]
    c: Float[Array, " slot"]
    s: Float[Array, " slot"]
    speed: Float[Array, " slot"]
    present: Bool[Array, " slot"]

    def of(self, num_agents: int) -> Scene:
        """The first `num_agents` slots."""
        return jax.tree.map(lambda x: x[:num_agents], self)


def logged(worlds: Worlds, world: Int[Array, ""], time: Int[Array, ""]) -> Scene:
    """Everybody as the log has them; nobody after its end."""
    count, steps, *row = worlds.log.shape
    # One contiguous run: XLA copies rows of one axis several times faster than blocks of two.
    flat = worlds.log.reshape(count * steps, -1)
    row = flat.at[world * steps + jnp.minimum(time, steps - 1)].get(mode="promise_in_bounds").reshape(row)
    x, y, z, c, s, vx, vy, valid = (row[LOG.index(name)] for name in ("x", "y", "z", "cos", "sin", "vx", "vy", "valid"))
    return Scene(x, y, z, c, s, vx * c + vy * s, (valid > 0) & (time < worlds.log.shape[1]))


class Partners(eqx.Module):
    """Everybody else around each agent. Place k holds slot k; where that is the agent itself, the last slot.

    Attributes:
        features: `PARTNER`.
        present: who is there.
        level: whose box overlaps with the agent's in height: those on a bridge do not with those below it.
    """

    features: Float[Array, "agent 7 partner"]
    present: Bool[Array, "agent partner"]
    level: Bool[Array, "agent partner"]


def without_self(values: Float[Array, "*b slot"], num_agents: int) -> Float[Array, "*b agent partner"]:
    """Everybody's values but one's own, for each agent, in the places of `Partners`."""
    others = values.shape[-1] - 1
    own = jnp.arange(num_agents)[:, None] == jnp.arange(others)
    return jnp.where(own, values[..., None, others:], values[..., None, :others])


def partners(
    scene: Scene,
    length: Float[Array, " slot"],
    width: Float[Array, " slot"],
    height: Float[Array, " slot"],
    num_agents: int,
) -> Partners:
    """What `Partners` says, for each of the first `num_agents` slots. Boxes in metres."""

    def pair(values: Array) -> tuple[Array, Array]:
        return without_self(values, num_agents), values[:num_agents, None]

    (x, own_x), (y, own_y), (co, ca), (so, sa) = (pair(v) for v in (scene.x, scene.y, scene.c, scene.s))
    dx, dy = (x - own_x) * PER_UNIT, (y - own_y) * PER_UNIT
    features = [
        dx * ca + dy * sa,
        dy * ca - dx * sa,
        co * ca + so * sa,
        so * ca - co * sa,
        without_self(length * PER_UNIT, num_agents),
        without_self(width * PER_UNIT, num_agents),
        without_self(scene.speed * PER_FAST, num_agents),
    ]
    (z, own_z), (tall, own_tall) = pair(scene.z), pair(height)
    return Partners(
        jnp.stack(features, axis=1),
        without_self(scene.present, num_agents),
        same_level(own_z, own_tall, z, tall),
    )


class Around(eqx.Module):
    """What is around each driven vehicle at one moment, in its own frame.

    Attributes:
        scene: everybody.
        partners: everybody else.
        rows: of the map's index, from `RoadGrid.rows_at`.
        edges: the road edges, as `ROAD`, and which places hold one of the vehicle's level.
    """

    scene: Scene
    partners: Partners
    rows: Int[Array, " agent"]
    edges: tuple[Float[Array, "agent 7 slot"], Bool[Array, "agent slot"]]


def road(
    table: Float[Array, "row 7 slot"],
    rows: Int[Array, " agent"],
    agents: Scene,
    ground: Float[Array, " agent"],
    again: bool = False,
) -> tuple[Float[Array, "agent 7 slot"], Bool[Array, "agent slot"]]:
    """The pieces of the map in each agent's row as `ROAD`, and which slots hold one of the agent's level.

    Args:
        rows: from `RoadGrid.rows_at`.
        agents: `Scene.of` the agents.
        ground: height of the road under each, metres.
        again: whether the pieces are read several times; the result is the same.
    """
    if again:
        # One contiguous run for each agent, written once.
        flat = table.reshape(len(table), -1).at[rows].get(mode="promise_in_bounds")
        x, y, half, ux, uy, kind, z = jnp.split(flat, len(FEATURES), axis=1)
    else:
        # A gather for each feature: XLA merges them with what follows.
        x, y, half, ux, uy, kind, z = (
            table.at[rows, FEATURES.index(name)].get(mode="promise_in_bounds") for name in FEATURES
        )
    c, s = agents.c[:, None], agents.s[:, None]
    dx, dy = (x - agents.x[:, None]) * PER_UNIT, (y - agents.y[:, None]) * PER_UNIT
    features = [
        dx * c + dy * s,
        dy * c - dx * s,
        half * PER_UNIT,
        ux * c + uy * s,
        uy * c - ux * s,
        kind,
        (jnp.where(jnp.isinf(z), 0.0, z) - ground[:, None]) * PER_UNIT,
    ]
    return jnp.stack(features, axis=1), jnp.abs(z - ground[:, None]) < LEVEL
