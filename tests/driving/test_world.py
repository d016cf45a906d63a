"""Scenarios as worlds: who may be driven, where they sit, what is padded, and what a wrong wish is told."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData, InvalidGame
from mairl.driving.load import driving, fine_starts, load
from mairl.driving.prepare import GOAL, LOG, WorldConfig, drivable, levelled, resampled
from mairl.driving.road_grid import FEATURES, GridConfig
from mairl.driving.world import worlds_of
from mairl.scenarios.generate import generate
from mairl.scenarios.schema import USUAL_SIZE, AgentType

GRID = GridConfig(edges=16, others=16)


@pytest.fixture(scope="module")
def scene():
    return generate(3, "four_way_signal")


def test_slots_hold_the_tracks_that_they_say(scene):
    worlds, [slots] = worlds_of([scene], WorldConfig(grid=GRID))
    tracks = scene.tracks
    taken = slots.track[slots.track >= 0]
    assert len(set(taken.tolist())) == len(taken)
    for slot, track in enumerate(slots.track):
        row = np.asarray(worlds.log[0, :, :, slot])
        valid = tracks.valid[track] if track >= 0 else np.zeros(scene.num_steps, bool)
        np.testing.assert_array_equal(row[:, LOG.index("valid")] > 0, valid)
        np.testing.assert_allclose(row[valid, 0], tracks.position[track][valid, 0], atol=1e-5)
        np.testing.assert_allclose(row[valid, LOG.index("cos")], np.cos(tracks.heading[track][valid]), atol=1e-6)
    driven = np.flatnonzero(np.asarray(worlds.driven[0]))
    goal = np.asarray(worlds.goal[0])
    for slot in driven:
        track = slots.track[slot]
        assert tracks.type[track] == AgentType.VEHICLE
        assert tracks.valid[track, 0]
        last = np.flatnonzero(tracks.valid[track])[-1]
        end, begin = tracks.position[track, last, :2], tracks.position[track, 0, :2]
        np.testing.assert_allclose(goal[[GOAL.index("x"), GOAL.index("y")], slot], end, atol=1e-4)
        assert np.hypot(*(end - begin)) > 2.0
    assert len(driven) == slots.candidates == drivable(scene)


def test_candidates_beyond_the_places_replay_their_logs(scene):
    worlds, [slots] = worlds_of([scene], WorldConfig(num_agents=3, grid=GRID))
    assert int(worlds.driven.sum()) == 3
    assert slots.candidates > 3
    assert slots.left_out == 0
    alone, [fewer] = worlds_of([scene], WorldConfig(num_agents=3, num_others=2, grid=GRID))
    assert alone.num_slots == 5
    assert fewer.left_out == (slots.track >= 0).sum() - 5


def test_worlds_of_different_size_are_padded(scene):
    small = generate(0, "t_stop", steps=40)
    both, _ = worlds_of([scene, small], WorldConfig(grid=GRID))
    alone, _ = worlds_of([small], WorldConfig(grid=GRID))
    n = alone.num_agents
    assert both.num_steps == 90
    np.testing.assert_array_equal(both.driven[1, :n], alone.driven[0])
    assert not bool(both.driven[1, n:].any())
    assert float(both.log[1, 40:, LOG.index("valid")].sum()) == 0.0


def test_logs_of_another_step_are_interpolated_only_between_what_was_seen():
    log = np.zeros((3, len(LOG), 2))
    log[:, LOG.index("x"), 0] = [0.0, 1.0, 4.0]
    log[:, LOG.index("heading"), 0] = [3.0, -3.0, -3.0]
    log[:, LOG.index("valid"), 0] = 1
    log[0, LOG.index("valid"), 1] = 1
    fine = resampled(log, 0.2, 0.1)
    assert len(fine) == 5
    np.testing.assert_allclose(fine[:, LOG.index("x"), 0], [0.0, 0.5, 1.0, 2.5, 4.0])
    # The shorter way round, through π.
    assert abs(abs(fine[1, LOG.index("heading"), 0]) - np.pi) < 1e-9
    np.testing.assert_allclose(fine[1, LOG.index("cos"), 0], -1.0)
    assert fine[:, LOG.index("valid"), 1].tolist() == [1, 0, 0, 0, 0]
    assert resampled(log, 0.1, 0.1) is log


def test_unknown_sizes_are_usual_ones(scene):
    tracks = dataclasses.replace(scene.tracks, size_known=np.zeros_like(scene.tracks.size_known))
    worlds, [slots] = worlds_of([dataclasses.replace(scene, tracks=tracks)], WorldConfig(grid=GRID))
    assert (slots.track >= 0).any()
    for slot in np.flatnonzero(slots.track >= 0):
        size = [float(v[0, slot]) for v in (worlds.length, worlds.width, worlds.height)]
        np.testing.assert_allclose(size, USUAL_SIZE[AgentType(int(worlds.kind[0, slot]))], rtol=1e-6)


def test_vehicles_that_start_in_a_collision_are_not_driven(scene):
    _, [slots] = worlds_of([scene], WorldConfig(grid=GRID))
    first, second = slots.track[:2]
    position = scene.tracks.position.copy()
    position[second] = position[first]
    heading = scene.tracks.heading.copy()
    heading[second] = heading[first]
    tracks = dataclasses.replace(scene.tracks, position=position, heading=heading)
    clashing = dataclasses.replace(scene, tracks=tracks)
    whole, [_] = worlds_of([clashing], WorldConfig(grid=GRID))
    worlds, [again], count = load([clashing], WorldConfig(grid=GRID))
    bad = [slot for slot in range(worlds.num_agents) if again.track[slot] in (first, second)]
    assert not np.asarray(fine_starts(whole))[0, bad].any()
    assert not np.asarray(worlds.driven)[0, bad].any()
    assert count == 2


def test_a_log_without_heights_lies_on_its_map(scene):
    """Whose map is 23 m high, as Argoverse's are."""
    raised, off = scene.map.edges, np.float32([0, 0, 23])
    road = dataclasses.replace(scene.map, edges=dataclasses.replace(raised, points=raised.points + off))
    tracks = dataclasses.replace(scene.tracks, z_known=False, position=scene.tracks.position * np.float32([1, 1, 0]))
    both = dataclasses.replace(scene, map=road, tracks=tracks)
    worlds, _ = worlds_of([both], WorldConfig(grid=GRID))
    kind, z = (np.asarray(worlds.grid.edges[1:, FEATURES.index(name)]) for name in ("kind", "z"))
    assert (z[kind >= 0] == 0).all()
    assert (kind >= 0).any()
    # Where both have heights, or neither, nothing is changed.
    assert levelled(scene) is scene
    high = worlds_of([dataclasses.replace(scene, map=road)], WorldConfig(grid=GRID))[0]
    assert np.asarray(high.grid.edges[1:, FEATURES.index("z")])[kind >= 0].min() == 23.0


