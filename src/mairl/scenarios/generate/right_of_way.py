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
        """Lets vehicle i commit if nobody is in its way."""
        waits, goes_first = [], []
        for place, j in np.argwhere(self.tables.conflict[:, cars.rail[i], cars.rail]):
            answer = "go" if j == i else self._against(cars, i, j, place, may)
            if answer == "no":
                return
            if answer == "after":
                waits.append(j)
            elif answer == "before":
                goes_first.append(j)
        cars.committed[i] = True
        cars.holds[i, waits] = True
        cars.holds[goes_first, i] = True

    def _against(self, cars, i: int, j: int, place: int, may: np.ndarray) -> str:
        """May i go, as far as j is concerned? "go", "after" or "before" it, or "no"."""
        t, k, m = self.tables, cars.rail[i], cars.rail[j]
        begin, done = t.begin[place, k, m], t.done[place, k, m]
        other_begin, other_done = t.begin[place, m, k], t.done[place, m, k]
        half, other_half = cars.length[i] / 2, cars.length[j] / 2
        if begin < self.stop[k]:
            return "go"  # Those on the same approach follow each other.
        if t.shared[place, k, m]:  # Where ways merge it is enough to be on the shared lanes.
            done, other_done = begin, other_begin
        if cars.s[j] - other_half > other_done:
            return "go"
        mine_in, mine_out = self._time(cars, i, begin - half), self._time(cars, i, done + half)
        other_in = self._time(cars, j, other_begin - other_half)
        if cars.committed[j]:
            if self._time(cars, j, other_done + other_half) + MARGIN <= mine_in:
                return "after"
            room = other_begin - other_half - cars.s[j]
            late = other_in >= mine_out + PRIORITY_MARGIN and room > cars.v[j] * cars.v[j] / 4.0 + 2.0
            return "before" if self.rails[k].control == "yield" and late else "no"
        mine, other = self.rails[k], self.rails[m]
        both_stop = mine.control == other.control == "stop"
        earlier = both_stop and (cars.arrived[j], cars.uid[j]) < (cars.arrived[i], cars.uid[i])
        first = other.rank < mine.rank or (other.rank == mine.rank and earlier)
        return "no" if first and may[j] and other_in < mine_out + PRIORITY_MARGIN else "go"

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
        place = np.full(len(cars), np.inf)
        if cars.holds.any():
            back, (k, m) = (cars.s - cars.length / 2)[None], (cars.rail[:, None], cars.rail[None])
            for shared, conflict, begin, done in zip(t.shared, t.conflict, t.begin, t.done):
                gone = np.where(shared[k, m], begin[m, k], done[m, k])
                pending = cars.holds & conflict[k, m] & (back <= gone) & (begin[k, m] > front[:, None] - 1.0)
                place = np.minimum(place, np.where(pending, begin[k, m] - front[:, None], np.inf).min(1))
        return line, place - 0.3
