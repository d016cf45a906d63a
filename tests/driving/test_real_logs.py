"""Real scenes replayed: what the loggers saw must be possible, and what is not must be theirs, not ours."""

import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.driving.dynamics import Bicycle, DeltaLocal, InvertibleBicycle, Jerk, motion
from mairl.driving.load import load
from mairl.driving.prepare import LOG, WorldConfig
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import Rules, State, happened, start
from mairl.driving.tracking import replay
from mairl.scenarios.readers import reader

SHARED = os.environ.get("MAIRL_SHARED_DATA")
FOUND = [Path(SHARED)] if SHARED else [p / "shared" / "data" for p in Path(__file__).resolve().parents]
DATA = next((p for p in FOUND if p.is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="no sample data")


def scenes(form, pattern, most=None):
    assert DATA is not None
    found = []
    for path in sorted(DATA.glob(pattern))[:most]:
        read = reader(form).read(path)
        found += [s for s in read if not isinstance(s, InvalidData)]
    assert found
    return found


def replayed(worlds):
    """Events `[world, time, agent]` of all who may be driven, put where their logs have them, and who was seen."""
    n = worlds.num_agents
    rules = Rules(at_collision="ignore", at_off_road="ignore", at_goal="ignore")

    def one(world):
        def tick(state, _):
            row = dict(zip(LOG, worlds.log[world, state.time + 1, :, :n], strict=True))
            seen = row["valid"] > 0
            now = motion(row["x"], row["y"], row["heading"], row["vx"], row["vy"])
            ground = row["z"] - worlds.height[world, :n] / 2
            no = jnp.zeros(n, bool)
            after = State(world, state.time + 1, now, ground, jnp.zeros(n), ~seen, no, no, None)
            events, _ = happened(worlds, rules, state, after)
            return after, (events, seen & worlds.driven[world])

        return jax.lax.scan(tick, start(worlds, world), None, length=worlds.num_steps)[1]

    return jax.tree.map(np.asarray, eqx.filter_jit(jax.vmap(one))(jnp.arange(len(worlds))))


@pytest.mark.parametrize(
    ("form", "pattern", "most", "excluded_limit", "collided_limit", "off_limit"),
    [
        ("gpudrive", "womd_json/*.json", None, 0.0, 0.0, 0.0),
        ("waymo", "womd_tfrecord/*.tfrecord", None, 0.0, 0.0, 0.0),
        ("scenarionet", "nuscenes_scenarionet/*.pkl", None, 0.0, 0.0, 0.12),
        ("commonroad", "ngsim_commonroad/*.xml", 6, 0.13, 0.04, 0.07),
        ("argoverse2", "argoverse2/**/scenario*.parquet", None, 0.5, 0.0, 0.0),
    ],
)
def test_logged_vehicles_hit_nothing_and_hardly_leave_the_road(
    form, pattern, most, excluded_limit, collided_limit, off_limit
):
    """Shares of vehicles. CommonRoad and Argoverse have lanes but no road edges: ours follow the lanes' outer bounds,
    which vehicles cross where they cut corners or stop at the side. NGSIM's boxes, from video, touch in queues. In
    nuScenes three vehicles drive where the map has ended, and one over a kerb."""
    config = WorldConfig(grid=GridConfig(edges=64, others=16))
    worlds, _, excluded = load(scenes(form, pattern, most), config)
    events, seen = replayed(worlds)
    driven = int(np.asarray(worlds.driven).sum())
    assert driven >= 3
    assert excluded <= excluded_limit * (driven + excluded)
    assert events.collision.any(1).sum() <= collided_limit * driven
    assert events.off_road.any(1).sum() <= off_limit * driven
    assert events.goal.any(1).sum() == driven
    # Nobody on our maps is without a road: distances are known and vehicles keep clear of edges.
    distance = np.where(np.isfinite(events.edge_distance), events.edge_distance, 10.0)[seen]
    assert np.median(distance) > 0.5


@pytest.fixture(scope="module")
def driven_logs():
    """Worlds, the motions `[time, vehicle]` of their driven vehicles, and who was seen without a gap until then."""
    config = WorldConfig(grid=GridConfig(edges=16, others=16))
    worlds, _, _ = load(scenes("gpudrive", "womd_json/*.json"), config)
    world, agent = np.nonzero(np.asarray(worlds.driven))
    log = dict(zip(LOG, np.moveaxis(np.asarray(worlds.log)[world, :, :, agent], 2, 0).swapaxes(1, 2), strict=True))
    seen = np.cumprod(log["valid"] > 0, axis=0) > 0
    # After the end of what was seen: as at its last moment.
    last = seen.sum(0) - 1
    step = np.minimum(np.arange(len(seen))[:, None], last)
    names = ("x", "y", "heading", "vx", "vy")
    return worlds, motion(*(jnp.asarray(np.take_along_axis(log[name], step, 0)) for name in names)), seen


@pytest.mark.parametrize(
    ("model", "mean", "most"),
    [(Bicycle(), 0.03, 0.2), (InvertibleBicycle(), 0.03, 0.2), (DeltaLocal(), 1e-3, 1e-2), (Jerk(), 0.06, 0.45)],
    ids=lambda value: type(value).__name__,
)
def test_every_model_drives_along_the_logs_of_vehicles(model, mean, most, driven_logs):
    """Metres: mean and 99th percentile, from a vehicle's first moment to its last or the first one at which it was not
    seen; docs/driving.md has the figures."""
    worlds, logged, seen = driven_logs
    world, agent = np.nonzero(np.asarray(worlds.driven))
    _, driven = jax.jit(lambda logged: replay(model, logged, worlds.length[world, agent], worlds.dt))(logged)
    error = np.hypot(driven.x - logged.x, driven.y - logged.y)[seen]
    assert len(error) > 10_000
    assert error.mean() < mean
    assert np.percentile(error, 99) < most
