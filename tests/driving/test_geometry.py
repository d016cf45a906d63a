"""Boxes and segments beside shapely, on 100,000 random pairs each, outside a band of a millimetre."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.driving.geometry import Box, corners, crosses, overlap, same_level, segment_distance

shapely = pytest.importorskip("shapely")

COUNT, BAND = 100_000, 1e-3


def boxes(rng, count=COUNT, spread=6.0) -> Box:
    x, y = jnp.asarray(rng.uniform(-spread, spread, (2, count)), jnp.float32)
    return Box(
        x,
        y,
        jnp.asarray(rng.uniform(-np.pi, np.pi, count), jnp.float32),
        jnp.asarray(rng.uniform(0.3, 12, count), jnp.float32),
        jnp.asarray(rng.uniform(0.3, 3, count), jnp.float32),
    )


def polygons(box: Box, grow: float = 0.0):
    grown = Box(box.x, box.y, box.heading, box.length + 2 * grow, box.width + 2 * grow)
    return shapely.polygons(np.asarray(corners(grown), np.float64))


def test_boxes_overlap_where_shapely_says_so():
    rng = np.random.default_rng(0)
    a, b = boxes(rng), boxes(rng)
    found = np.asarray(jax.jit(overlap)(a, b))
    surely = shapely.intersects(polygons(a, -BAND), polygons(b, -BAND))
    never = shapely.distance(polygons(a), polygons(b)) > BAND
    assert found[surely].all()
    assert not found[never].any()
    assert 0.2 < found.mean() < 0.8
    assert (surely | never).mean() > 0.99


def test_boxes_that_only_touch_do_not_overlap():
    one = Box(*(jnp.asarray(v, jnp.float32) for v in (0.0, 0.0, 0.0, 4.0, 2.0)))
    beside = Box(*(jnp.asarray(v, jnp.float32) for v in (0.0, 2.0, 0.0, 4.0, 2.0)))
    assert not overlap(one, beside)
    assert overlap(one, Box(beside.x, beside.y - 1e-4, beside.heading, beside.length, beside.width))


def test_bridges_pass_over_roads():
    assert not same_level(0.75, 1.5, 6.0, 1.6)
    assert same_level(0.75, 1.5, 1.0, 1.6)


def test_segments_cross_boxes_where_shapely_says_so():
    rng = np.random.default_rng(1)
    box = boxes(rng)
    ends = rng.uniform(-9, 9, (2, 2, COUNT)).astype(np.float32)
    ends[1] = np.where(rng.random(COUNT) < 0.5, ends[0] + rng.normal(0, 0.4, (2, COUNT)), ends[1])
    found = np.asarray(jax.jit(crosses)(box, ends[0, 0], ends[0, 1], ends[1, 0], ends[1, 1]))
    lines = shapely.linestrings(np.moveaxis(ends.astype(np.float64), -1, 0))
    surely = shapely.intersects(polygons(box, -BAND), lines)
    never = shapely.distance(polygons(box), lines) > BAND
    assert found[surely].all()
    assert not found[never].any()
    assert 0.1 < found.mean() < 0.9
    assert (surely | never).mean() > 0.99


def test_distances_to_segments_and_sides():
    rng = np.random.default_rng(2)
    points, first, second = rng.uniform(-9, 9, (3, 2, COUNT)).astype(np.float32)
    second[:, :100] = first[:, :100]
    square, side = jax.jit(segment_distance)(*points, *first, *second)
    lines = shapely.linestrings(np.stack([first.T, second.T], 1).astype(np.float64))
    expected = shapely.distance(shapely.points(points.T.astype(np.float64)), lines)
    np.testing.assert_allclose(np.sqrt(square), expected, atol=BAND)
    way, to = second - first.astype(np.float64), points - first.astype(np.float64)
    turned = way[0] * to[1] - way[1] * to[0]
    clear = np.abs(turned) > 1e-2
    np.testing.assert_array_equal(np.sign(side)[clear], np.sign(turned)[clear])


def test_corners_go_round_clockwise_from_the_front_left():
    box = Box(*(jnp.asarray(v, jnp.float32) for v in (1.0, 2.0, np.pi / 2, 4.0, 2.0)))
    np.testing.assert_allclose(corners(box), [[0, 4], [2, 4], [2, 0], [0, 0]], atol=1e-6)
