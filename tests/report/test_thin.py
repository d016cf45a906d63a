"""Thinned lines look the same: no point is farther off than allowed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mairl.report.thin import CHUNK, from_segment, thinned


def farthest(points: np.ndarray, kept: np.ndarray) -> float:
    """The largest distance of a point from the stretch of the thinned line that stands for it."""
    off = [0.0]
    for a, b in itertools.pairwise(kept):
        off += from_segment(points[a : b + 1], points[a], points[b]).tolist()
    return max(off)


@given(st.lists(st.tuples(*[st.floats(-50, 50, width=32)] * 2), min_size=1, max_size=60), st.floats(0.0, 10.0))
def test_no_point_is_farther_off_than_the_tolerance(points, tolerance):
    line = np.array(points, np.float64)
    kept = thinned(line, tolerance)
    assert kept[0] == 0
    assert kept[-1] == len(line) - 1
    assert (np.diff(kept) > 0).all()
    assert farthest(line, kept) <= tolerance + 1e-9


def test_worked_by_hand():
    # The third point is 0.3 m off the line through the ends, the second on the line to it.
    line = np.array([[0.0, 0.0], [1.0, 0.15], [2.0, 0.3], [4.0, 0.0]])
    assert thinned(line, 0.31).tolist() == [0, 3]
    assert thinned(line, 0.2).tolist() == [0, 2, 3]
    assert from_segment(np.array([[-3.0, -4.0]]), np.zeros(2), np.ones(2)).tolist() == [5.0]
    assert from_segment(np.array([[3.0, 4.0]]), np.zeros(2), np.zeros(2)).tolist() == [5.0]


@pytest.mark.parametrize("count", [1, 2, 3, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_straight_lines_become_their_ends(count):
    line = np.stack([np.arange(count) * 0.5, np.arange(count) * 0.25], 1)
    kept = thinned(line, 0.01)
    assert {0, count - 1} <= set(kept.tolist())
    assert len(kept) <= 2 + count // CHUNK
