"""Ways through the lanes: on roads whose shortest way is known, against logs, and as they are told to vehicles."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.driving.game import Driving
from mairl.driving.load import driving
from mairl.driving.observe import Sight
from mairl.driving.prepare import WorldConfig, prepared
from mairl.driving.road_grid import GridConfig
from mairl.driving.surroundings import UNIT
from mairl.driving.ways import PLACES, Ways, ahead, even, shortest
from mairl.driving.world import worlds_of
from mairl.scenarios.generate import KINDS, generate
from mairl.scenarios.schema import Lanes, Polylines

CONFIG = WorldConfig(num_agents=6, num_others=10, grid=GridConfig(edges=32, others=16), ways=True)
SIGHT = Sight(partners=3, edges=8, others=8)


def lanes_of(lines, successors=(), left=(), right=()):
    """Lanes by the points of their centrelines."""
    points = [np.pad(np.asarray(line, np.float32), [(0, 0), (0, 1)]) for line in lines]
    count, total = len(lines), sum(len(p) for p in points)
    centre = Polylines(
        np.concatenate(points),
        np.cumsum([0, *(len(p) for p in points)]).astype(np.int32),
        tuple(f"lane {k}" for k in range(count)),
        np.zeros(count, np.int8),
    )

    def pairs(found):
        return np.asarray(found, np.int32).reshape(-1, 2)

    none = np.zeros(count, np.int8)
    return Lanes(
        centre,
        np.full(total, 3.5, np.float32),
        np.ones(count, bool),
        np.full(count, 13.9, np.float32),
        np.ones(count, bool),
        none,
        none,
        pairs(successors),
        pairs(left),
        pairs(right),
    )


def one(lanes, begin, end):
    """The way of a single vehicle."""
    return shortest(lanes, np.array([begin], float), np.array([end], float))[0]


def length(line):
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def test_a_way_follows_the_lanes_around_a_block():
    # East, north, and a longer detour over the south that leads to the same end.
    lanes = lanes_of(
        [
            [(0, 0), (50, 0)],
            [(50, 0), (50, 60)],
            [(50, 0), (50, -40), (150, -40), (150, 60), (50, 60)],
            [(50, 60), (50, 100)],
        ],
        successors=[(0, 1), (0, 2), (1, 3), (2, 3)],
    )
    way = one(lanes, (5, 0, 0, 0), (50, 90, 0, np.pi / 2))
    assert way[0].tolist() == [5, 0]
    assert way[-1].tolist() == [50, 90]
    # 45 m, then 90 m; corners are cut between the middles of pieces.
    assert 130 < length(way) <= 135
    on_lanes = (np.abs(way[:, 1]) < 2.6) | (np.abs(way[:, 0] - 50) < 2.6)
    assert on_lanes.all()
    # Without the short lane, around the block.
    detour = lanes_of(
        [[(0, 0), (50, 0)], [(50, 0), (50, -40), (150, -40), (150, 60), (50, 60)], [(50, 60), (50, 100)]],
        successors=[(0, 1), (1, 2)],
    )
    far = one(detour, (5, 0, 0, 0), (50, 90, 0, np.pi / 2))
    assert 400 < length(far) <= 415
    assert far[:, 0].max() == pytest.approx(150, abs=2.6)


def test_a_way_changes_lanes_only_where_it_may():
    pair = [[(0, 0), (200, 0)], [(0, 5), (200, 5)]]
    begin, end = (20, 0, 0, 0), (150, 5, 0, 0)
    may = one(lanes_of(pair, left=[(0, 1)], right=[(1, 0)]), begin, end)
    assert 130 < length(may) < 131
    assert len(may) > 10
    beside = (may[:, 1] > 0.5) & (may[:, 1] < 4.5)
    assert not beside.any(), "a change leads from the middle of one lane to that of the other"
    # No link, and too far for the goal to be seen from the start: straight there.
    assert len(one(lanes_of(pair), begin, end)) == 2
    # Against the traffic nobody goes.
    assert len(one(lanes_of(pair, left=[(0, 1)], right=[(1, 0)]), (150, 0, 0, np.pi), (20, 5, 0, np.pi))) == 2


def test_without_lanes_and_without_a_distance_to_go_there_are_ways_too():
    nothing = dataclasses.replace(
        lanes_of([[(0, 0), (1, 0)]]),
        centre=Polylines(np.zeros((0, 3), np.float32), np.zeros(1, np.int32), (), np.zeros(0, np.int8)),
        speed_limit=np.zeros(0, np.float32),
        speed_limit_known=np.zeros(0, bool),
    )
    assert one(nothing, (0, 0, 0, 0), (30, 40, 0, 0)).tolist() == [[0, 0], [30, 40]]
    assert shortest(nothing, np.zeros((0, 4)), np.zeros((0, 4))) == []
    places, gap = even(np.array([[3.0, 4.0], [3.0, 4.0]]))
    assert gap == 0
    assert np.isfinite(places).all()
    standing = Ways(jnp.asarray(places[None, :, :, None], jnp.float32), jnp.zeros((1, 1), jnp.float32))
    told = ahead(standing, jnp.int32(0), *(jnp.full(1, v, jnp.float32) for v in (3.0, 2.0, 0.0, 1.0)), (0.0, 50.0))
    assert told[0].tolist() == pytest.approx([0.0, 2.0, 2.0, 0.0, 0.0], abs=1e-5)


def test_levels_are_kept_apart():
    """A lane on a bridge above the start is not the start's."""
    lanes = lanes_of([[(0, 0), (100, 0)]])
    raised = lanes.centre.points + np.float32([0, 0, 8])
    bridge = dataclasses.replace(lanes, centre=dataclasses.replace(lanes.centre, points=raised))
    assert len(one(lanes, (5, 0, 0, 0), (90, 0, 0, 0))) > 10
    assert len(one(bridge, (5, 0, 0, 0), (90, 0, 0, 0))) == 2
    assert len(one(bridge, (5, 0, 8, 0), (90, 0, 8, 0))) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_ways_lead_where_logs_went(kind):
    """Who knows only start and goal of a made-up log finds the lanes that it took."""
    config = WorldConfig(ways=True)
    scenes = [generate(seed, kind) for seed in (5, 6)]
    for scene in scenes:
        who = prepared(scene, config).candidates
        worlds, _ = worlds_of([scene], dataclasses.replace(config, num_agents=len(who)))
        x, y = np.asarray(worlds.ways.places)[0, :2]
        steps = scene.tracks.valid[who]
        for k, track in enumerate(who):
            log = scene.tracks.position[track, steps[k], :2]
            line = np.stack([x[:, k], y[:, k]], 1)
            apart = np.hypot(*np.moveaxis(log[:, None] - line[None], 2, 0)).min(1)
            # Half the way between two places, and a lane's width where it changed lanes elsewhere.
            assert apart.max() < 0.5 * float(worlds.ways.gap[0, k]) + 3.8
            assert np.abs(line[0] - log[0]).max() < 1e-3
            assert np.abs(line[-1] - log[-1]).max() < 1e-3
            assert float(worlds.ways.gap[0, k]) * (PLACES - 1) == pytest.approx(length(line), rel=0.02)


