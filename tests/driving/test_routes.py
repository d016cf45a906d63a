"""Vehicles that are put on the map and have no log to follow: they drive along lanes, and others keep theirs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.driving.autopilot import autopilot
from mairl.driving.dynamics import Bicycle
from mairl.driving.game import Driving
from mairl.driving.idm import Driver
from mairl.driving.lane_index import LaneConfig
from mairl.driving.observe import Sight
from mairl.driving.paths import PATH
from mairl.driving.prepare import WorldConfig
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import scene_of
from mairl.driving.world import worlds_of
from mairl.scenarios.generate import generate
from mairl.scenarios.schema import AgentType
from mairl.testing.scenarios import made_scenario

SIGHT = Sight(partners=3, edges=8, others=8)
CONFIG = WorldConfig(num_agents=1, num_others=7, grid=GridConfig(edges=32, others=32), lanes=LaneConfig())
LIMIT = 13.9


def placed(scene, poses, steps=101):
    """A scene whose vehicles after the first are seen at the first step only, at these (x, y, heading, speed); the
    first keeps its speed for `steps`."""
    tracks, count = scene.tracks, 1 + len(poses)
    poses = np.array(poses, float) - [*scene.offset[:2], 0.0, 0.0]
    along = np.array([[tracks.position[0, 0, 0], tracks.position[0, 0, 1], 0.0]] * steps)
    along[:, 0] += 0.1 * np.arange(steps) * tracks.velocity[0, 0, 0]
    position = np.zeros((count, steps, 3))
    position[0] = along
    heading, velocity = np.zeros((count, steps)), np.zeros((count, steps, 2))
    velocity[0] = tracks.velocity[0, 0]
    valid = np.zeros((count, steps), bool)
    valid[0], valid[1:, 0] = True, True
    for k, (x, y, turn, speed) in enumerate(poses, 1):
        position[k, 0, :2] = x, y
        heading[k, 0] = turn
        velocity[k, 0] = speed * np.array([np.cos(turn), np.sin(turn)])
    size = np.broadcast_to([4.5, 2.0, 1.6], (count, steps, 3))
    tracks = dataclasses.replace(
        tracks,
        position=position.astype(np.float32),
        heading=heading.astype(np.float32),
        velocity=velocity.astype(np.float32),
        size=size.astype(np.float32),
        size_known=np.ones((count, 3), bool),
        valid=valid,
        type=np.full(count, AgentType.VEHICLE, np.int8),
        ids=tuple(f"track-{k}" for k in range(count)),
    )
    no = np.zeros(count, bool)
    roles = dataclasses.replace(scene.roles, sdc=0, predict=no, of_interest=no)
    signals = dataclasses.replace(scene.signals, state=np.repeat(scene.signals.state[:, -1:], steps, 1))
    return dataclasses.replace(scene, tracks=tracks, roles=roles, signals=signals, current=0)


def rolled(game, steps, action=0.0):
    """Scenes before each step, and what happened."""

    @eqx.filter_jit
    def run(game):
        def tick(state, _):
            push = jnp.zeros((game.num_agents, 2)).at[:, 0].set(action)
            after, step = game.step(jax.random.key(0), state, push)
            return after, (scene_of(game.worlds, state), step.info)

        return jax.lax.scan(tick, game.reset_to(0)[0], length=steps)[1]

    return jax.tree.map(np.asarray, run(game))


def lane_distance(scene, x, y, lanes=None):
    """Metres from places to the nearest centreline of some lanes."""
    least = np.full(np.shape(x), np.inf)
    for k in range(len(scene.map.lanes)) if lanes is None else lanes:
        line = scene.map.lanes.centre.line(k)[:, :2].astype(float)
        a, way = line[:-1], np.diff(line, axis=0)
        off = np.stack([x, y], -1)[..., None, :] - a
        t = np.clip((off * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-9), 0, 1)
        least = np.minimum(least, np.hypot(*np.moveaxis(off - t[..., None] * way, -1, 0)).min(-1))
    return least


@pytest.fixture(scope="module")
def road():
    return made_scenario(1)


def slots_of(worlds, slots, track):
    return int(np.flatnonzero(slots[0].track == track)[0])


def test_who_is_only_put_there_comes_to_its_lane_and_drives_as_fast_as_allowed(road):
    """One beside the middle of the right lane, turned; it settles, speeds up, slows for the exit's bend of 20 m."""
    scene = placed(road, [(-60.0, -1.2, 0.1, 6.0)], steps=251)
    # The driven vehicle is out of its way.
    scene.tracks.position[0, :, 1] = 2.0 - road.offset[1]
    worlds, slots = worlds_of([scene], CONFIG)
    me = slots_of(worlds, slots, 1)
    game = Driving(worlds, Bicycle(), sight=SIGHT, traffic="idm")
    assert np.flatnonzero(np.asarray(game.traffic.routed[0])).tolist() == [me]
    assert not np.asarray(game.traffic.stranded).any()
    scenes, info = rolled(game, 250)
    x, y, speed, there = scenes.x[:, me], scenes.y[:, me], scenes.speed[:, me], scenes.present[:, me]
    assert (x[0], y[0]) == (
        pytest.approx(-60 - road.offset[0], abs=0.05),
        pytest.approx(-1.2 - road.offset[1], abs=0.05),
    )
    assert np.arctan2(scenes.s[0, me], scenes.c[0, me]) == pytest.approx(0.1, abs=0.05)
    far = lane_distance(scene, x, y, [0, 2])
    gone = np.hypot(x - x[0], y - y[0])
    assert far[there & (gone > 16)].max() < 0.12
    assert far[there & (gone < 16)].max() < 1.2
    straight = there & (x < 60 - road.offset[0])
    assert 11.0 < speed[straight].max() <= LIMIT + 0.1
    bend = there & (x > 104 - road.offset[0])
    # Driver.turning = 2.5 m/s²: 7.1 m/s.
    assert bend.any()
    assert 0.85 < speed[bend].mean() / np.sqrt(2.5 * 20.0) < 1.15
    # It leaves where the lanes end.
    assert not there[-1]
    accelerations = np.diff(speed[there]) / 0.1
    assert accelerations.min() > -3.0
    assert not info["collision"].any()


