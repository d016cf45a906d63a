"""Traffic on rails in steps of 0.1 s: who is where, and what it does next."""

from __future__ import annotations

import dataclasses

import numpy as np

from mairl.scenarios.generate.conflicts import Tables, tables
from mairl.scenarios.generate.lane_changes import LaneChanges
from mairl.scenarios.generate.right_of_way import HOLD_BRAKE, STOP_BRAKE, RightOfWay
from mairl.scenarios.generate.roads import Plan, eased, eased_slope
from mairl.scenarios.generate.traffic import HARDEST, approach, draw_vehicle, equilibrium_gap, idm

DT = 0.1
"""Seconds a step."""

LATERAL = 2.5
"""Sideways acceleration in curves of a driver who keeps to the limit, m/s²; the fastest reach 1.21 times it."""

EASE = 1.5
"""Deceleration towards a curve or a lower limit, m/s²."""

END_BRAKE = 2.5
"""Deceleration towards the end of a lane, m/s²."""


@dataclasses.dataclass
class Vehicles:
    """All vehicles on the road now, one entry each.

    Attributes:
        uid: number in order of appearance.
        rail, s, v: where: rail, station of the middle (m), speed (m/s).
        target, change, change_length: rail that it changes to (-1: none), share of the change done, its length (m).
        changed: time of the last change (s).
        goal: rail by which it wants to leave; -1: any.
        committed, waited, arrived: see `right_of_way`.
        holds: i waits for j `[vehicle, vehicle]`.
        speed, headway, gap, accelerate, brake, politeness, duration: the driver's, see `traffic.DRIVER`.
    """

    uid: np.ndarray
    rail: np.ndarray
    s: np.ndarray
    v: np.ndarray
    length: np.ndarray
    width: np.ndarray
    height: np.ndarray
    speed: np.ndarray
    headway: np.ndarray
    gap: np.ndarray
    accelerate: np.ndarray
    brake: np.ndarray
    politeness: np.ndarray
    duration: np.ndarray
    target: np.ndarray
    change: np.ndarray
    change_length: np.ndarray
    changed: np.ndarray
    goal: np.ndarray
    committed: np.ndarray
    waited: np.ndarray
    arrived: np.ndarray
    holds: np.ndarray

    @classmethod
    def none(cls) -> Vehicles:
        """Nobody."""
        whole, flags = {"uid", "rail", "target", "goal"}, {"committed"}
        empty = {
            f.name: np.zeros(0, np.int64 if f.name in whole else bool if f.name in flags else np.float64)
            for f in dataclasses.fields(cls)
        }
        return cls(**{**empty, "holds": np.zeros((0, 0), bool)})

    def __len__(self) -> int:
        return len(self.uid)

    def add(self, **facts) -> None:
        """One more."""
        for name, value in facts.items():
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.asarray([value], old.dtype)]))
        self.holds = np.pad(self.holds, ((0, 1), (0, 1)))

    def keep(self, mask: np.ndarray) -> None:
        """Only these stay."""
        for f in dataclasses.fields(self):
            if f.name != "holds":
                setattr(self, f.name, getattr(self, f.name)[mask])
        self.holds = self.holds[mask][:, mask]

    def driver(self, index) -> dict[str, np.ndarray]:
        """The IDM parameters of some."""
        return {name: getattr(self, name)[index] for name in ("headway", "gap", "accelerate", "brake")}