def test_what_lies_ahead_of_a_circle_is_known():
    """On a quarter of a circle of 40 m, whose points ahead have a closed form."""
    angle = np.linspace(0, np.pi / 2, PLACES)
    x, y = 40 * np.sin(angle), 40 * (1 - np.cos(angle))
    places = np.stack([x, y, np.cos(angle), np.sin(angle)])[None, :, :, None]
    gap = 40 * (angle[1] - angle[0])
    ways = Ways(jnp.asarray(places, jnp.float32), jnp.full((1, 1), gap, jnp.float32))
    for at in (0.0, 0.21, 0.9, 1.5):
        # A metre to the left of the way, pointing as it does.
        radius = 39.0
        own = (radius * np.sin(at), 40 - radius * np.cos(at), np.cos(at), np.sin(at))
        told = np.asarray(ahead(ways, jnp.int32(0), *(jnp.full(1, v, jnp.float32) for v in own), (0.0, 10.0, 100.0)))[0]
        left, first, second, third = told[0], told[[1, 4]], told[[2, 5]], told[[3, 6]]
        assert left == pytest.approx(40 * (np.pi / 2 - at), abs=0.05)
        for found, arc in ((first, at), (second, min(at + 0.25, np.pi / 2)), (third, np.pi / 2)):
            dx, dy = 40 * np.sin(arc) - own[0], 40 * (1 - np.cos(arc)) - own[1]
            assert found == pytest.approx([dx * own[2] + dy * own[3], dy * own[2] - dx * own[3]], abs=0.05)


