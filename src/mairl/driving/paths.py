"""Where vehicles on their own drive: their logs' ways as functions of the distance covered, and the lanes beside."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mairl.driving.prepare import LOG
from mairl.driving.segments import SegmentKind
from mairl.driving.surroundings import UNIT, Scene, logged, road
from mairl.driving.world import Worlds

PATH = ("x", "y", "z", "cos", "sin", "station", "wanted", "left", "right")
"""Of a path at each step of the log: middle, heading, metres from its begin, speed wanted there, metres to the left at
which the lanes of the same direction on both sides are (negative to the right; 0: there is none)."""

BESIDE = (2.5, 5.5)
"""Metres from a path to the middle of the lane beside it, at least and at most."""


def paths_of(worlds: Worlds, preview: float) -> Float[np.ndarray, "world path time slot"]:
    """`PATH` of each slot at each step, straight on through gaps of the log. On the host.

    Args:
        preview: metres ahead whose greatest logged speed is the one wanted.
    """
    log = dict(zip(LOG, np.moveaxis(np.asarray(worlds.log, np.float64), 2, 0), strict=True))
    valid = log["valid"] > 0
    count, steps, slots = valid.shape
    time = np.arange(steps)
    speed = log["vx"] * log["cos"] + log["vy"] * log["sin"]
    columns = np.stack([log["x"], log["y"], log["z"], log["cos"], log["sin"], np.maximum(speed, 0.0)])
    for world in range(count):
        for slot in range(slots):
            seen = np.flatnonzero(valid[world, :, slot])
            if 0 < len(seen) < steps:
                values = columns[:, world, :, slot]
                columns[:, world, :, slot] = [np.interp(time, seen, v[seen]) for v in values]
    x, y, _, _, _, speed = columns
    moved = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    # What stands trembles in logs: only steps that go on count.
    moved = np.where(moved > 0.02, moved, 0.0)
    station = np.concatenate([np.zeros((count, 1, slots)), np.cumsum(moved, axis=1)], axis=1)
    wanted = np.zeros_like(station)
    for step in range(steps):
        near = station[:, step:] <= station[:, step, None] + preview
        wanted[:, step] = np.where(near, speed[:, step:], 0.0).max(axis=1)
    beside = np.moveaxis(np.asarray(lanes_beside_paths(worlds)), 1, 0)
    return np.stack([*columns[:5], station, wanted, *beside], axis=1).astype(np.float32)


@eqx.filter_jit
def lanes_beside_paths(worlds: Worlds) -> Float[Array, "world 2 time slot"]:
    """Where the lanes of the same direction are to the left and to the right of each logged vehicle, as in `PATH`.
    Lanes that the map's index has no room for are not found."""
    return _beside(worlds, lambda world, time: logged(worlds, world, time))


@eqx.filter_jit
def lanes_beside_routes(
    worlds: Worlds, path: Float[Array, "world route time slot"], taken: Bool[Array, "world slot"]
) -> Float[Array, "world 2 time slot"]:
    """The same beside paths whose first columns are those of `PATH`, where they are taken."""

    def scene(world, time):
        x, y, z, c, s = path[world, :5, time]
        return Scene(x, y, z, c, s, jnp.zeros_like(x), taken[world])

    return _beside(worlds, scene)


def _beside(worlds: Worlds, scene_at: Callable[[Array, Array], Scene]) -> Float[Array, "world 2 time slot"]:
    def at(world, time):
        scene = scene_at(world, time)
        rows = worlds.grid.rows_at(scene.x, scene.y, world)
        pieces, there = road(worlds.grid.others, rows, scene, scene.z - worlds.height[world] / 2)
        x, y, half, ux, uy, kind, _ = (pieces[:, k] for k in range(pieces.shape[1]))
        t = jnp.clip(-(x * ux + y * uy), -half, half)
        ahead, left = (x + t * ux) * UNIT, (y + t * uy) * UNIT
        lane = there & (kind == SegmentKind.LANE) & (ux > 0.9) & (jnp.abs(ahead) < 1.0) & scene.present[:, None]

        def nearest(side):
            found = lane & (side * left > BESIDE[0]) & (side * left < BESIDE[1])
            least = jnp.min(jnp.where(found, side * left, jnp.inf), axis=1)
            return jnp.where(jnp.isfinite(least), side * least, 0.0)

        return jnp.stack([nearest(1.0), nearest(-1.0)])

    def one(world):
        return jnp.moveaxis(jax.lax.map(lambda time: at(world, time), jnp.arange(worlds.log.shape[1])), 0, 1)

    return jax.lax.map(one, jnp.arange(len(worlds)))


def at_station(
    path: Float[Array, "path time slot"], station: Float[Array, "place slot"]
) -> Float[Array, "path place slot"]:
    """`PATH` at each slot's stations; before the begin and after the end its first and last."""
    known = path[PATH.index("station")]
    low = jnp.clip(jnp.sum(known <= station[:, None], axis=1) - 1, 0, known.shape[0] - 2)
    a, b = (jnp.take_along_axis(path, (low + k)[None], axis=1) for k in (0, 1))
    begin, end = a[PATH.index("station")], b[PATH.index("station")]
    way = end - begin
    share = jnp.clip((station - begin) / jnp.where(way > 0, way, 1.0), 0.0, 1.0)
    found = a + share * (b - a)
    c, s = found[PATH.index("cos")], found[PATH.index("sin")]
    norm = jax.lax.rsqrt(jnp.maximum(c * c + s * s, 1e-6))
    return found.at[PATH.index("cos")].multiply(norm).at[PATH.index("sin")].multiply(norm)