class Simulation:
    """One road with its traffic.

    Args:
        plan: the road.
        rng: draws vehicles, routes and times of arrival.
        interval: mean seconds between two vehicles at each entry lane.
        phases: `SignalState` of each group over time `[group, step]`, or None without lights.
        exits: share of the vehicles that want to leave by an off-ramp, if there is one.
    """

    def __init__(self, plan: Plan, rng: np.random.Generator, interval: float, phases, exits: float = 0.25):
        self.plan, self.rng, self.interval, self.phases, self.exits = plan, rng, interval, phases, exits
        self.rails = plan.rails
        self.tables: Tables = tables(self.rails, LATERAL, EASE)
        self.cars = Vehicles.none()
        self.right_of_way = RightOfWay(self.rails, self.tables, DT)
        self.lane_changes = LaneChanges(self.rails, self.tables, DT)
        self.step, self.born = 0, 0
        self._ends = np.array([rail.ends for rail in self.rails])
        bent = np.abs(np.gradient(self.tables.heading, axis=1)).max(1) / 0.5
        self._radius = 1.0 / np.maximum(bent, 1e-6)
        self._room = np.array([min(1.45, min(plan.width(k) for k in rail.lanes) / 2 - 0.1) for rail in self.rails])
        # Rails that begin with the same lane share one stream of vehicles.
        self._streams: dict[int, list[int]] = {}
        for k, rail in enumerate(self.rails):
            if rail.entry:
                self._streams.setdefault(rail.lanes[0], []).append(k)
        self._due = {lane: float(rng.uniform(0.0, interval)) for lane in self._streams}

    @property
    def time(self) -> float:
        """Seconds since the road was empty."""
        return self.step * DT

    def advance(self) -> None:
        """One step."""
        cars = self.cars
        self._arrive()
        if len(cars):
            state = self.phases[:, self.step] if self.phases is not None else np.zeros(0, np.int8)
            self.right_of_way.update(cars, self.time, state)
            self.lane_changes.update(cars, self.step)
            self._move(self._acceleration())
        self.step += 1

    def _acceleration(self) -> np.ndarray:
        cars, t = self.cars, self.tables
        desired = t.at(t.limit, cars.rail, cars.s) * cars.speed
        a = self.lane_changes.following(cars, desired)
        ahead = t.at(t.limit, cars.rail, cars.s + cars.v * DT) * cars.speed
        a = np.minimum(a, np.maximum((ahead - cars.v) / DT, -3.0))
        line, hold = self.right_of_way.stops(cars)
        a = np.minimum(a, np.where(np.isfinite(line), approach(cars.v, np.minimum(line, 1e6), STOP_BRAKE, DT), HARDEST))
        a = np.minimum(a, np.where(np.isfinite(hold), approach(cars.v, np.minimum(hold, 1e6), HOLD_BRAKE, DT), HARDEST))
        end = self.lane_changes.last_start(cars) - cars.s
        return np.where(
            self._ends[cars.rail] & (cars.target < 0), np.minimum(a, approach(cars.v, end, END_BRAKE, DT)), a
        )

    def _move(self, a: np.ndarray) -> None:
        cars = self.cars
        v = np.maximum(cars.v + np.maximum(a, -HARDEST) * DT, 0.0)
        way = (cars.v + v) * (DT / 2)
        middle = cars.s + way / (2 * self._scale(cars.s))
        cars.s, cars.v = cars.s + way / self._scale(middle), v
        changing = cars.target >= 0
        cars.change = np.where(changing, cars.change + way / np.maximum(cars.change_length, 1.0), 0.0)
        there = changing & (cars.change >= 1.0)
        cars.rail = np.where(there, cars.target, cars.rail)
        cars.changed = np.where(there, self.time, cars.changed)
        cars.target = np.where(there, -1, cars.target)
        cars.change = np.where(there, 0.0, cars.change)
        gone = cars.s + cars.length / 2 > self.tables.last[cars.rail]
        gone &= ~self._ends[cars.rail]
        if gone.any():
            cars.keep(~gone)

    def _scale(self, s: np.ndarray) -> np.ndarray:
        """Metres driven per metre of station at `s` `[vehicle]`: more than 1 on the outside of a bend."""
        cars, t = self.cars, self.tables
        scale, (moving,) = t.at(t.scale, cars.rail, s), np.nonzero(cars.target >= 0)
        if len(moving):
            share = eased(cars.change[moving])
            beside = t.at(t.scale, cars.target[moving], s[moving])
            scale[moving] = (1 - share) * scale[moving] + share * beside
        return scale

    def _arrive(self) -> None:
        """New vehicles, where one is due and there is room."""
        for lane, rails in self._streams.items():
            if self.time < self._due[lane]:
                continue
            k = rails[int(self.rng.integers(len(rails)))]
            if self._enter(k):
                self._due[lane] = self.time + self.interval * float(0.4 + 1.2 * self.rng.random())
            else:
                self._due[lane] = self.time + 0.5

    def _enter(self, k: int) -> bool:
        cars, t = self.cars, self.tables
        new = draw_vehicle(self.rng, self._radius[k], self._room[k])
        wants_out = bool(self.rng.random() < self.exits)
        s = t.first[k] + new["length"] / 2
        desired = float(t.at(t.limit, np.array([k]), np.array([s]))[0]) * new["speed"]
        v, first = desired, self.rails[k].lanes[0]
        same = np.array([self.rails[r].lanes[0] == first for r in cars.rail], bool)
        same |= np.array([x >= 0 and self.rails[x].lanes[0] == first for x in cars.target], bool)
        if same.any():
            leader = np.nonzero(same)[0][np.argmin(cars.s[same])]
            gap = cars.s[leader] - cars.length[leader] / 2 - s - new["length"] / 2
            v = min(desired, float(cars.v[leader]) + 1.0)
            if gap < equilibrium_gap(0.9 * v, v / 0.95, new) or idm(v, desired, gap, v - cars.v[leader], new) < -1.0:
                return False
        goal = next((r for r, rail in enumerate(self.rails) if rail.exit), -1)
        beside_exit = goal >= 0 and self.rails[goal].exit and goal - 2 <= k < goal
        names = ("length", "width", "height", "speed", "headway", "gap", "accelerate", "brake", "politeness")
        cars.add(
            uid=self.born,
            rail=k,
            s=s,
            v=v,
            **{name: new[name] for name in names},
            duration=new["change"],
            target=-1,
            change=0.0,
            change_length=1.0,
            changed=self.time,
            goal=goal if wants_out and beside_exit else -1,
            committed=not np.isfinite(self.rails[k].stop),
            waited=0.0,
            arrived=np.inf,
        )
        self.born += 1
        return True

    def seen(self) -> dict[str, np.ndarray]:
        """Everybody now: `uid`, `xy` (m), `heading` (rad), `velocity` (m/s), `size` (m)."""
        cars, t = self.cars, self.tables

        def tangent(rail):
            heading = t.at(t.heading, rail, cars.s)
            return t.at(t.scale, rail, cars.s)[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)

        xy, slope, scale = t.at(t.xy, cars.rail, cars.s), tangent(cars.rail), self._scale(cars.s)[:, None]
        changing = cars.target >= 0
        if changing.any():
            to = np.where(changing, cars.target, cars.rail)
            share = np.where(changing, eased(cars.change), 0.0)[:, None]
            rate = np.where(changing, eased_slope(cars.change) / np.maximum(cars.change_length, 1.0), 0.0)[:, None]
            aside = t.at(t.xy, to, cars.s) - xy
            xy, slope = xy + share * aside, (1 - share) * slope + share * tangent(to) + rate * scale * aside
        return {
            "uid": cars.uid,
            "xy": np.round(xy, 5),
            "heading": np.round(np.arctan2(slope[:, 1], slope[:, 0]), 6),
            "velocity": np.round(slope / scale * cars.v[:, None], 5),
            "size": np.stack([cars.length, cars.width, cars.height], 1),
        }
