"""Intervals over seeds or episodes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit


def mean_interval(values: Float[np.ndarray, " n"]) -> tuple[float, list[float | None]]:
    """Mean and 95% confidence interval (Student's t) of independent values, such as one per seed.

    Values that are not finite are left out. With fewer than two values the interval is [None, None]: nothing can be
    said about the spread. With none, the mean is NaN.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return float("nan"), [None, None]
    mean = float(values.mean())
    if len(values) < 2:
        return mean, [None, None]
    half = float(stdtrit(len(values) - 1, 0.975)) * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, [mean - half, mean + half]
