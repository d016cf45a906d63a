"""Least squares against NumPy's, and what it says about what is open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mairl.core.errors import InvalidData
from mairl.ops.least_squares import cosine, least_squares, null_space, project_out


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 8), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_it_is_the_shortest_solution(seed, rows, unknowns, rank):
    rng = np.random.default_rng(seed)
    rank = min(rank, rows, unknowns)
    design = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, unknowns))
    target = rng.normal(size=rows)
    found = least_squares(design, target)
    want, _, _, _ = np.linalg.lstsq(design, target, rcond=1e-9)
    assert found.rank == rank
    assert found.null_space.shape == (unknowns, unknowns - rank)
    np.testing.assert_allclose(found.solution, want, atol=1e-6 * max(1, np.abs(want).max()))
    np.testing.assert_allclose(design @ found.null_space, 0, atol=1e-9 * max(1, np.abs(design).max()))
    np.testing.assert_allclose(found.null_space.T @ found.null_space, np.eye(unknowns - rank), atol=1e-9)
    assert found.relative_residual == pytest.approx(np.sum((design @ want - target) ** 2) / np.sum(target**2), abs=1e-9)


def test_scales_of_columns_do_not_hide_them():
    assert least_squares(np.diag([1.0, 1e-11]), np.ones(2)).rank == 2
    assert null_space(np.array([[1e-13, 1e-13], [1.0, 1.0]])).shape == (2, 1)


def test_columns_of_rounding_are_none():
    found = least_squares(np.diag([1.0, 1e-15]), np.ones(2))
    assert found.rank == 1
    np.testing.assert_allclose(found.solution, [1, 0])
    np.testing.assert_allclose(np.abs(found.null_space[:, 0]), [0, 1])


def test_cosines_do_not_see_what_is_projected_out():
    hidden = np.array([[0.0], [0.0], [1.0]])
    assert cosine(np.array([1.0, 2, 30]), np.array([2.0, 4, -7]), hidden) == pytest.approx(1)
    assert cosine(np.array([1.0, 0, 30]), np.array([0.0, 1, 30]), hidden) == pytest.approx(0)
    assert cosine(np.array([0.0, 0, 1]), np.array([1.0, 0, 0]), hidden) is None
    np.testing.assert_array_equal(project_out(np.array([1.0, 2, 3]), hidden), [1, 2, 0])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InvalidData, match="1 entries of the design and 0 of the target"):
        least_squares(np.array([[1.0], [np.nan]]), np.ones(2))
