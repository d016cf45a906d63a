"""Following and changing lanes: who is ahead on which rail, and when to move over."""

from __future__ import annotations

import numpy as np

from mairl.scenarios.generate.conflicts import PLACES, Tables
from mairl.scenarios.generate.roads import Rail
from mairl.scenarios.generate.traffic import idm, mobil

EVERY = 5
"""Steps between two thoughts about changing lanes."""

PAUSE = 3.0
"""Seconds between two changes that are not mandatory."""

COURTESY = 1.5
"""Deceleration at most, m/s², to let somebody in, or to fall back behind a gap."""


class LaneChanges:
    """Leaders, followers and changes for all vehicles of a simulation (`simulate.Vehicles`)."""

    def __init__(self, rails: list[Rail], tables: Tables, dt: float):
        self.rails, self.tables, self.dt = rails, tables, dt
        self._changes = any(rail.left or rail.right for rail in rails)

    @staticmethod
    def shortest(length):
        """Metres that a vehicle of this length needs for a change at low speed, so that it swings out little."""
        return np.maximum(20.0, 4.5 * length)

    def last_start(self, cars) -> np.ndarray:
        """Station, for vehicles on a rail that ends, where a slow change must have begun."""
        return self.tables.last[cars.rail] - self.shortest(cars.length) - cars.length / 2 - 2.0

    def following(self, cars, desired: np.ndarray) -> np.ndarray:
        """IDM behind all those ahead, on the own rail and the one that a vehicle changes to; m/s² `[vehicle]`."""
        t = self.tables
        moving = np.nonzero(cars.target >= 0)[0]
        who = np.concatenate([np.arange(len(cars)), moving])
        rail = np.concatenate([cars.rail, cars.target[moving]])
        s, half, v = cars.s[who], cars.length[who] / 2, cars.v[who]
        k, m = rail[:, None], rail[None]
        a = idm(cars.v, desired, np.inf, 0.0, cars.driver(slice(None)))
        held = cars.holds[who[:, None], who[None]]
        for place in range(PLACES):
            shared = t.shared[place, k, m] & (who[:, None] != who[None])
            if not shared.any():
                continue
            at = s[None] + t.shift[place, k, m]
            begin, done = t.begin[place, m, k], t.done[place, m, k]
            there = ((s + half)[None] > begin) & ((s - half)[None] < done)
            gap = at - half[None] - (s + half)[:, None]
            # Those to wait for are followed a little before they are on the shared lanes, once they are ahead.
            coming = (gap > 0) & ((s + half)[None] > begin - 20.0) & ((s - half)[None] < done)
            ahead = shared & np.where(held, coming, there & (at > s[:, None]))
            # Before the stop line only those on the same approach are followed.
            ahead &= cars.committed[who][:, None] | np.isneginf(t.begin[place, k, m])
            rows, columns = np.nonzero(ahead)
            found = idm(v[rows], desired[who[rows]], gap[rows, columns], v[rows] - v[columns], cars.driver(who[rows]))
            # The two are still apart: the one behind falls back gently.
            apart = held[rows, columns] & ((s - half)[columns] <= begin[rows, columns])
            found = np.where(apart, np.maximum(found, -COURTESY), found)
            np.minimum.at(a, who[rows], found)
        for i in np.nonzero(cars.target < 0)[0].tolist() if self._changes else ():
            self._courtesy(cars, i, desired, a)
        return a

    def _side(self, cars, i: int) -> tuple[int, float, float] | None:
        """The change that vehicle i must make: (rail, first station, last station)."""
        rail = self.rails[cars.rail[i]]
        if rail.ends:
            return rail.left or rail.right
        goal = cars.goal[i]
        return rail.right if goal >= 0 and goal != cars.rail[i] else None

    def _around(self, cars, i: int, rail: int) -> tuple[int, int]:
        """The nearest vehicles ahead of and behind i on a rail; -1: nobody."""
        on = (cars.rail == rail) | (cars.target == rail)
        on[i] = False
        ahead, behind = on & (cars.s >= cars.s[i]), on & (cars.s < cars.s[i])
        leader = int(np.argmin(np.where(ahead, cars.s, np.inf))) if ahead.any() else -1
        follower = int(np.argmax(np.where(behind, cars.s, -np.inf))) if behind.any() else -1
        return leader, follower

    def _pair(self, cars, back: int, front: int, desired: float) -> float:
        """IDM of `back` behind `front` (-1: nobody there)."""
        if back < 0:
            return 0.0
        gap = np.inf
        if front >= 0:
            gap = cars.s[front] - cars.s[back] - (cars.length[front] + cars.length[back]) / 2
        closing = cars.v[back] - cars.v[front] if front >= 0 else 0.0
        return float(idm(cars.v[back], desired, gap, closing, cars.driver(back)))

    def _courtesy(self, cars, i: int, desired: np.ndarray, a: np.ndarray) -> None:
        """Whoever must change looks for a place behind the next one over; the one behind opens a gap."""
        side = self._side(cars, i)
        if side is None or cars.s[i] < side[1] - 30.0:
            return
        leader, follower = self._around(cars, i, side[0])
        for back, front in ((i, leader), (follower, i)):
            if back >= 0 and front >= 0:
                a[back] = min(a[back], max(self._pair(cars, back, front, float(desired[back])), -COURTESY))

    def update(self, cars, step: int) -> None:
        """Begins changes, one vehicle after the other, so that no two take the same gap."""
        if not self._changes:
            return
        time, t = step * self.dt, self.tables
        desired = t.at(t.limit, cars.rail, cars.s) * cars.speed
        for i in np.nonzero((cars.target < 0) & ((cars.uid + step) % EVERY == 0))[0].tolist():
            must = self._side(cars, i)
            rail = self.rails[cars.rail[i]]
            if must:
                if not self._change(cars, i, must, desired, True) and not rail.ends:
                    self._give_up(cars, i)
                continue
            if cars.goal[i] >= 0 or rail.exit or time - cars.changed[i] < PAUSE:
                continue
            for side in (rail.left, rail.right):
                through = side and not (self.rails[side[0]].ends or self.rails[side[0]].exit)
                if through and self._change(cars, i, side, desired, False):
                    break

    def _give_up(self, cars, i: int) -> None:
        """Whoever cannot reach the exit any more drives on."""
        goal = int(cars.goal[i])
        door = next(rail.right for rail in self.rails if rail.right and rail.right[0] == goal)
        lanes = goal - int(cars.rail[i])  # A carriageway's rails are numbered from left to right.
        if cars.s[i] + lanes * self._length(cars, i) + cars.length[i] / 2 > door[2]:
            cars.goal[i] = -1

    def _length(self, cars, i: int) -> float:
        return float(max(cars.v[i] * cars.duration[i], self.shortest(cars.length[i])))

    def _change(self, cars, i: int, side: tuple[int, float, float], desired: np.ndarray, mandatory: bool) -> bool:
        to, first, last = side
        half, way = cars.length[i] / 2, self._length(cars, i)
        if mandatory:
            way = float(max(cars.v[i] * min(cars.duration[i], 3.5), self.shortest(cars.length[i])))
        if cars.s[i] - half < first or cars.s[i] + way + half > last:
            return False
        new_leader, new_follower = self._around(cars, i, to)
        old_leader, old_follower = self._around(cars, i, int(cars.rail[i]))
        for other in (new_leader, new_follower):
            room = abs(cars.s[other] - cars.s[i]) - half - cars.length[other] / 2 if other >= 0 else np.inf
            if room < cars.gap[i]:
                return False
        after = self.tables.at(self.tables.limit, np.array([to]), cars.s[i : i + 1])[0] * cars.speed[i]

        def pair(back: int, front: int, wanted: float | None = None) -> float:
            return self._pair(cars, back, front, float(desired[back] if wanted is None else wanted))

        own = pair(i, old_leader), pair(i, new_leader, after)
        new = pair(new_follower, new_leader), pair(new_follower, i)
        old = pair(old_follower, i), pair(old_follower, old_leader)
        if not mobil(own, new, old, float(cars.politeness[i]), mandatory):
            return False
        cars.target[i], cars.change[i], cars.change_length[i] = to, 0.0, way
        return True
