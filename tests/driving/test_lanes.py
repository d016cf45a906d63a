"""Lanes as a graph of pieces: against the maps themselves, worked out anew in NumPy, on made-up and on real roads."""

import dataclasses
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData, InvalidGame
from mairl.driving.game import Driving
from mairl.driving.lane_index import FACTS, FORKS, LINKS, POINTS, LaneConfig
from mairl.driving.lanes_around import LANE, REACH, on_lane
from mairl.driving.load import driving
from mairl.driving.observe import Sight
from mairl.driving.prepare import WorldConfig
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import start
from mairl.driving.surroundings import FAST, UNIT, logged
from mairl.driving.world import worlds_of
from mairl.networks.build import NetworkConfig, flat_size, make_network
from mairl.networks.set_encoder import SetEncoder
from mairl.scenarios.generate import generate
from mairl.scenarios.readers import reader

SHARED = os.environ.get("MAIRL_SHARED_DATA")
FOUND = [Path(SHARED)] if SHARED else [p / "shared" / "data" for p in Path(__file__).resolve().parents]
DATA = next((p for p in FOUND if p.is_dir()), None)
NEAR = 48
CONFIG = WorldConfig(num_agents=6, num_others=10, grid=GridConfig(edges=32, others=16), lanes=LaneConfig(near=NEAR))
SIGHT = Sight(partners=3, edges=8, others=8, lanes=NEAR, links=True)
REAL = {
    "waymo": "womd_tfrecord/*.tfrecord",
    "gpudrive": "womd_json/*.json",
    "scenarionet": "nuscenes_scenarionet/*.pkl",
    "commonroad": "ngsim_commonroad/*.xml",
    "argoverse2": "argoverse2/**/scenario*.parquet",
}


def real(form):
    """The first scene of a kind that we hold."""
    if DATA is None:
        pytest.skip("no sample data")
    for path in sorted(DATA.glob(REAL[form])):
        for scene in reader(form).read(path):
            if not isinstance(scene, InvalidData):
                return scene
    raise AssertionError(f"no scene of {form}")


@eqx.filter_jit
def reset(game, world):
    return game.reset_to(world)


def scene_of(kind):
    return real(kind) if kind in REAL else generate(7, kind, steps=41)


KINDS = ["highway", "roundabout", "four_way_signal", *REAL]


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    scene = scene_of(request.param)
    worlds = worlds_of([scene], CONFIG)[0]
    if not scene.tracks.z_known:
        # Logs without heights lie on flat maps.
        lanes = scene.map.lanes
        centre = dataclasses.replace(lanes.centre, points=lanes.centre.points * np.float32([1, 1, 0]))
        lanes = dataclasses.replace(lanes, centre=centre)
        scene = dataclasses.replace(scene, map=dataclasses.replace(scene.map, lanes=lanes))
    return scene, worlds


