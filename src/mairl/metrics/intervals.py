"""Intervals over seeds or episodes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# Two-sided 95% quantiles of Student's t for 1 … 30 degrees of freedom; above that the normal one is within 2%.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


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
    quantile = _T95[len(values) - 2] if len(values) <= 31 else 1.96
    half = quantile * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, [mean - half, mean + half]
