"""CMA-ES: minimisation without derivatives (Hansen 2016, "The CMA Evolution Strategy: A Tutorial", Figure 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator

import numpy as np
from jaxtyping import Float

from mairl.core.errors import Unsupported


@dataclasses.dataclass(frozen=True)
class Minimum:
    """The best point that was seen.

    Attributes:
        point: `[unknown]`.
        value: of the objective there.
        evaluations: how many points were asked for.
    """

    point: Float[np.ndarray, " unknown"]
    value: float
    evaluations: int


def cma_es(
    objective: Callable[[Float[np.ndarray, "population unknown"]], Float[np.ndarray, " population"]],
    start: Float[np.ndarray, " unknown"],
    *,
    spread: float,
    population: int = 16,
    evaluations: int = 2400,
    target: float = -np.inf,
    seed: int = 0,
) -> Minimum:
    """Minimises by sampling from a normal distribution that follows what was good.

    Args:
        objective: of a whole population at once; values that are not finite count as bad.
        start: the first mean.
        spread: the first standard deviation of every coordinate: scale unknowns so that one fits all.
        target: stops once a value is not above it.

    Raises:
        Unsupported: fewer than two points in a population, no evaluations, or no point of the first population has a
            finite value.
    """
    search = searching(start, spread=spread, population=population, evaluations=evaluations, target=target, seed=seed)
    points = next(search)
    while True:
        try:
            points = search.send(np.asarray(objective(points), np.float64))
        except StopIteration as found:
            return found.value


def searching(
    start: Float[np.ndarray, " unknown"],
    *,
    spread: float,
    population: int = 16,
    evaluations: int = 2400,
    target: float = -np.inf,
    seed: int = 0,
) -> Generator[Float[np.ndarray, "population unknown"], Float[np.ndarray, " population"], Minimum]:
    """`cma_es` the other way round: gives a population, is sent its values, and returns the minimum. So several
    searches can share one evaluation."""
    if population < 2 or evaluations < 1:
        raise Unsupported(
            f"CMA-ES needs a population of at least 2 and at least 1 evaluation, got {population} and {evaluations}"
        )
    rng = np.random.default_rng(seed)
    size, parents = len(start), population // 2
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    mass = 1 / np.sum(weights**2)
    # Learning rates: of the step's length, of the path, of the covariance by path and by the population's best.
    rate_length = (mass + 2) / (size + mass + 5)
    damping = 1 + 2 * max(0.0, np.sqrt((mass - 1) / (size + 1)) - 1) + rate_length
    rate_path = (4 + mass / size) / (size + 4 + 2 * mass / size)
    rate_one = 2 / ((size + 1.3) ** 2 + mass)
    rate_many = min(1 - rate_one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
    expected = np.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
    mean, covariance = np.array(start, np.float64), np.eye(size)
    path, length_path = np.zeros(size), np.zeros(size)
    best = Minimum(mean, np.inf, 0)
    asked = 0
    while asked < evaluations and best.value > target:
        values, axes = np.linalg.eigh(covariance)
        scales = np.sqrt(np.maximum(values, 1e-300))
        steps = (rng.standard_normal((population, size)) * scales) @ axes.T
        found = yield mean + spread * steps
        found = np.where(np.isfinite(found), found, np.inf)
        asked += population
        order = np.argsort(found)
        if not np.isfinite(found[order[0]]) and best.value == np.inf:
            raise Unsupported(
                f"none of {population} points within {spread:.3g} of the start has a finite value: begin nearer"
            )
        if found[order[0]] < best.value:
            best = Minimum(mean + spread * steps[order[0]], float(found[order[0]]), asked)
        chosen = steps[order[:parents]]
        move = weights @ chosen
        mean = mean + spread * move
        white = axes @ ((axes.T @ move) / scales)
        length_path = (1 - rate_length) * length_path + np.sqrt(rate_length * (2 - rate_length) * mass) * white
        length = float(np.linalg.norm(length_path))
        # A long path says that the steps are too short; the covariance then waits for them to grow.
        decay = 1 - (1 - rate_length) ** (2 * asked / population)
        steady = length / np.sqrt(decay) < (1.4 + 2 / (size + 1)) * expected
        path = (1 - rate_path) * path + steady * np.sqrt(rate_path * (2 - rate_path) * mass) * move
        lost = (not steady) * rate_path * (2 - rate_path)
        covariance = (
            (1 - rate_one - rate_many + rate_one * lost) * covariance
            + rate_one * np.outer(path, path)
            + rate_many * (chosen.T * weights) @ chosen
        )
        covariance = (covariance + covariance.T) / 2
        spread = spread * float(np.exp(min(1.0, rate_length / damping * (length / expected - 1))))
    return dataclasses.replace(best, evaluations=asked)
