"""Small made-up driving logs for tests: valid, with every part of the form filled."""

from __future__ import annotations

import numpy as np

from mairl.scenarios import build
from mairl.scenarios.schema import (
    EdgeType,
    LaneType,
    LineType,
    RoadMap,
    Scenario,
    Signals,
    SignalState,
    StopSigns,
    Tracks,
)
from mairl.scenarios.validate import validated


def made_scenario(seed: int = 0, agents: int = 5, steps: int = 30) -> Scenario:
    """A two-lane road with an exit, a crosswalk, a light and some traffic. The same seed gives the same scenario.

    Args:
        agents: tracks; the first is the recording vehicle and always valid.
        steps: of 0.1 s.
    """
    rng = np.random.default_rng(seed)
    x = np.linspace(-100.0, 100.0, 41)
    ends = {"right": -2.0, "left": 2.0}
    centres = [np.stack([x, np.full_like(x, y), np.zeros_like(x)], 1) for y in ends.values()]
    turn = np.linspace(0, np.pi / 2, 9)
    centres.append(np.stack([100 + 20 * np.sin(turn), -22 + 20 * np.cos(turn), np.zeros_like(turn)], 1))
    centre = build.polylines(centres, ["right", "left", "exit"], [LaneType.STREET] * 3)
    lanes = build.lanes(
        centre,
        width=np.full(len(centre.points), 4.0),
        speed_limit=np.array([13.9, 13.9, np.nan]),
        left_boundary=np.array([LineType.BROKEN_WHITE, LineType.SOLID_YELLOW, LineType.UNKNOWN]),
        right_boundary=np.array([LineType.NONE, LineType.BROKEN_WHITE, LineType.NONE]),
        successors=[(0, 2)],
        left_neighbours=[(0, 1)],
        right_neighbours=[(1, 0)],
    )

    def along(y: float) -> np.ndarray:
        return np.stack([x, np.full_like(x, y), np.zeros_like(x)], 1)

    square = np.array([[-3.0, -4, 0], [3, -4, 0], [3, 4, 0], [-3, 4, 0]])
    road = RoadMap(
        lanes,
        build.polylines([along(-4.0), along(4.0)], ["south", "north"], [EdgeType.BOUNDARY] * 2),
        build.polylines([along(0.0)], ["middle"], [LineType.BROKEN_WHITE]),
        build.polylines([square], ["crossing"]),
        build.polylines([square + np.array([30.0, 0, 0])], ["bump"]),
        build.no_lines(),
        StopSigns(np.array([[99.0, -5.0, 0.0]]), ("stop",), build.pairs([(0, 0)])),
    )
    valid = rng.random((agents, steps)) > 0.1
    valid[0] = True
    valid[:, 0] = True
    lane = rng.integers(0, 2, agents)
    speed = rng.uniform(3.0, 12.0, agents)
    start = -80 + 25.0 * np.arange(agents)
    travelled = start[:, None] + 0.1 * speed[:, None] * np.arange(steps)
    across = np.repeat(np.array(list(ends.values()))[lane][:, None], steps, 1)
    kind = np.where(np.arange(agents) % 4 == 3, 2, 1)
    size = np.where((kind == 1)[:, None], [4.5, 2.0, 1.6], [0.6, 0.7, 1.8])
    tracks = Tracks(
        np.stack([travelled, across, np.zeros_like(across)], 2),
        np.zeros((agents, steps)),
        np.repeat(np.stack([speed, np.zeros(agents)], 1)[:, None], steps, 1),
        np.repeat(size[:, None], steps, 1),
        np.ones((agents, 3), bool),
        valid,
        kind.astype(np.int8),
        tuple(f"track-{i}" for i in range(agents)),
    )
    state = np.full((1, steps), SignalState.STOP, np.int8)
    state[:, steps // 2 :] = SignalState.GO
    known = np.ones(1, bool)
    signals = Signals(np.zeros(1, np.int32), known, state, np.array([[95.0, -2.0, 0.0]]), known)
    roles = build.roles(agents, 0, predict=range(1, agents), of_interest=range(min(2, agents)))
    scenario = Scenario(
        f"made-{seed}", "generated", 0.1, min(10, steps - 1), np.zeros(3), tracks, roles, road, signals, {"seed": seed}
    )
    return validated(build.recentred(scenario))
