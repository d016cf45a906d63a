"""How well vehicles drive: goals, infractions, distance from the logs, and how alike both are in distribution."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mairl.core.policy import Policy
from mairl.driving.game import Driving
from mairl.driving.segments import SegmentKind
from mairl.driving.simulator import EVENTS, Rules, State, scene_of
from mairl.driving.surroundings import ROAD, UNIT, Scene, logged, partners, road
from mairl.driving.world import Worlds

BINS = {
    "acceleration": (-6.0, 6.0, 24),
    "speed": (0.0, 35.0, 35),
    "lateral_offset": (-3.0, 3.0, 24),
    "lead_distance": (0.0, 50.0, 25),
}
"""Least and greatest value and number of bins of each histogram (m/s², m/s, m, m); what lies beyond counts in the last
bins."""

LANE_HALF = 2.0
"""Metres aside within which somebody ahead is in the way."""


class Kinematics(eqx.Module):
    """What is compared in distribution, of each agent at one moment.

    Attributes:
        speed: along the heading, m/s.
        lateral_offset: of the middle from the nearest lane's centreline, left positive, metres; infinite without one.
        lead_distance: gap between bumpers to whoever is nearest ahead in the way, metres; infinite without one.
    """

    speed: Float[Array, " agent"]
    lateral_offset: Float[Array, " agent"]
    lead_distance: Float[Array, " agent"]


def kinematics(worlds: Worlds, world, scene: Scene, ground: Float[Array, " agent"]) -> Kinematics:
    """Of the first `num_agents` slots of a scene."""
    n = worlds.num_agents
    agents = scene.of(n)
    around = partners(scene, worlds.length[world], worlds.width[world], worlds.height[world], n)
    x, y, _, _, length, _, _ = jnp.moveaxis(around.features, 1, 0) * UNIT
    half = worlds.length[world, :n, None] / 2
    way = around.present & around.level & (x > 0) & (jnp.abs(y) < LANE_HALF)
    gap = jnp.maximum(x - half - length / 2, 0.0)
    lead = jnp.min(jnp.where(way, gap, jnp.inf), axis=1)
    rows = worlds.grid.rows_at(agents.x, agents.y, world)
    pieces, there = road(worlds.grid.others, rows, agents, ground)
    px, py, h, ux, uy, kind, _ = (pieces[:, ROAD.index(name)] for name in ROAD)
    t = jnp.clip(-(px * ux + py * uy), -h, h)
    lane = there & (kind == SegmentKind.LANE) & (ux > 0)
    square = jnp.where(lane, (px + t * ux) ** 2 + (py + t * uy) ** 2, jnp.inf)
    nearest = jnp.argmin(square, axis=1)[:, None]
    aside = jnp.take_along_axis(px * uy - py * ux, nearest, 1)[:, 0] * UNIT
    known = jnp.isfinite(jnp.min(square, axis=1))
    return Kinematics(agents.speed, jnp.where(known, aside, jnp.inf), lead)


class Driven(eqx.Module):
    """One rollout of every world, leaves `[time, world, agent]`.

    Attributes:
        on: drove in this step.
        events: by name.
        own, log: where everybody was after the step, and what is compared.
        error: x and y of the position less the log's in the log's frame (along, across), metres.
        compared: drove, and was seen at that moment.
    """

    on: Bool[Array, "time world agent"]
    events: dict[str, Array]
    own: Kinematics
    log: Kinematics
    error: Float[Array, "time world agent 2"]
    compared: Bool[Array, "time world agent"]


def drive(game: Driving, policy: Policy, key: Key[Array, ""], greedy: bool = False) -> Driven:
    """Every world once."""
    count, worlds, n = len(game.worlds), game.worlds, game.num_agents

    def one(key, state: State):
        key_act, key_step = jax.random.split(key)
        obs = game.observe(state)
        actions = policy.mode(obs) if greedy else policy.sample(key_act, obs)
        after, step = game.step(key_step, state, actions)
        scene, log = scene_of(worlds, after), logged(worlds, after.world, after.time)
        dx, dy = scene.x[:n] - log.x[:n], scene.y[:n] - log.y[:n]
        c, s = log.c[:n], log.s[:n]
        error = jnp.stack([dx * c + dy * s, dy * c - dx * s], -1)
        ground = log.z[:n] - worlds.height[after.world, :n] / 2
        found = (
            kinematics(worlds, after.world, scene, after.ground),
            kinematics(worlds, after.world, log, ground),
        )
        seen = step.mask & log.present[:n]
        return after, Driven(step.mask, {k: step.info[k] for k in EVENTS}, *found, error, seen)

    def tick(state, key):
        return jax.vmap(one)(jax.random.split(key, count), state)

    first = jax.vmap(lambda w: game.reset_to(w)[0])(jnp.arange(count))
    return jax.lax.scan(tick, first, jax.random.split(key, game.horizon))[1]


_drive = eqx.filter_jit(drive)


def staying(game: Driving) -> Driving:
    """The same game, but that everybody stays on the road whatever happens: to be compared with logs to their end."""
    stay = {field.name: "ignore" for field in dataclasses.fields(Rules) if field.name.startswith("at_")}
    return dataclasses.replace(game, rules=dataclasses.replace(game.rules, **stay))


def driving_metrics(game: Driving, policy: Policy, seed: int = 0, greedy: bool = False) -> dict[str, Any]:
    """Goals and infractions as the game has it; distances and distributions with everybody staying on the road.

    Args:
        policy: one seed's.

    Returns:
        "controlled_agents"; shares of them: "goal_rate", "collision_rate", "off_road_rate", "red_light_rate",
        "wrong_way_rate", "infraction_rate" (collision or off-road); "fde", "ate", "cte": mean distance at the last
        moment that log and rollout share, and its parts along and across the logged heading (metres); "jsd": the
        Jensen-Shannon divergence (nats) between rollouts and logs of each of `BINS`.
    """
    played = jax.tree.map(np.asarray, _drive(game, policy, jax.random.key(seed), greedy))
    driven = np.asarray(game.worlds.driven) & (np.arange(game.num_agents) < game.learners)
    count = int(driven.sum())
    ever = {name: (played.events[name].any(0) & driven) for name in EVENTS}
    rates = {("goal_rate" if k == "goal" else f"{k}_rate"): float(v.sum()) / count for k, v in ever.items()}
    rates["infraction_rate"] = float((ever["collision"] | ever["off_road"]).sum()) / count
    free = jax.tree.map(np.asarray, _drive(staying(game), policy, jax.random.key(seed + 1), greedy))
    return {"controlled_agents": count, **rates, **_distances(free), "jsd": _divergences(free, game.worlds.dt)}


def _distances(played: Driven) -> dict[str, float | None]:
    ever = played.compared.any(0)
    last = played.compared.shape[0] - 1 - np.argmax(played.compared[::-1], axis=0)
    error = np.take_along_axis(np.asarray(played.error), last[None, :, :, None], 0)[0][ever]
    if not len(error):
        return {"fde": None, "ate": None, "cte": None}
    along, across = np.abs(error).mean(0)
    return {"fde": float(np.hypot(*error.T).mean()), "ate": float(along), "cte": float(across)}


def _divergences(played: Driven, dt: float) -> dict[str, float | None]:
    both = played.compared
    steady = both[1:] & both[:-1]
    found = {}
    for name, (low, high, bins) in BINS.items():
        samples = []
        for side in (played.own, played.log):
            if name == "acceleration":
                values = (np.diff(side.speed, axis=0) / dt)[steady]
            else:
                values = getattr(side, name)[both]
            values = values[np.isfinite(values)]
            samples.append(np.histogram(np.clip(values, low, high), bins, (low, high))[0].astype(float))
        found[name] = jensen_shannon(*samples)
    return found


def jensen_shannon(a: np.ndarray, b: np.ndarray) -> float | None:
    """Divergence between two histograms of counts, in nats: 0 alike, log 2 apart; None where one is empty."""
    if a.sum() == 0 or b.sum() == 0:
        return None
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2

    def to_middle(x):
        return float(np.sum(np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0) / np.where(x > 0, middle, 1.0)), 0.0)))

    return (to_middle(p) + to_middle(q)) / 2
