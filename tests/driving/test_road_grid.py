"""The index of a map: every cell's row holds what is nearest, and nothing is missed."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from mairl.driving.geometry import segment_distance
from mairl.driving.road_grid import FEATURES, GridConfig, joined, road_grid
from mairl.driving.segments import SegmentKind, Segments, segments
from mairl.testing.scenarios import made_scenario


def random_map(seed=0, count=600) -> Segments:
    rng = np.random.default_rng(seed)
    start = rng.uniform(-120, 120, (count, 3))
    end = start + rng.normal(0, 6, (count, 3))
    kind = rng.choice([SegmentKind.EDGE, SegmentKind.LANE], count)
    return Segments(start.astype(np.float32), end.astype(np.float32), kind.astype(np.int8))


def distances(table, row, x, y):
    """Distances from places to the segments in their rows; infinite where a slot is empty."""
    f = dict(zip(FEATURES, np.moveaxis(np.asarray(table)[row], 1, 0), strict=True))
    ends = [f["x"] - f["half_length"] * f["ux"], f["y"] - f["half_length"] * f["uy"]]
    ends += [f["x"] + f["half_length"] * f["ux"], f["y"] + f["half_length"] * f["uy"]]
    square, _ = segment_distance(x[:, None], y[:, None], *ends)
    return np.where(f["kind"] >= 0, np.sqrt(square), np.inf)


def test_the_nearest_segments_of_any_place_near_a_road_are_in_its_row():
    found = random_map()
    grid = road_grid(found, GridConfig(edges=32, others=32))
    x, y = np.random.default_rng(1).uniform(-110, 110, (2, 2000)).astype(np.float32)
    row = np.asarray(grid.rows_at(jnp.asarray(x), jnp.asarray(y)))
    for table, which in ((grid.edges, found.kind == SegmentKind.EDGE), (grid.others, found.kind != SegmentKind.EDGE)):
        a, b = found.start[which], found.end[which]
        square, _ = segment_distance(x[:, None], y[:, None], *a[:, :2].T, *b[:, :2].T)
        expected = np.sqrt(square).min(1)
        near = distances(table, row, x, y).min(1)
        known = row > 0
        np.testing.assert_allclose(near[known], expected[known], atol=1e-3)
        assert (expected[~known] > 10).all()


def test_rows_are_sorted_from_the_middle_of_the_cell():
    grid = road_grid(random_map(), GridConfig(edges=16, others=16))
    iy, ix = np.nonzero(np.asarray(grid.row)[0])
    x, y = (np.asarray(grid.origin)[0][:, None] + (np.stack([ix, iy]) + 0.5) * grid.cell).astype(np.float32)
    far = distances(grid.edges, np.asarray(grid.row)[0, iy, ix], x, y)
    finite = np.where(np.isfinite(far), far, 1e9)
    assert (np.diff(finite, axis=1) > -1e-3).all()


def test_places_far_from_roads_see_nothing():
    grid = road_grid(segments(made_scenario().map))
    row = grid.rows_at(jnp.array([0.0, 1e4]), jnp.array([80.0, 0.0]))
    np.testing.assert_array_equal(row, 0)
    assert (np.asarray(grid.edges)[0, FEATURES.index("kind")] == -1).all()
    nothing = road_grid(Segments(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.int8)))
    assert int(nothing.rows_at(jnp.array(0.0), jnp.array(0.0))) == 0


def square(side, inside_on_the_left=True):
    """Edges around a square with nothing in it."""
    corner = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * side / 2
    start, end = corner, np.roll(corner, -1, axis=0)
    if not inside_on_the_left:
        start, end = end, start
    return Segments(start, end, np.full(4, SegmentKind.EDGE, np.int8))


def test_wide_places_on_the_road_are_known_and_blocks_between_roads_are_not():
    x, y = jnp.array([0.0, 20.0, -30.0, 70.0]), jnp.array([0.0, -13.0, 30.0, 0.0])
    row = np.asarray(road_grid(square(100)).rows_at(x, y))
    assert (row[:3] > 0).all()
    assert row[3] == 0
    np.testing.assert_array_equal(road_grid(square(100, False)).rows_at(x, y), 0)
    # Lanes alone do not say what is road.
    lanes = dataclasses.replace(square(100), kind=np.full(4, SegmentKind.LANE, np.int8))
    np.testing.assert_array_equal(road_grid(lanes).rows_at(x, y), 0)
    # A line between lanes has no far side: what it encloses is road.
    lines = dataclasses.replace(square(100, False), kind=np.full(4, SegmentKind.DIVIDER, np.int8))
    assert (np.asarray(road_grid(lines).rows_at(x, y))[:3] > 0).all()


def test_joined_maps_answer_as_each_map_alone():
    maps = [road_grid(random_map(seed, count), GridConfig(edges=8, others=8)) for seed, count in ((0, 50), (1, 400))]
    both = joined(maps)
    x, y = np.random.default_rng(2).uniform(-150, 150, (2, 1000)).astype(np.float32)
    for k, alone in enumerate(maps):
        for name in ("edges", "others"):
            expected = np.asarray(getattr(alone, name))[alone.rows_at(jnp.asarray(x), jnp.asarray(y))]
            found = np.asarray(getattr(both, name))[both.rows_at(jnp.asarray(x), jnp.asarray(y), k)]
            np.testing.assert_array_equal(found, expected)
    assert len(both.edges) == len(maps[0].edges) + len(maps[1].edges) - 1
