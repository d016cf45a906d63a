"""Ways through the graph of lanes, for vehicles on their own whose logs show no way. On the host.

From the lane that a vehicle is on it follows the lanes' centrelines, at forks by chance, as fast as limits and bends
allow, for as long as the worlds last or lanes go on. What stands off the middle of its lane drives there first.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from mairl.driving.idm import Driver
from mairl.driving.lane_index import FACTS, FORKS, LINKS, POINTS, LaneIndex
from mairl.driving.lanes_around import OnLane, on_lane
from mairl.driving.prepare import LOG
from mairl.driving.surroundings import Scene
from mairl.driving.world import Worlds
from mairl.scenarios.schema import AgentType

BRIEF = 1.0
"""Seconds: whoever is seen for longer after the start has a log to keep to, if only that it stands."""

SETTLES = 15.0
"""Metres in which a vehicle comes to the middle of its lane."""

BEND = 4.0
"""Metres to both sides over which a bend is measured: lines of a map have kinks."""

ROUTE = ("x", "y", "z", "cos", "sin", "station", "wanted")
"""Of a route at even distances: the first of `paths.PATH`."""


@dataclasses.dataclass(frozen=True)
class Routes:
    """Routes of vehicles whose logs show no way.

    Attributes:
        path: `ROUTE`, at as many places as logs have steps; 0 where there is none.
        taken: who has one.
        stranded: who would need one, and stands on no lane.
    """

    path: Float[np.ndarray, "world route time slot"]
    taken: Bool[np.ndarray, "world slot"]
    stranded: Bool[np.ndarray, "world slot"]


def routes_of(worlds: Worlds, driver: Driver, travel: float) -> Routes:
    """Routes of all vehicles that are not driven, that are seen at or after the start, for no longer than `BRIEF`, and
    that go no farther than `travel` metres in that time. None in worlds without lanes, or if the driver takes none."""
    log: dict[str, np.ndarray] = dict(zip(LOG, np.moveaxis(np.asarray(worlds.log, np.float64), 2, 0), strict=True))
    count, steps, slots = log["x"].shape
    path = np.zeros((count, len(ROUTE), steps, slots), np.float32)
    none = np.zeros((count, slots), bool)
    if worlds.lanes is None or not driver.routes:
        return Routes(path, none, none)
    time = np.arange(steps)[:, None]
    seen = (log["valid"] > 0) & (time >= np.asarray(worlds.start)[:, None, None])
    first, last = seen.argmax(1), steps - 1 - seen[:, ::-1].argmax(1)

    def at(name: str, step: np.ndarray) -> np.ndarray:
        return np.take_along_axis(log[name], step[:, None], axis=1)[:, 0]

    went = np.hypot(at("x", last) - at("x", first), at("y", last) - at("y", first))
    driven = np.pad(np.asarray(worlds.driven), [(0, 0), (0, slots - worlds.num_agents)])
    lacks = (np.asarray(worlds.kind) == AgentType.VEHICLE) & ~driven & seen.any(1)
    lacks &= ((last - first) * worlds.dt <= BRIEF + 1e-6) & (went <= travel)
    if not lacks.any():
        return Routes(path, none, none)
    x, y, z, c, s, vx, vy = (at(name, first) for name in ("x", "y", "z", "cos", "sin", "vx", "vy"))
    speed = np.maximum(vx * c + vy * s, 0.0)
    lane = jax.tree.map(np.asarray, _on_lanes(worlds, *(jnp.asarray(v, jnp.float32) for v in (x, y, z, c, s))))
    taken = lacks & lane.on
    index = jax.tree.map(np.asarray, worlds.lanes)
    for world, slot in np.argwhere(taken):
        here = jax.tree.map(lambda v, w=world, k=slot: v[w, k], lane)
        rng = np.random.default_rng([driver.seed, world, slot])
        seconds = (steps - 1 - first[world, slot]) * worlds.dt
        points, limit = _ahead(index, here, driver, seconds, rng)
        begin = float(speed[world, slot]), float(z[world, slot])
        path[world, :, :, slot] = _route(points, limit, here, driver, *begin, steps)
    return Routes(path, taken, lacks & ~lane.on)


@eqx.filter_jit
def _on_lanes(worlds: Worlds, x, y, z, c, s) -> OnLane:
    """The lanes of vehicles `[world, slot]`."""
    assert worlds.lanes is not None
    lanes = worlds.lanes

    def one(world, x, y, z, c, s):
        there = jnp.ones(x.shape, bool)
        scene = Scene(x, y, z, c, s, jnp.zeros(x.shape), there)
        return on_lane(lanes, worlds.grid.rows_at(x, y, world), scene, z - worlds.height[world] / 2)

    return jax.vmap(one)(jnp.arange(len(worlds)), x, y, z, c, s)


def _ahead(
    index: LaneIndex, here: OnLane, driver: Driver, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points `[n, 3]` of the centrelines ahead, and the speed limit at each, NaN where it is unknown: as far as can be
    driven in so many seconds, and seen from there."""
    length, limit, known = (index.facts[:, FACTS.index(name)] for name in ("length", "limit", "limit_known"))
    successors = [k for k, name in enumerate(LINKS) if name == "successor"]
    assert len(successors) == FORKS
    piece, points, limits = int(here.piece), [], []
    left, reach = seconds, driver.reach
    at = float(here.along)
    while True:
        fast = limit[piece] if known[piece] > 0 else np.nan
        spots = np.linspace(0.0, length[piece], POINTS)
        on = spots > at + 0.1 if not points else spots > 0.0
        line = index.points[piece].T
        if not points:
            points.append([[np.interp(at, spots, column) for column in line.T]])
            limits.append([fast])
        points.append(line[on])
        limits.append(np.full(on.sum(), fast))
        # Seconds first, then what is seen from there.
        reach -= length[piece] if left <= 0 else 0.0
        left -= length[piece] / max(fast if np.isfinite(fast) else driver.pace, 1.0)
        ways = [link for link in index.links[piece, successors] if link > 0]
        if not ways or reach <= 0:
            if len(points) == 2 and length[piece] - at < 1.0:
                # Who stands at the very end of the last lane has a metre more.
                way = line[-1] - line[-2]
                points.append([line[-1] + way / max(float(np.hypot(*way[:2])), 1e-6)])
                limits.append([fast])
            return np.concatenate(points).astype(np.float64), np.concatenate(limits)
        piece = int(ways[rng.integers(len(ways))])