def cut(scene):
    """Pieces by hand: (lane, number, count, points `[POINTS, 3]`, middle's width), lane by lane."""
    lanes, pieces = scene.map.lanes, []
    for lane in range(len(lanes)):
        line = lanes.centre.line(lane).astype(float)
        far = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])
        if far[-1] < 0.01:
            continue
        count = int(np.ceil(far[-1] / 10.0 - 1e-6))
        wide = lanes.width[lanes.centre.starts[lane] : lanes.centre.starts[lane + 1]]
        for k in range(count):
            at = far[-1] * (k + np.arange(POINTS) / (POINTS - 1)) / count
            points = np.stack([np.interp(at, far, column) for column in line.T], 1)
            pieces.append((lane, k, count, points, np.interp(at[POINTS // 2], far, wide), far[-1] / count))
    return pieces


def chord_distance(place, points):
    a, b = points[0, :2], points[-1, :2]
    t = np.clip(((place - a) * (b - a)).sum() / max(((b - a) ** 2).sum(), 1e-12), 0, 1)
    return np.hypot(*(a + t * (b - a) - place))


def related(scene, pieces):
    """For each relation the pairs of pieces in it, from the lanes' own graph."""
    lanes = scene.map.lanes
    number = {(piece[0], piece[1]): n for n, piece in enumerate(pieces)}
    last = {piece[0]: piece[2] - 1 for piece in pieces}
    follows = {(n, number[lane, k + 1]) for (lane, k), n in number.items() if k < last[lane]}
    follows |= {(number[a, last[a]], number[b, 0]) for a, b in lanes.successors.tolist() if a in last and b in last}
    found = {"successor": follows, "predecessor": {(b, a) for a, b in follows}}
    for side, pairs in (("left", lanes.left_neighbours), ("right", lanes.right_neighbours)):
        beside = set()
        for n, (lane, _, _, points, _, length) in enumerate(pieces):
            way = (points[-1] - points[0])[:2]
            way = way / np.hypot(*way)
            best = None
            for m in [m for a, b in pairs.tolist() if a == lane for m in range(len(pieces)) if pieces[m][0] == b]:
                apart = (pieces[m][3][POINTS // 2] - points[POINTS // 2])[:2]
                along, across = abs(apart @ way), abs(way[0] * apart[1] - way[1] * apart[0])
                if along <= max(length, pieces[m][5]) / 2 + 1e-6 and across <= 6.0:
                    best = min(best or (np.inf, -1), (np.hypot(*apart), m))
            if best is not None:
                beside.add((n, best[1]))
        found[side] = beside
    return found


def test_what_is_seen_of_lanes_is_what_the_map_says(case):
    scene, worlds = case
    pieces = cut(scene)
    lanes = scene.map.lanes
    pairs = related(scene, pieces)
    # Where lanes fork into more than there is room for, some are left out.
    degree = {
        name: np.bincount([a for a, _ in pairs[name]], minlength=1).max() for name in ("successor", "predecessor")
    }
    assert max(degree.values()) <= FORKS
    game = Driving(worlds, sight=SIGHT)
    state, seen = reset(game, jnp.int32(0))
    seen = {name: np.asarray(value) for name, value in seen.items()}
    grid = worlds.grid
    near_roads = np.asarray(worlds.driven[0]) & seen["lanes_mask"].any(1)
    assert near_roads.any()
    for agent in np.flatnonzero(near_roads):
        x, y, heading = (float(v[agent]) for v in (state.motion.x, state.motion.y, state.motion.heading))
        ground = float(state.ground[agent])
        low = np.asarray(grid.origin[0], float)
        middle = low + (np.floor((np.array([x, y]) - low) / grid.cell) + 0.5) * grid.cell
        far = np.array([chord_distance(middle, piece[3]) for piece in pieces])
        there = seen["lanes_mask"][agent]
        rows = dict(zip(LANE, seen["lanes"][agent], strict=True))
        # Which piece of ours each place shows: that whose middle is there.
        turn = np.exp(1j * heading)
        at = (rows["x"] + 1j * rows["y"]) * UNIT * turn + x + 1j * y
        way = (rows["ux"] + 1j * rows["uy"]) * turn
        own = np.array([complex(*piece[3][POINTS // 2, :2]) for piece in pieces])
        chord = np.array([complex(*(piece[3][-1] - piece[3][0])[:2]) for piece in pieces])
        chord /= np.abs(chord)
        match = np.abs(at[:, None] - own) + 5.0 * np.abs(way[:, None] - chord)
        shown = np.where(there, match.argmin(1), -1)
        assert match.min(1)[there].max() < 0.01
        # The nearest ones, but for those of other levels.
        level = np.abs([piece[3][POINTS // 2, 2] - ground for piece in pieces]) < 2.5
        limit = 50.0 + grid.cell * np.sqrt(0.5)
        nearest = np.sort(far[far < limit])[:NEAR]
        expected = sorted(np.round(far[(far <= nearest.max() + 1e-4) & level & (far < limit)], 3))[: there.sum()]
        np.testing.assert_allclose(sorted(far[shown[there]]), expected, atol=2e-3)
        for place in np.flatnonzero(there):
            lane, _, _, points, width, length = pieces[shown[place]]
            assert rows["half_length"][place] * 2 * UNIT == pytest.approx(length, abs=1e-3)
            assert rows["z"][place] * UNIT == pytest.approx(points[POINTS // 2, 2] - ground, abs=1e-3)
            assert rows["width_known"][place] == lanes.width_known[lane]
            assert rows["width"][place] * UNIT == pytest.approx(width if lanes.width_known[lane] else 0.0, abs=1e-3)
            assert rows["limit_known"][place] == lanes.speed_limit_known[lane]
            assert rows["limit"][place] * FAST == pytest.approx(float(lanes.speed_limit[lane]), abs=1e-3)
            assert rows["left"][place] == lanes.left_boundary[lane]
            assert rows["right"][place] == lanes.right_boundary[lane]
            bends = np.diff(np.unwrap(np.angle([complex(*d[:2]) for d in np.diff(points, axis=0)]))).sum()
            assert rows["curvature"][place] / 10.0 == pytest.approx(bends / (length * 0.75), abs=1e-3)
        links, linked = seen["lanes_links"][agent], seen["lanes_links_mask"][agent]
        for name in ("successor", "predecessor", "left", "right"):
            which = [k for k, other in enumerate(LINKS) if other == name]
            found = {(shown[place], shown[links[k, place]]) for k in which for place in np.flatnonzero(linked[k])}
            visible = set(shown[there].tolist())
            assert found == {(a, b) for a, b in pairs[name] if a in visible and b in visible}
        assert (links[~linked] == 0).all()


def test_the_lane_that_vehicles_are_on_is_the_nearest_that_points_their_way(case):
    """Every logged vehicle at several moments, put a metre aside, against all segments of all lanes as the map has
    them."""
    scene, worlds = case
    lanes = scene.map.lanes
    lines = [lanes.centre.line(k).astype(float) for k in range(len(lanes))]
    begin, end = np.concatenate([line[:-1] for line in lines]), np.concatenate([line[1:] for line in lines])
    of = np.repeat(np.arange(len(lines)), [len(line) - 1 for line in lines])
    way = (end - begin)[:, :2]
    length = np.hypot(*way.T)
    way = way / np.maximum(length, 1e-9)[:, None]
    index = worlds.lanes
    assert index is not None

    @eqx.filter_jit
    def found_at(time):
        log = logged(worlds, jnp.int32(0), time)
        aside = jnp.where(jnp.arange(worlds.num_slots) % 2 == 0, 1.0, -1.0)
        now = dataclasses.replace(log, x=log.x - aside * log.s, y=log.y + aside * log.c)
        ground = now.z - worlds.height[0] / 2
        return now, ground, on_lane(index, worlds.grid.rows_at(now.x, now.y, 0), now, ground)

    looked = on = 0
    for time in np.linspace(0, worlds.num_steps, 5).astype(int):
        now, ground, found = jax.tree.map(np.asarray, found_at(jnp.int32(time)))
        for slot in np.flatnonzero(now.present):
            off = np.array([now.x[slot], now.y[slot]]) - begin[:, :2]
            t = np.clip((off * way).sum(1), 0, length)
            gap = np.hypot(*(off - t[:, None] * way).T)
            align = way @ np.array([now.c[slot], now.s[slot]])
            z = begin[:, 2] + np.where(length > 0, t / np.maximum(length, 1e-9), 0) * (end - begin)[:, 2]
            fits = (align > 0.5) & (np.abs(z - ground[slot]) < 2.5) & (length > 0)
            least = np.where(fits, gap, np.inf).min()
            looked += 1
            if abs(least - REACH) < 0.2 or (np.abs(align[gap < REACH + 0.2] - 0.5) < 0.1).any():
                continue
            assert found.on[slot] == (least < REACH)
            if not found.on[slot]:
                continue
            on += 1
            assert abs(found.offset[slot]) == pytest.approx(least, abs=0.15)
            # Of lanes that lie on top of each other, any.
            best = fits & (gap < least + 0.15)
            assert found.limit_known[slot] in lanes.speed_limit_known[of[best]]
            assert np.abs(found.limit[slot] - lanes.speed_limit[of[best]]).min() < 1e-4
            side = way[:, 0] * off[:, 1] - way[:, 1] * off[:, 0]
            if least > 0.3:
                assert np.sign(found.offset[slot]) in np.sign(side[best])
            assert np.abs(found.cos[slot] - align[best]).min() < 0.1
            assert found.cos[slot] ** 2 + found.sin[slot] ** 2 == pytest.approx(1.0, abs=1e-4)
            spot = np.asarray(index.points[found.piece[slot]])
            reach = float(index.facts[found.piece[slot], FACTS.index("length")])
            assert 0 <= found.along[slot] <= reach + 1e-4
            along = np.array([np.interp(found.along[slot], np.linspace(0, reach, POINTS), row) for row in spot[:2]])
            assert np.hypot(*(along - [now.x[slot], now.y[slot]])) == pytest.approx(least, abs=0.2)
    assert looked > 10
    assert on > looked / 10


def test_several_maps_in_one_index_are_what_each_is_alone():
    scenes = [generate(7, "t_stop", steps=31), generate(7, "roundabout", steps=31)]
    both = Driving(worlds_of(scenes, CONFIG)[0], sight=SIGHT)
    for world, scene in enumerate(scenes):
        alone = Driving(worlds_of([scene], CONFIG)[0], sight=SIGHT)
        driven = np.asarray(alone.worlds.driven[0])
        for name in ("lanes", "lanes_mask", "lanes_links", "lanes_links_mask"):
            a, b = reset(both, jnp.int32(world))[1][name], reset(alone, jnp.int32(0))[1][name]
            np.testing.assert_array_equal(np.asarray(a)[driven], np.asarray(b)[driven])


def test_links_to_what_is_not_seen_are_not_there():
    game = Driving(worlds_of([generate(7, "highway", steps=31)], CONFIG)[0], sight=dataclasses.replace(SIGHT, lanes=6))
    seen = {k: np.asarray(v) for k, v in reset(game, jnp.int32(0))[1].items()}
    assert seen["lanes"].shape == (6, len(LANE), 6)
    assert seen["lanes_links"].shape == (6, len(LINKS), 6)
    assert seen["lanes_links"].max() < 6
    assert seen["lanes_links_mask"].any()
    # Nothing is far from all roads.
    state = eqx.filter_jit(start)(game.worlds, jnp.int32(0))
    lost = eqx.tree_at(lambda s: s.motion.x, state, state.motion.x + 1e4)
    alone = {k: np.asarray(v) for k, v in eqx.filter_jit(game.observe)(lost).items()}
    assert not alone["lanes_mask"].any()
    assert not alone["lanes_links_mask"].any()
    assert np.isfinite(alone["lanes"]).all()


def test_networks_read_lanes_as_a_set_or_flat():
    game = driving(count=1, seed=7, agents=2, others=12, lanes=12, links=True)
    spec = game.observation_spec
    obs = jax.tree.map(lambda x: x[0], reset(game, jnp.int32(0))[1])
    for kind, reader_of_sets in (("auto", True), ("mlp", False)):
        net = make_network(spec, 3, NetworkConfig(kind=kind, width=8), jax.random.key(0))
        assert isinstance(net, SetEncoder) == reader_of_sets
        out = eqx.filter_jit(lambda net: net(obs))(net)
        assert out.shape == (3,)
        assert np.isfinite(np.asarray(out)).all()
    assert flat_size(spec) == 287 + 32 + 8 + 12 * (len(LANE) + 1) + 2 * 12 * len(LINKS)
    plain = Driving(worlds_of([generate(7, "t_stop", steps=31)], dataclasses.replace(CONFIG, lanes=None))[0])
    assert plain.worlds.lanes is None
    assert not any("lanes" in name for name in plain.observation_spec)


def test_lanes_that_are_not_there_are_asked_for_in_vain():
    plain = worlds_of([generate(7, "highway", steps=31)], dataclasses.replace(CONFIG, lanes=None))[0]
    rich = worlds_of([generate(7, "highway", steps=31)], CONFIG)[0]
    with pytest.raises(InvalidGame, match=r"Sight\(lanes=4\) needs lanes"):
        Driving(plain, sight=Sight(partners=3, edges=8, others=8, lanes=4))
    with pytest.raises(InvalidGame, match="sees none"):
        Driving(rich, sight=Sight(partners=3, edges=8, others=8, links=True))
    with pytest.raises(InvalidGame, match=r"LaneConfig\(near=60\)"):
        Driving(rich, sight=Sight(partners=3, edges=8, others=8, lanes=60))
    for options, message in (({"piece": 0.0}, "0.0 m"), ({"near": 128}, "127"), ({"limit": -1.0}, "-1.0 m/s")):
        with pytest.raises(InvalidGame, match=message):
            LaneConfig(**options)
