"""Dense least squares that say what the data leave open, in float64 on the host."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import qr, solve_triangular

from mairl.core.errors import InvalidData

RANK_TOLERANCE = 1e-10
"""Pivots below this share of the largest count as 0, after columns have been scaled to length 1."""

NOISE = 1e-13
"""Columns below this share of the longest are rounding, and count as 0."""


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """The solution of least norm, and what could be added to it without any change of the fit.

    Attributes:
        solution: `[unknown]`.
        rank: of the design.
        null_space: `[unknown, free]`, orthonormal columns; none if the design has full rank.
        relative_residual: ‖design x - target‖² / ‖target‖² (0 for a target of 0 that is met).
    """

    solution: Float[np.ndarray, " unknown"]
    rank: int
    null_space: Float[np.ndarray, "unknown free"]
    relative_residual: float


def least_squares(
    design: Float[np.ndarray, "row unknown"],
    target: Float[np.ndarray, " row"],
    *,
    tolerance: float = RANK_TOLERANCE,
) -> LeastSquares:
    """argmin_x ‖design x - target‖², of all minimisers the shortest.

    Raises:
        InvalidData: values that are not finite.
    """
    if not (np.all(np.isfinite(design)) and np.all(np.isfinite(target))):
        raise InvalidData(
            f"of a least-squares problem {np.sum(~np.isfinite(design))} entries of the design and "
            f"{np.sum(~np.isfinite(target))} of the target are not finite: check the policies and the reward's features"
        )
    null_space, inverse = _decompose(design, tolerance)
    solution = project_out(inverse(target), null_space)
    off = float(np.sum((design @ solution - target) ** 2))
    size = float(np.sum(target**2))
    return LeastSquares(
        solution=solution,
        rank=design.shape[1] - null_space.shape[1],
        null_space=null_space,
        relative_residual=off / size if size > 0 else off,
    )


def null_space(
    design: Float[np.ndarray, "row unknown"], *, tolerance: float = RANK_TOLERANCE
) -> Float[np.ndarray, "unknown free"]:
    """An orthonormal basis of the directions that the design does not see."""
    return _decompose(design, tolerance)[0]


def project_out(
    vector: Float[np.ndarray, " unknown"], directions: Float[np.ndarray, "unknown free"]
) -> Float[np.ndarray, " unknown"]:
    """What is left of a vector without its part along orthonormal directions."""
    return vector - directions @ (directions.T @ vector)


def cosine(
    found: Float[np.ndarray, " unknown"],
    truth: Float[np.ndarray, " unknown"],
    directions: Float[np.ndarray, "unknown free"],
) -> float | None:
    """The cosine of two rewards after `directions` (a null space) have been taken out; None if nothing is left."""
    a, b = project_out(found, directions), project_out(truth, directions)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-12 * float(np.linalg.norm(found) * np.linalg.norm(truth)) else None


def _decompose(design, tolerance: float):
    """The null space, and a function that applies the pseudo-inverse (in scaled columns) to a target.

    A complete orthogonal decomposition: QR with column pivoting finds the rank, a second QR of what is left of R turns
    the row space into a triangle. Cheaper than a singular value decomposition, and it finds the same here.
    """
    unknowns = design.shape[1]
    scale = np.linalg.norm(design, axis=0)
    heard = scale > NOISE * scale.max(initial=0.0)
    seen = np.where(heard, scale, 1.0)
    factors: Any = qr(np.where(heard, design / seen, 0.0), mode="economic", pivoting=True)
    basis, triangle, order = factors
    sizes = np.abs(np.diagonal(triangle))
    rank = int(np.sum(sizes > tolerance * max(sizes.max(initial=0.0), np.finfo(float).tiny)))
    turn, corner = np.linalg.qr(triangle[:rank].T, mode="complete")
    turned = np.zeros((unknowns, unknowns))
    turned[order] = turn
    # A null direction of the scaled design is one of the design itself once the scaling is undone.
    free = np.linalg.qr(turned[:, rank:] / seen[:, None])[0]

    def inverse(target):
        inner = solve_triangular(corner[:rank].T, basis[:, :rank].T @ target, lower=True) if rank else np.zeros(0)
        return turned[:, :rank] @ inner / seen

    return free, inverse