def test_what_cannot_be_is_refused(scene):
    with pytest.raises(InvalidGame, match="at least one"):
        worlds_of([])
    with pytest.raises(InvalidData, match="begin at step 90, and the log ends at step 90"):
        worlds_of([scene], WorldConfig(start=90))
    still = dataclasses.replace(scene.tracks, type=np.full(len(scene.tracks), AgentType.PEDESTRIAN, np.int8))
    with pytest.raises(InvalidGame, match="none of the 1 scenarios has a vehicle"):
        worlds_of([dataclasses.replace(scene, tracks=still)])
    for options, message in (
        ({"dynamics": "boat"}, "bicycle"),
        ({"sight": "blind"}, "small"),
        ({"outcome": "explode"}, "remove"),
        ({"count": 0}, "at least 1"),
        ({"reward": "fame", "count": 1}, "sparse"),
        ({"routes": True, "count": 1}, "traffic=logs"),
    ):
        with pytest.raises(InvalidGame, match=message):
            driving(**options)


def test_who_is_driven_can_be_chosen(scene):
    every = drivable(scene)
    ids = np.array(scene.tracks.ids)
    _, [slots] = worlds_of([scene], WorldConfig(grid=GRID))
    wanted = ids[slots.track[[3, 1]]].tolist()
    worlds, [chosen] = worlds_of([scene], WorldConfig(grid=GRID, control={scene.scenario_id: wanted}))
    assert worlds.num_agents == 2
    assert worlds.driven.all()
    assert ids[chosen.track[:2]].tolist() == wanted
    # Who is not chosen replays its log.
    assert sorted(chosen.track[chosen.track >= 0]) == sorted(slots.track[slots.track >= 0])
    assert drivable(scene, WorldConfig(grid=GRID, control={"another": ["x"]})) == every
    cast = dataclasses.replace(scene, roles=dataclasses.replace(scene.roles, sdc=int(slots.track[2])))
    worlds, [one] = worlds_of([cast], WorldConfig(grid=GRID, control="sdc"))
    assert worlds.num_agents == 1
    assert one.track[0] == slots.track[2]
    marked = np.isin(np.arange(len(ids)), slots.track[:2])
    cast = dataclasses.replace(scene, roles=dataclasses.replace(scene.roles, predict=marked))
    assert drivable(cast, WorldConfig(grid=GRID, control="predict")) == 2
    parked = dataclasses.replace(scene, roles=dataclasses.replace(scene.roles, predict=np.zeros(len(ids), bool)))
    with pytest.raises(InvalidGame, match="control='predict'"):
        worlds_of([parked], WorldConfig(grid=GRID, control="predict"))
    with pytest.raises(InvalidGame, match="'nobody', and there is none"):
        worlds_of([scene], WorldConfig(grid=GRID, control={scene.scenario_id: ["nobody"]}))
    still = ids[~np.isin(np.arange(len(ids)), slots.track[:every])]
    if len(still):
        with pytest.raises(InvalidGame, match="no vehicle that is there at the start"):
            worlds_of([scene], WorldConfig(grid=GRID, control={scene.scenario_id: [str(still[0])]}))


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"num_agents": -1}, "num_agents must be at least 0, got -1"),
        ({"num_others": -2}, "num_others must be at least 0"),
        ({"start": -2}, "start must be at least -1"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"dt": 0.0}, "dt must be positive, got 0"),
        ({"dt": float("nan")}, "dt must be positive"),
        ({"tolerance": -0.1}, "tolerance must be positive"),
        ({"control": "me"}, "control is 'me', expected all, sdc, predict"),
    ],
)
def test_wishes_out_of_range_are_refused(wish, told):
    with pytest.raises(InvalidGame, match=told):
        WorldConfig(**wish)


def test_red_lights_stand_where_lanes_end_and_change(scene):
    worlds, _ = worlds_of([scene], WorldConfig(grid=GRID))
    assert worlds.stop.shape[2] == int(scene.signals.lane_known.sum()) > 0
    np.testing.assert_allclose(jnp.hypot(worlds.stop[0, 2], worlds.stop[0, 3]), 1.0, atol=1e-5)
    red = np.asarray(worlds.red[0])
    assert red.any()
    assert not red.all()
