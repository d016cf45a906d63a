"""Maps as segments: thinning within its tolerance, edges turned towards the lanes, and distances with a side."""

import dataclasses

import jax
import numpy as np
import pytest

from mairl.driving.geometry import signed_distance
from mairl.driving.segments import SegmentKind, edges_inwards, pieces, segments, thinned
from mairl.scenarios import build
from mairl.scenarios.schema import EdgeType
from mairl.testing.scenarios import made_scenario

shapely = pytest.importorskip("shapely")


def wiggly(rng, count):
    x = np.cumsum(rng.uniform(0.2, 1.0, count))
    return np.stack([x, 3 * np.sin(x / 9) + rng.normal(0, 0.01, count), np.zeros(count)], 1)


def test_thinned_lines_stay_within_the_tolerance():
    rng = np.random.default_rng(0)
    lines = build.polylines([wiggly(rng, n) for n in (2, 3, 400, 1, 150)], list("abcde"))
    keep = thinned(lines.points, lines.starts, 0.05)
    for k in range(len(lines)):
        part = slice(lines.starts[k], lines.starts[k + 1])
        whole, kept = lines.points[part, :2], lines.points[part, :2][keep[part]]
        np.testing.assert_array_equal(kept[[0, -1]], whole[[0, -1]])
        if len(whole) > 1:
            assert shapely.distance(shapely.points(whole), shapely.linestrings(kept)).max() <= 0.05 + 1e-9
    assert keep.sum() < 0.3 * len(keep)


def test_a_straight_line_is_one_segment_and_polygons_are_closed():
    straight = build.polylines([np.stack([np.arange(50.0)] * 3, 1)], ["a"])
    assert len(pieces(straight, 0.05)[0]) == 1
    square = build.polylines([np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])], ["b"])
    start, end, _ = pieces(square, 0.05, closed=True)
    assert len(start) == 4
    np.testing.assert_array_equal(end[-1], start[0])


def test_edges_turn_to_have_the_lanes_on_their_left_whatever_their_direction():
    road = made_scenario().map
    for flip in (False, True):
        edges = road.edges
        if flip:
            edges = build.polylines([edges.line(k)[::-1] for k in range(2)], edges.ids, edges.kind)
        start, end, divides = edges_inwards(dataclasses.replace(road, edges=edges), 0.05)
        along = (end - start)[:, 0]
        south = start[:, 1] < start[:, 1].mean()
        assert south.any()
        assert (along[south] > 0).all()
        assert (along[~south] < 0).all()
        assert not divides.any()


def test_every_part_of_a_map_becomes_segments():
    found = segments(made_scenario().map)
    assert set(found.kind) == set(SegmentKind) - {SegmentKind.DRIVEWAY, SegmentKind.DIVIDER}
    assert (found.kind == SegmentKind.CROSSWALK).sum() == 4
    assert (found.kind == SegmentKind.EDGE).sum() == 2


def test_an_edge_between_lanes_is_a_divider():
    road = made_scenario().map
    y = float(np.mean([road.lanes.centre.line(k)[0, 1] for k in range(2)]))
    middle = build.polylines([np.array([[-70.0, y, 0], [60.0, y, 0]])], ["median"], [EdgeType.MEDIAN])
    found = segments(dataclasses.replace(road, edges=middle))
    assert (found.kind == SegmentKind.DIVIDER).sum() == 3, "the line and its two loose ends"
    assert (found.kind == SegmentKind.EDGE).sum() == 0


def test_signed_distances_tell_inside_from_outside_of_polygons():
    rng = np.random.default_rng(3)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 25))
    ring = rng.uniform(2, 9, 25)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    polygon = shapely.polygons(ring)
    points = rng.uniform(-10, 10, (100_000, 2)).astype(np.float32)
    a, b = ring.astype(np.float32), np.roll(ring, -1, 0).astype(np.float32)
    found = jax.jit(signed_distance)(
        points[:, :1], points[:, 1:], a[:, 0], a[:, 1], b[:, 0], b[:, 1], np.ones(25, bool)
    )
    places = shapely.points(points.astype(np.float64))
    expected = shapely.distance(places, shapely.boundary(polygon))
    expected = np.where(shapely.contains(polygon, places), expected, -expected)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert 0.1 < (expected > 0).mean() < 0.9


def test_without_segments_everything_is_far_away():
    nothing = np.zeros(3, np.float32)
    place = np.zeros(1, np.float32)
    ends = (nothing, nothing, nothing, nothing)
    assert np.isposinf(signed_distance(place, place, *ends, np.zeros(3, bool)))
