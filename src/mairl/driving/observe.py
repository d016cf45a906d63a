"""What a driven vehicle sees: sets of whatever moves and of pieces of the map around it, with masks.

`{"ego": [EGO], "partners": [PARTNER, n], "partners_mask": [n], "edges": [ROAD, n], "edges_mask": [n], "others": ...}`:
entities stand on the last axis. See `surroundings` for units and frames. Lanes are another set, `"lanes": [LANE, n]`;
their graph's edges are places in it, `"lanes_links": [LINKS, n]`, with a mask of that shape (`lanes_around`).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mairl.driving.lanes_around import lanes_seen, links_seen
from mairl.driving.prepare import GOAL, STOP
from mairl.driving.simulator import State, around
from mairl.driving.surroundings import PER_FAST, PER_UNIT, Around, Scene, road, without_self
from mairl.driving.ways import ahead
from mairl.driving.world import Worlds

EGO = ("speed", "length", "width", "goal_x", "goal_y", "acceleration", "curvature")
"""Of the vehicle itself: speed (/ FAST), box and goal (/ UNIT, in its frame), what it did last (/ 6 m/s², × 10 m)."""


@dataclasses.dataclass(frozen=True)
class Sight:
    """How much is seen.

    Attributes:
        partners: the nearest of whatever else moves; at least as many as there are slots for: all, in order of slots.
        edges, others: pieces of the map, those nearest to the vehicle's cell first; no more than the index holds.
        radius: nothing farther away is seen, metres.
        history: earlier steps of everybody seen.
        lights: whether stop lines and what their lights show are seen.
        clock: whether the share of the episode that is over is seen, as an eighth feature of the ego.
        lanes: pieces of lanes of about 10 m, those nearest to the vehicle's cell first; no more than the index holds.
        links: whether successors, predecessors and neighbours among these pieces are seen, for networks on graphs.
        way: of the way to the goal through the lanes, the places so many metres ahead are told, as further features of
            the ego: how much is left, then x and y of these places (`mairl.driving.ways`).
    """

    partners: int = 63
    edges: int = 64
    others: int = 136
    radius: float = 50.0
    history: int = 0
    lights: bool = False
    clock: bool = False
    lanes: int = 0
    links: bool = False
    way: tuple[float, ...] = ()


FULL = Sight()
"""1,848 numbers with 64 slots."""

SMALL = Sight(partners=8, edges=16, others=16)
"""287 numbers, for training without a GPU."""


def observe(worlds: Worlds, sight: Sight, state: State, horizon: int, near: Around | None = None) -> PyTree[Array]:
    """What each agent sees, leaves `[agent, ...]`; of agents that take no part it means nothing.

    Args:
        horizon: steps of an episode, for the clock.
        near: what was around when the step that led here looked.
    """
    w, n = state.world, worlds.num_agents
    near = around(worlds, state) if near is None else near
    # Who was taken off the road in the step that led here was still there when it was looked around.
    gone = jnp.pad(state.away & worlds.driven[w], (0, worlds.num_slots - n))
    present = near.partners.present & ~without_self(gone, n)
    scene, features = near.scene, near.partners.features
    x, y = features[:, 0], features[:, 1]
    present &= x * x + y * y < (sight.radius * PER_UNIT) ** 2
    past, past_present = _history(state, scene, n) if sight.history else (None, None)
    if sight.partners < features.shape[2]:
        _, nearest = jax.lax.top_k(jnp.where(present, -(x * x + y * y), -jnp.inf), sight.partners)
        features = jnp.take_along_axis(features, nearest[:, None], axis=2)
        present = jnp.take_along_axis(present, nearest, axis=1)
        if past is not None and past_present is not None:
            past = jnp.take_along_axis(past, nearest[:, None, None], axis=3)
            past_present = jnp.take_along_axis(past_present, nearest[:, None], axis=2)
    seen = {"ego": _ego(worlds, sight, state, scene.of(n), horizon), "partners": features, "partners_mask": present}
    if past is not None and past_present is not None:
        seen |= {"past": past, "past_mask": past_present & present[:, None]}
    others, there = road(worlds.grid.others[:, :, : sight.others], near.rows, scene.of(n), state.ground)
    edges, edges_there = near.edges
    seen |= {"edges": edges[:, :, : sight.edges], "edges_mask": edges_there[:, : sight.edges]}
    seen |= {"others": others, "others_mask": there}
    if sight.lights:
        seen |= _lights(worlds, state)
    if sight.lanes and worlds.lanes is not None:
        lanes, there = lanes_seen(worlds.lanes, near.rows, scene.of(n), state.ground, sight.lanes)
        seen |= {"lanes": lanes, "lanes_mask": there}
        if sight.links:
            links, linked = links_seen(worlds.lanes, near.rows, there)
            seen |= {"lanes_links": links, "lanes_links_mask": linked}
    return seen


def _ego(worlds: Worlds, sight: Sight, state: State, agents: Scene, horizon: int) -> Float[Array, "agent feature"]:
    w, n, now = state.world, worlds.num_agents, state.motion
    goal = dict(zip(GOAL, worlds.goal[w], strict=True))
    c, s = agents.c, agents.s
    dx, dy = (goal["x"] - agents.x) * PER_UNIT, (goal["y"] - agents.y) * PER_UNIT
    columns = [
        agents.speed * PER_FAST,
        worlds.length[w, :n] * PER_UNIT,
        worlds.width[w, :n] * PER_UNIT,
        dx * c + dy * s,
        dy * c - dx * s,
        now.acceleration / 6.0,
        now.curvature * 10.0,
    ]
    if sight.clock:
        columns.append(jnp.full(n, (state.time - worlds.start[w]) / horizon))
    ego = jnp.stack(columns, axis=1)
    if sight.way and worlds.ways is not None:
        told = ahead(worlds.ways, w, agents.x, agents.y, agents.c, agents.s, sight.way)
        ego = jnp.concatenate([ego, told * PER_UNIT], axis=1)
    return ego


def _history(
    state: State, scene: Scene, num_agents: int
) -> tuple[Float[Array, "agent history 5 partner"], Bool[Array, "agent history partner"]]:
    """Where everybody else was, in each agent's present frame: x, y, cos and sin of the heading, speed."""
    assert state.past is not None
    agents = scene.of(num_agents)
    own_x, own_y, c, s = (part[:, None, None] for part in (agents.x, agents.y, agents.c, agents.s))
    x, y, co, so, speed, there = jnp.moveaxis(without_self(state.past, num_agents), (1, 2), (0, 1))
    dx, dy = (x - own_x) * PER_UNIT, (y - own_y) * PER_UNIT
    features = [dx * c + dy * s, dy * c - dx * s, co * c + so * s, so * c - co * s, speed * PER_FAST]
    return jnp.stack(features, axis=2), there > 0


def _lights(worlds: Worlds, state: State) -> dict[str, Array]:
    """Stop lines in each agent's frame: x, y, direction of the lane, half its width, and 1 where the light is red."""
    w, now = state.world, state.motion
    x, y, ux, uy, half = (worlds.stop[w, STOP.index(name)] for name in STOP)
    red = worlds.red[w, jnp.minimum(state.time, worlds.red.shape[1] - 1)].astype(jnp.float32)
    c, s = jnp.cos(now.heading)[:, None], jnp.sin(now.heading)[:, None]
    dx, dy = (x - now.x[:, None]) * PER_UNIT, (y - now.y[:, None]) * PER_UNIT
    shape = dx.shape
    features = [
        dx * c + dy * s,
        dy * c - dx * s,
        ux * c + uy * s,
        uy * c - ux * s,
        jnp.broadcast_to(half * PER_UNIT, shape),
        jnp.broadcast_to(red, shape),
    ]
    return {"lights": jnp.stack(features, axis=1), "lights_mask": jnp.broadcast_to(half > 0, shape)}
