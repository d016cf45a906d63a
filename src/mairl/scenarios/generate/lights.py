"""Traffic lights: a fixed plan, one group of approaches after the other."""

from __future__ import annotations

import numpy as np

from mairl.scenarios.generate.roads import Plan
from mairl.scenarios.generate.simulate import DT
from mairl.scenarios.schema import Signals, SignalState

RANGES = {"green": (8.0, 20.0), "yellow": (3.5, 4.5), "all_red": (1.0, 2.0)}
"""Seconds; green is drawn for each group of approaches."""


def phases(rng: np.random.Generator, approaches: int, steps: int) -> np.ndarray:
    """What each approach's light shows `[approach, step]`, int8 `SignalState`.

    The approaches of a road are green together (those who turn left let the others pass), or, in a third of the plans,
    one approach after the other. The plan begins at a random point.
    """
    if rng.random() < 1 / 3:
        groups = [[k] for k in range(approaches)]
    else:
        groups = [[k for k in range(approaches) if k % 2 == road] for road in (0, 1)]
    yellow, all_red = (round(float(rng.uniform(*RANGES[name])) / DT) for name in ("yellow", "all_red"))
    cycle = []
    for group in groups:
        green = round(float(rng.uniform(*RANGES["green"])) / DT)
        for state, length in ((SignalState.GO, green), (SignalState.CAUTION, yellow), (SignalState.STOP, all_red)):
            column = np.full(approaches, SignalState.STOP, np.int8)
            column[group] = state
            cycle += [column] * length
    start = int(rng.integers(len(cycle)))
    return np.stack(cycle, 1)[:, (start + np.arange(steps)) % len(cycle)]


def signals(plan: Plan, state: np.ndarray) -> Signals:
    """The lights of a plan's approach lanes; one stops at the end of the lane."""
    controlled = sorted({(rail.lanes[0], rail.group) for rail in plan.rails if rail.control == "signal"})
    lanes = np.array([lane for lane, _ in controlled], np.int32)
    points = np.array([[*plan.curves[lane].xy[-1], 0.0] for lane in lanes])
    known = np.ones(len(lanes), bool)
    return Signals(lanes, known, state[[group for _, group in controlled]], points, known)
