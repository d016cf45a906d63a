"""Lane graphs by hand, properties under motion and renaming, what is refused, and speed at size."""

import time

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios import build
from mairl.scenarios.lane_graph import lane_graph


def straight(x0, y0, x1, y1, count=20, z=0.0):
    part = np.linspace(0, 1, count)[:, None]
    return np.concatenate([np.array([x0, y0]) + part * np.array([x1 - x0, y1 - y0]), np.full((count, 1), z)], 1)


def graph(*lines):
    found = lane_graph(build.polylines(list(lines), [str(k) for k in range(len(lines))]))
    return tuple(
        sorted(map(tuple, pairs.tolist()))
        for pairs in (found.successors, found.left_neighbours, found.right_neighbours)
    )


def test_an_end_leads_into_the_starts_that_it_meets():
    first, on = straight(0, 0, 50, 0), straight(50, 0, 100, 0)
    left, back = straight(50, 0, 90, 30), straight(50, 0, 0, 0)
    assert graph(first, on, left)[0] == [(0, 1), (0, 2)]
    assert graph(first, back)[0] == []  # it turns round on the spot
    assert graph(first, straight(50.4, 0, 100, 0))[0] == [(0, 1)]
    assert graph(first, straight(50.6, 0, 100, 0))[0] == []
    assert graph(first, straight(50, 0, 100, 0, z=6.0))[0] == []  # a bridge
    assert graph(straight(0, 0, 50, 0), straight(50, 0, 50, 50))[0] == []  # a right angle is no lane's way


def test_neighbours_by_side_distance_and_direction():
    right, left = straight(0, 0, 100, 0), straight(0, 3.5, 100, 3.5)
    assert graph(right, left)[1:] == ([(0, 1)], [(1, 0)])
    assert graph(right, straight(100, 3.5, 0, 3.5))[1:] == ([], [])  # the other way
    assert graph(right, straight(0, 1.0, 100, 1.0))[1:] == ([], [])
    assert graph(right, straight(0, 8.0, 100, 8.0))[1:] == ([], [])
    assert graph(right, straight(0, 3.5, 100, 3.5, z=6.0))[1:] == ([], [])
    assert graph(right, straight(70, 3.5, 170, 3.5))[1:] == ([], [])  # side by side for 30 m of 100
    assert graph(right, straight(40, 3.5, 60, 3.5))[1:] == ([(0, 1)], [(1, 0)])  # a short bay beside a long lane


def test_the_lane_behind_the_next_one_is_no_neighbour():
    assert graph(*(straight(0, 2.6 * k, 100, 2.6 * k) for k in range(3)))[1] == [(0, 1), (1, 2)]


def test_neighbours_around_a_bend():
    angle = np.linspace(0, np.pi / 2, 40)
    arcs = [np.stack([r * np.cos(angle), r * np.sin(angle)], 1) for r in (20.0, 23.5)]
    assert graph(*arcs)[1:] == ([(1, 0)], [(0, 1)])


def test_points_apart_and_two_points_are_enough():
    assert graph(straight(0, 0, 200, 0, 2), straight(0, 3.5, 200, 3.5, 400), straight(200, 0, 300, 0, 2)) == (
        [(0, 2)],
        [(0, 1)],
        [(1, 0)],
    )


def test_lanes_of_one_point_or_no_length_harm_nothing():
    still = np.zeros((5, 3))
    assert graph(still, np.zeros((1, 3)), straight(0, 0, 50, 0)) == ([], [], [])
    assert graph() == ([], [], [])


def city(side):
    """A grid of streets of four lanes, 100 m a block: `8 side (side - 1)` lanes."""
    lanes = []
    for a in range(side):
        for b in range(side - 1):
            for k, across in enumerate((-5.25, -1.75, 1.75, 5.25)):
                ends = (100 * b + 10, 100 * b + 90) if k < 2 else (100 * b + 90, 100 * b + 10)
                lanes += [straight(ends[0], 100 * a + across, ends[1], 100 * a + across, 60)]
                lanes += [straight(100 * a - across, ends[0], 100 * a - across, ends[1], 60)]
    return lanes


def test_turned_moved_and_shuffled_lanes_have_the_same_graph():
    lanes = [*city(3), straight(90, -5.25, 110, -5.25)]
    known = graph(*lanes)
    assert len(known[0]) == 2
    assert len(known[1]) == len(known[2]) == 24
    rng = np.random.default_rng(0)
    turn = 0.7
    matrix = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    order = rng.permutation(len(lanes))
    moved = graph(*(lanes[k] @ matrix + np.array([5e5, -4e6, 30.0]) for k in order))
    for ours, theirs in zip(known, moved):
        assert ours == sorted((int(order[i]), int(order[j])) for i, j in theirs)


def test_two_thousand_lanes_take_little_time_and_memory():
    tracemalloc = pytest.importorskip("tracemalloc")
    lanes = city(17)
    assert len(lanes) > 2000
    centre = build.polylines(lanes, [str(k) for k in range(len(lanes))])
    tracemalloc.start()
    begun = time.process_time()
    found = lane_graph(centre)
    spent = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.left_neighbours) == len(lanes) // 2
    assert spent < 3.0
    assert peak < 250e6


def test_what_no_road_has_is_refused():
    with pytest.raises(InvalidData, match="not finite"):
        graph(np.array([[0.0, 0, 0], [np.inf, 0, 0]]))
    with pytest.raises(InvalidData, match="not finite or beyond"):
        graph(straight(0, 0, 1e300, 0))
    same = straight(0, 0, 1, 0, 2)
    with pytest.raises(InvalidData, match="repeated"):
        graph(*[same] * 10_000)