def test_it_stops_behind_whoever_stands(road):
    scene = placed(road, [(-70.0, -2.0, 0.0, 10.0)])
    scene.tracks.position[0] = [-20.0 - road.offset[0], -2.0 - road.offset[1], 0.0]
    scene.tracks.position[0, -1, 0] += 3.0
    scene.tracks.velocity[0] = 0.0
    worlds, slots = worlds_of([scene], CONFIG)
    game = Driving(worlds, Bicycle(), sight=SIGHT, traffic="idm")
    scenes, info = rolled(game, 100)
    me = slots_of(worlds, slots, 1)
    assert not info["collision"].any()
    assert scenes.speed[-1, me] < 0.5
    gap = scenes.x[-1, 0] - scenes.x[-1, me] - 4.5
    assert 1.0 < gap < 4.0


def test_off_the_lanes_and_without_lanes_everything_is_as_it_was(road):
    """Against the lane, far from all lanes; and one that is seen standing for long."""
    scene = placed(road, [(-60.0, -2.0, 3.1, 6.0), (-60.0, 30.0, 0.0, 6.0), (20.0, -2.0, 0.0, 0.0)])
    scene.tracks.valid[3, :20] = True
    for name in ("position", "heading", "velocity"):
        values = getattr(scene.tracks, name)
        values[3, :20] = values[3, 0]
    worlds, slots = worlds_of([scene], CONFIG)
    own = autopilot(worlds)
    where = [slots_of(worlds, slots, track) for track in (1, 2, 3)]
    assert not np.asarray(own.rides).any()
    assert np.asarray(own.stranded)[0, where].tolist() == [True, True, False]
    game = Driving(worlds, Bicycle(), sight=SIGHT, traffic="idm")
    logs = Driving(worlds, Bicycle(), sight=SIGHT)
    for a, b in zip(jax.tree.leaves(rolled(game, 30)), jax.tree.leaves(rolled(logs, 30)), strict=True):
        np.testing.assert_array_equal(a, b)
    # Without lanes nobody has a route, and paths are those of the logs.
    scene = placed(road, [(-60.0, -2.0, 0.0, 6.0)])
    some, none = (autopilot(worlds_of([scene], c)[0]) for c in (CONFIG, dataclasses.replace(CONFIG, lanes=None)))
    assert np.asarray(some.rides).sum() == 1
    assert not np.asarray(autopilot(worlds_of([scene], CONFIG)[0], Driver(routes=False)).rides).any()
    assert not np.asarray(none.rides).any()
    assert not np.asarray(none.stranded).any()