def test_a_way_that_crosses_itself_is_followed_by_direction():
    """East, then around and north through the same crossing: who points north is on the second part."""
    east = np.stack([np.linspace(0, 60, 32), np.zeros(32)], 1)
    north = np.stack([np.full(32, 30.0), np.linspace(-30, 30, 32)], 1)
    direction = np.repeat([[1.0, 0.0], [0.0, 1.0]], 32, axis=0)
    places = np.concatenate([np.concatenate([east, north]), direction], 1).T[None, :, :, None]
    ways = Ways(jnp.asarray(places, jnp.float32), jnp.full((1, 1), 2.0, jnp.float32))

    def left(heading):
        own = 30.0, 0.0, np.cos(heading), np.sin(heading)
        return float(ahead(ways, jnp.int32(0), *(jnp.full(1, v, jnp.float32) for v in own), (5.0,))[0, 0])

    assert left(0.0) > 80
    assert left(np.pi / 2) < 40


def test_who_is_told_the_way_sees_it_in_its_own_frame():
    worlds, _ = worlds_of([generate(3, "roundabout"), generate(4, "highway")], CONFIG)
    plain = Driving(worlds, sight=SIGHT)
    told = Driving(worlds, sight=dataclasses.replace(SIGHT, way=(0.0, 20.0)))
    assert told.observation_spec["ego"].shape == (plain.observation_spec["ego"].shape[0] + 5,)
    for world in range(2):
        _state, seen = eqx.filter_jit(told.reset_to)(world)
        without = eqx.filter_jit(plain.reset_to)(world)[1]
        assert np.asarray(seen["ego"][:, :-5]) == pytest.approx(np.asarray(without["ego"]), abs=1e-6)
        driven = np.asarray(worlds.driven[world])
        left, x0, x20, y0, y20 = np.asarray(seen["ego"][driven, -5:]).T * UNIT
        # Everybody is at the beginning of its way.
        whole = np.asarray(worlds.ways.gap[world])[driven] * (PLACES - 1)
        assert left == pytest.approx(whole, abs=1.0)
        assert np.hypot(x0, y0).max() < 1.0
        far = left > 20
        reached = np.hypot(x20, y20)[far]
        assert (reached > 15).all()
        assert (reached < 21).all()
        assert (x20[far] > 0).all()
    # The game's own name for it.
    by_name = driving(count=1, seed=3, agents=2, way=True)
    assert by_name.observation_spec["ego"].shape[0] == plain.observation_spec["ego"].shape[0] + 17
    assert by_name.worlds.num_bytes > driving(count=1, seed=3, agents=2).worlds.num_bytes


def test_ways_must_be_there_to_be_told():
    worlds, _ = worlds_of([generate(3, "highway")], dataclasses.replace(CONFIG, ways=False))
    with pytest.raises(InvalidGame, match="ways=True"):
        Driving(worlds, sight=dataclasses.replace(SIGHT, way=(5.0,)))
