"""What is around vehicles and what they hit, against plain geometry (shapely) worked out on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mairl.driving.dynamics import motion
from mairl.driving.infractions import collided, off_road, overlaps, ran_red, wrong_way
from mairl.driving.road_grid import FEATURES
from mairl.driving.segments import SegmentKind
from mairl.driving.surroundings import PARTNER, ROAD, UNIT, Scene, partners, road, without_self

shapely = pytest.importorskip("shapely")


def random_scene(rng, *shape, reach=30.0):
    heading = rng.uniform(-np.pi, np.pi, shape)
    values = [rng.uniform(-reach, reach, shape), rng.uniform(-reach, reach, shape), np.zeros(shape)]
    values += [np.cos(heading), np.sin(heading), rng.uniform(-3, 20, shape)]
    x, y, z, c, s, speed = (jnp.asarray(v, jnp.float32) for v in values)
    there = jnp.asarray(rng.random(shape) < 0.9)
    scene = jax.vmap(Scene)(x, y, z, c, s, speed, there) if len(shape) > 1 else Scene(x, y, z, c, s, speed, there)
    length, width = rng.uniform(0.5, 12, shape), rng.uniform(0.5, 3, shape)
    return scene, jnp.asarray(length, jnp.float32), jnp.asarray(width, jnp.float32), heading


def boxes(x, y, heading, length, width):
    u = length[..., None] / 2 * np.array([1, 1, -1, -1])
    v = width[..., None] / 2 * np.array([1, -1, -1, 1])
    c, s = np.cos(heading)[..., None], np.sin(heading)[..., None]
    return shapely.polygons(np.stack([x[..., None] + c * u - s * v, y[..., None] + s * u + c * v], -1))


def test_everybody_but_oneself():
    values = jnp.arange(5)
    for agent, seen in enumerate(np.asarray(without_self(values, 5))):
        assert sorted(seen.tolist()) == [k for k in range(5) if k != agent]


def test_collisions_are_shapelys():
    """2,000 scenes of 52 boxes: 102,000 pairs with the first, plus those of another."""
    rng = np.random.default_rng(0)
    agents, slots, scenes = 1, 52, 2000
    *stacked, heading = random_scene(rng, scenes, slots)

    @jax.jit
    @jax.vmap
    def hits(scene, length, width):
        return overlaps(partners(scene, length, width, jnp.ones(slots), agents), length[:agents], width[:agents])[0]

    found = np.asarray(hits(*stacked))
    order = np.asarray(without_self(jnp.arange(slots), agents))[0]
    x, y, length, width = (np.asarray(v, np.float64) for v in (stacked[0].x, stacked[0].y, stacked[1], stacked[2]))
    own = boxes(x[:, 0], y[:, 0], heading[:, 0], length[:, 0], width[:, 0])[:, None]
    other = boxes(x[:, order], y[:, order], heading[:, order], length[:, order], width[:, order])
    depth = shapely.area(shapely.intersection(own, other))
    gap = shapely.distance(own, other)
    there = np.asarray(stacked[0].present)[:, order]
    sure = (gap > 1e-3) | (depth > 0.02)
    np.testing.assert_array_equal(found[sure], ((gap == 0) & there)[sure])
    assert sure.mean() > 0.99
    assert ((gap == 0) & there).sum() > 1000
    assert not found[~there].any()


def test_boxes_on_a_bridge_do_not_touch_those_below():
    scene, length, width, _ = random_scene(np.random.default_rng(1), 4)
    same = jnp.zeros(4)
    scene = Scene(same, same, jnp.array([0.0, 5.0, 0.2, 9.0]), same + 1, same, same, jnp.ones(4, bool))
    around = partners(scene, length, width, jnp.full(4, 1.5), 4)
    assert collided(around, length, width).tolist() == [True, False, True, False]


def test_partners_are_seen_in_the_vehicles_frame():
    rng = np.random.default_rng(2)
    scene, length, width, heading = random_scene(rng, 6)
    around = partners(scene, length, width, jnp.ones(6), 2)
    f = dict(zip(PARTNER, np.moveaxis(np.asarray(around.features), 1, 0), strict=True))
    for agent in range(2):
        for place, slot in enumerate(np.asarray(without_self(jnp.arange(6), 2))[agent]):
            dx, dy = float(scene.x[slot] - scene.x[agent]), float(scene.y[slot] - scene.y[agent])
            way = complex(dx, dy) * np.exp(-1j * heading[agent]) / UNIT
            turn = np.exp(1j * (heading[slot] - heading[agent]))
            np.testing.assert_allclose([f["x"][agent, place], f["y"][agent, place]], [way.real, way.imag], atol=1e-6)
            np.testing.assert_allclose(
                [f["cos"][agent, place], f["sin"][agent, place]], [turn.real, turn.imag], atol=1e-6
            )
            assert bool(around.present[agent, place]) == bool(scene.present[slot])


def edge_table(pieces):
    """A table of one row: pieces are (x0, y0, x1, y1, kind, z)."""
    rows = []
    for x0, y0, x1, y1, kind, z in pieces:
        length = np.hypot(x1 - x0, y1 - y0)
        rows.append([(x0 + x1) / 2, (y0 + y1) / 2, length / 2, (x1 - x0) / length, (y1 - y0) / length, kind, z])
    return jnp.asarray(np.array(rows, np.float32).T[None])


@settings(max_examples=60, deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-3.1, 3.1))
def test_a_road_between_two_edges(x, y, heading):
    """Driving in +x between y = -4 and 4: on the road exactly while the whole box is."""
    table = edge_table([(-50, -4, 50, -4, SegmentKind.EDGE, 0.0), (50, 4, -50, 4, SegmentKind.EDGE, 0.0)])
    agents = _agent(x, y, heading)
    pieces, there = road(table, jnp.zeros(1, jnp.int32), agents, jnp.zeros(1))
    off, distance, rise = off_road(pieces, there, jnp.array([4.0]), jnp.array([2.0]))
    reach = 2 * abs(np.sin(heading)) + abs(np.cos(heading))
    margin = 4 - abs(y) - reach
    if abs(margin) > 1e-3:
        assert bool(off[0]) == (margin < 0)
    np.testing.assert_allclose(distance[0], 4 - abs(y), atol=1e-3)
    assert float(rise[0]) == 0.0


def _agent(x, y, heading, speed=0.0):
    values = (x, y, 0.0, np.cos(heading), np.sin(heading), speed)
    return Scene(*(jnp.array([v], jnp.float32) for v in values), jnp.array([True]))


def test_the_edge_of_another_level_does_not_count():
    table = edge_table([(-50, 0, 50, 0, SegmentKind.EDGE, 6.0), (-50, -4, 50, -4, SegmentKind.EDGE, 0.3)])
    pieces, there = road(table, jnp.zeros(1, jnp.int32), _agent(0, 0, 0), jnp.zeros(1))
    off, distance, rise = off_road(pieces, there, jnp.array([4.0]), jnp.array([2.0]))
    assert not bool(off[0])
    np.testing.assert_allclose([distance[0], rise[0]], [4.0, 0.3], atol=1e-4)
    on_top = road(table, jnp.zeros(1, jnp.int32), _agent(0, 0, 0), jnp.full(1, 6.0))
    assert bool(off_road(*on_top, jnp.array([4.0]), jnp.array([2.0]))[0][0])


def test_pieces_of_the_map_are_seen_in_the_vehicles_frame():
    table = edge_table([(10, 5, 20, 15, SegmentKind.LANE, 1.0)])
    pieces, there = road(table, jnp.zeros(1, jnp.int32), _agent(5, 0, np.pi / 2), jnp.zeros(1))
    expected = {"x": 10 / UNIT, "y": -10 / UNIT, "ux": 0.5**0.5, "uy": -(0.5**0.5), "half_length": 50**0.5 / UNIT}
    for name, value in {**expected, "kind": SegmentKind.LANE, "z": 1.0 / UNIT}.items():
        np.testing.assert_allclose(pieces[0, ROAD.index(name), 0], value, atol=1e-6)
    assert bool(there[0, 0])
    assert FEATURES == ROAD


@pytest.mark.parametrize(
    ("heading", "speed", "wrong"), [(0.0, 5.0, False), (np.pi, 5.0, True), (np.pi, -5.0, False), (np.pi, 0.5, False)]
)
def test_against_the_lane(heading, speed, wrong):
    table = edge_table([(-50, 1, 50, 1, SegmentKind.LANE, 0.0)])
    seen = road(table, jnp.zeros(1, jnp.int32), _agent(0, 0, heading), jnp.zeros(1))
    assert bool(wrong_way(*seen, jnp.array([speed]))[0]) == wrong


def test_crossing_lanes_are_no_wrong_way():
    table = edge_table([(-50, 0, 50, 0, SegmentKind.LANE, 0.0), (50, 1, -50, 1, SegmentKind.LANE, 0.0)])
    seen = road(table, jnp.zeros(1, jnp.int32), _agent(0, 0, 0.0), jnp.zeros(1))
    assert not bool(wrong_way(*seen, jnp.array([5.0]))[0])


def test_the_front_passes_a_red_light_once():
    stop = jnp.array([[0.0], [0.0], [1.0], [0.0], [2.0]])

    def at(x, y=0.0, heading=0.0):
        return motion(*(jnp.array([v]) for v in (x, y, heading, 5.0, 0.0)))

    length, red = jnp.array([4.0]), jnp.array([True])
    assert bool(ran_red(at(-2.1), at(-1.9), length, stop, red)[0])
    assert not bool(ran_red(at(-2.1), at(-1.9), length, stop, ~red)[0])
    assert not bool(ran_red(at(-1.9), at(-1.5), length, stop, red)[0])
    assert not bool(ran_red(at(-2.1, 2.5), at(-1.9, 2.5), length, stop, red)[0])
    assert not bool(ran_red(at(2.1, 0.0, np.pi), at(1.9, 0.0, np.pi), length, stop, red)[0])


def test_both_sides_of_a_divider_are_road():
    for kind, off in ((SegmentKind.DIVIDER, False), (SegmentKind.EDGE, True)):
        table = edge_table([(-50, 4, 50, 4, kind, 0.0)])
        seen = road(table, jnp.zeros(1, jnp.int32), _agent(0, 0, 0), jnp.zeros(1))
        assert bool(off_road(*seen, jnp.array([4.0]), jnp.array([2.0]))[0][0]) == off
        crossing = road(table, jnp.zeros(1, jnp.int32), _agent(0, 3.5, 0), jnp.zeros(1))
        assert bool(off_road(*crossing, jnp.array([4.0]), jnp.array([2.0]))[0][0])