def _route(
    points: np.ndarray, limit: np.ndarray, here: OnLane, driver: Driver, speed: float, z: float, steps: int
) -> np.ndarray:
    """`ROUTE` `[route, steps]` along points, from beside the first of them."""
    step = np.hypot(*np.diff(points[:, :2], axis=0).T)
    keep = np.r_[True, step > 1e-3]
    points, limit = points[keep], limit[keep]
    far = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points[:, :2], axis=0).T))])
    station = np.linspace(0.0, far[-1], steps)
    x, y, height = (np.interp(station, far, column) for column in points.T)
    gap = station[1]
    turned = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    # Cubic Hermite from where it stands, and points, to the middle of the lane.
    u = np.minimum(station / SETTLES, 1.0)
    slant = np.clip(here.sin / max(here.cos, 0.1), -1.0, 1.0)
    aside = here.offset * (2 * u**3 - 3 * u**2 + 1) + SETTLES * slant * (u**3 - 2 * u**2 + u)
    x, y = x - aside * np.sin(turned), y + aside * np.cos(turned)
    before, after = np.maximum(station - BEND, 0.0), np.minimum(station + BEND, far[-1])
    bend = np.abs(np.interp(after, station, turned) - np.interp(before, station, turned)) / (after - before)
    known = limit[np.minimum(np.searchsorted(far, station), len(limit) - 1)]
    wanted = np.where(np.isfinite(known), known, max(driver.pace, speed))
    wanted = np.minimum(wanted, np.sqrt(driver.turning / np.maximum(bend, 1e-6)))
    # Nobody is asked to brake hard, neither for bends to come nor from the speed that it has.
    for k in range(steps - 2, -1, -1):
        wanted[k] = min(wanted[k], np.sqrt(wanted[k + 1] ** 2 + driver.brake * gap))
    wanted = np.maximum(wanted, np.sqrt(np.maximum(speed**2 - 2 * driver.brake * station, 0.0)))
    dx, dy = np.gradient(x), np.gradient(y)
    norm = np.maximum(np.hypot(dx, dy), 1e-9)
    moved = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    return np.stack([x, y, z + height - height[0], dx / norm, dy / norm, moved, wanted])
