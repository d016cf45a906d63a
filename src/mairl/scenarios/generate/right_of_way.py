"""Who may go: lights, stop signs, yielding, and gaps at places where ways cross or merge.

A vehicle before its stop line is held there until it commits. It commits when lights and signs let it, when everybody
who committed before it and crosses its way is gone in time or comes late enough, and when nobody with priority would
arrive while it is there. Once committed it waits only for those who are to pass before it (`holds`). At intersections
those are always vehicles that committed earlier, so that there is no circle of vehicles that wait for each other.
"""

from __future__ import annotations

import numpy as np

from mairl.scenarios.generate.conflicts import Tables
from mairl.scenarios.generate.roads import Rail
from mairl.scenarios.generate.traffic import travel_time
from mairl.scenarios.schema import SignalState

LINE = 0.5
"""Metres before the stop line where the front comes to rest."""

STOP_BRAKE = 2.5
"""Deceleration towards a stop line, m/s²."""

HOLD_BRAKE = 4.0
"""Deceleration towards a place that another vehicle has not left yet, m/s²."""

YELLOW_BRAKE = 3.0
"""Whoever would have to brake harder than this at yellow goes on, m/s²."""

MARGIN = 1.0
"""Seconds between two vehicles at the same place; `PRIORITY_MARGIN` before one that has priority."""

PRIORITY_MARGIN = 1.8

WAIT = 0.8
"""Seconds to stand at a stop sign."""


class RightOfWay:
    """Decides for all vehicles of a simulation, which holds their state in arrays (`simulate.Vehicles`)."""

    def __init__(self, rails: list[Rail], tables: Tables, dt: float):
        self.rails, self.tables, self.dt = rails, tables, dt
        self.stop = np.array([rail.stop for rail in rails])
        self.group = np.array([rail.group for rail in rails])
        self.lane = np.array([rail.lanes[0] for rail in rails])
        self.by_light = np.array([rail.control == "signal" for rail in rails])
        self.by_sign = np.array([rail.control == "stop" for rail in rails])

    def update(self, cars, time: float, state: np.ndarray) -> None:
        """Lets vehicles commit, and takes it back from those that can stop at a yellow light.

        Args:
            cars: the vehicles; changes `committed`, `waited`, `arrived` and `holds`.
            time: seconds.
            state: `SignalState` of each group.
        """
        front = cars.s + cars.length / 2
        before = self.stop[cars.rail] - front
        cars.committed |= ~np.isfinite(before)
        lit = self.by_light[cars.rail] & (before > 0)
        colour = np.where(lit, state[self.group[cars.rail]] if len(state) else 0, SignalState.GO)
        need = cars.v * cars.v / (2.0 * np.maximum(before - LINE, 0.05))
        for i in np.nonzero(cars.committed & (colour != SignalState.GO) & (need <= YELLOW_BRAKE))[0]:
            cars.committed[i] = False
            cars.holds[i], cars.holds[:, i] = False, False
        at_line = ~cars.committed & (before < 2.0)
        cars.arrived = np.where(at_line & ~np.isfinite(cars.arrived), time, cars.arrived)
        cars.waited = np.where(at_line & (cars.v < 0.15), cars.waited + self.dt, cars.waited)
        may = (colour == SignalState.GO) & (~self.by_sign[cars.rail] | (cars.waited >= WAIT))
        close = before - LINE < cars.v * cars.v / (2 * STOP_BRAKE) + cars.v * 1.0 + 3.0
        heads: dict[int, int] = {}
        for i in np.nonzero(~cars.committed)[0]:
            lane = int(self.lane[cars.rail[i]])
            if lane not in heads or cars.s[i] > cars.s[heads[lane]]:
                heads[lane] = int(i)
        for i in sorted(heads.values(), key=lambda i: (cars.arrived[i], cars.uid[i])):
            if may[i] and close[i]:
                self._try(cars, i, may)

    def _try(self, cars, i: int, may: np.ndarray) -> None:
        t, rail = self.tables, cars.rail
        k = rail[i]
        waits, goes_first = [], []
        for j in np.nonzero(t.conflict[k, rail])[0]:
            m = rail[j]
            if j == i or t.begin[k, m] < self.stop[k]:
                continue  # Those on the same approach follow each other.
            back = cars.s[j] - cars.length[j] / 2
            merging = bool(t.shared[k, m])
            if back > (t.begin[m, k] if merging else t.done[m, k]):
                continue
            mine_in = self._time(cars, i, t.begin[k, m] - cars.length[i] / 2)
            mine_out = self._time(cars, i, (t.begin[k, m] if merging else t.done[k, m]) + cars.length[i] / 2)
            other_in = self._time(cars, j, t.begin[m, k] - cars.length[j] / 2)
            if cars.committed[j]:
                gone = t.begin[m, k] if merging else t.done[m, k]
                if self._time(cars, j, gone + cars.length[j] / 2) + MARGIN <= mine_in:
                    waits.append(j)
                    continue
                room = t.begin[m, k] - cars.length[j] / 2 - cars.s[j]
                late = other_in >= mine_out + PRIORITY_MARGIN and room > cars.v[j] * cars.v[j] / 4.0 + 2.0
                if self.rails[k].control == "yield" and late:
                    goes_first.append(j)
                    continue
                return
            mine, other = self.rails[k], self.rails[m]
            earlier = mine.control == other.control == "stop" and (cars.arrived[j], cars.uid[j]) < (
                cars.arrived[i],
                cars.uid[i],
            )
            first = other.rank < mine.rank or (other.rank == mine.rank and earlier)
            if first and may[j] and other_in < mine_out + PRIORITY_MARGIN:
                return
        cars.committed[i] = True
        cars.holds[i, waits] = True
        cars.holds[goes_first, i] = True

    def _time(self, cars, i: int, station: float) -> float:
        """Seconds until the middle of vehicle i is at a station, if nothing stops it."""
        distance = float(station - cars.s[i])
        if distance <= 0.0:
            return 0.0
        where = cars.s[i] + distance * np.array([0.0, 0.25, 0.5, 0.75, 1.0])
        cap = self.tables.at(self.tables.limit, np.full(5, cars.rail[i]), where).mean() * cars.speed[i]
        return travel_time(distance, float(cars.v[i]), float(cars.accelerate[i]), float(cap))

    def stops(self, cars) -> tuple[np.ndarray, np.ndarray]:
        """Distances to where each vehicle must be able to stop `[vehicle]`: its stop line, and the nearest hold."""
        t, front = self.tables, cars.s + cars.length / 2
        line = np.where(cars.committed, np.inf, self.stop[cars.rail] - LINE - front)
        pairs = (cars.rail[:, None], cars.rail[None])
        gone = np.where(t.shared[pairs], t.begin[pairs].T, t.done[pairs].T)
        pending = cars.holds & ((cars.s - cars.length / 2)[None] <= gone)
        place = np.where(pending, t.begin[pairs] - front[:, None], np.inf)
        return line, place.min(1) - 0.3