def test_forks_are_chosen_by_chance_that_a_seed_fixes():
    scene = generate(7, "four_way_signal", steps=91)
    lanes = scene.map.lanes
    first, counts = np.unique(lanes.successors[:, 0], return_counts=True)
    fork = first[counts.argmax()]
    assert counts.max() > 1
    line = lanes.centre.line(int(fork)).astype(float)
    way = line[-1] - line[-2]
    pose = (*(line[-2] + scene.offset)[:2], float(np.arctan2(way[1], way[0])), 5.0)
    worlds, slots = worlds_of([placed(scene, [pose], steps=91)], CONFIG)
    me = slots_of(worlds, slots, 1)

    def path(seed):
        return np.asarray(autopilot(worlds, Driver(seed=seed)).path)[0, :, :, me]

    found = [path(seed) for seed in range(8)]
    np.testing.assert_array_equal(found[0], path(0))
    ends = {tuple(np.round(p[:2, 45]).tolist()) for p in found}
    assert 2 <= len(ends) <= counts.max()
    for p in found:
        x, y, cos, sin, station = (p[PATH.index(n)] for n in ("x", "y", "cos", "sin", "station"))
        assert lane_distance(scene, x, y).max() < 0.15
        assert (np.diff(station) > 0).all()
        np.testing.assert_allclose(np.diff(station), np.hypot(np.diff(x), np.diff(y)), atol=1e-3)
        np.testing.assert_allclose(cos**2 + sin**2, 1.0, atol=1e-4)


@pytest.mark.parametrize("kind", ["highway", "roundabout"])
def test_made_up_traffic_of_which_only_the_start_is_known_drives_on(kind):
    """Everybody but the driven vehicle forgets its log. They keep to lanes, move on, and the lanes beside are known."""
    scene = generate(7, kind, steps=61)
    tracks = scene.tracks
    valid = tracks.valid.copy()
    vehicles = (tracks.type == AgentType.VEHICLE) & valid[:, 0]
    valid[:, 1:] = False
    sdc = scene.roles.sdc
    valid[sdc] = tracks.valid[sdc]
    known = dataclasses.replace(
        scene,
        current=0,
        tracks=dataclasses.replace(
            tracks,
            valid=valid,
            **{
                name: np.where(
                    valid.reshape(*valid.shape, *[1] * (getattr(tracks, name).ndim - 2)), getattr(tracks, name), 0
                )
                for name in ("position", "heading", "velocity", "size")
            },
        ),
    )
    config = dataclasses.replace(CONFIG, num_others=0)
    worlds, _ = worlds_of([known], config)
    game = Driving(worlds, Bicycle(), sight=SIGHT, traffic="mobil")
    pilot = game.traffic
    routed = np.asarray(pilot.routed[0])
    # All who were there but the driven one.
    assert routed.sum() + np.asarray(pilot.stranded[0]).sum() == vehicles.sum() - 1
    assert routed.sum() > 0.8 * (vehicles.sum() - 1)
    if kind == "highway":
        assert (np.asarray(pilot.path)[0, PATH.index("left")][:, routed] > 2.5).any()
    scenes, _ = rolled(game, 60)
    on = scenes.present[:, routed]
    x, y = scenes.x[:, routed], scenes.y[:, routed]
    assert on[0].all()
    assert lane_distance(scene, x, y)[on].max() < 2.5
    went = np.hypot(x[-1] - x[0], y[-1] - y[0])
    assert np.median(went) > 10.0
