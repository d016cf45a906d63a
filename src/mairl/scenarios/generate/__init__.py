"""Made-up driving logs: roads of many kinds, and traffic on them that follows rules.

    from mairl.scenarios.generate import generate

    scenario = generate(seed=3, kind="roundabout", arms=4)

The same seed gives the same scenario, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios import build
from mairl.scenarios.generate import highway, intersection, lights, roundabout
from mairl.scenarios.generate.roads import Plan
from mairl.scenarios.generate.simulate import DT, Simulation
from mairl.scenarios.schema import AgentType, Scenario, Tracks
from mairl.scenarios.validate import validated

KINDS = (
    "highway",
    "on_ramp",
    "off_ramp",
    "lane_drop",
    "four_way_signal",
    "four_way_stop",
    "t_signal",
    "t_stop",
    "roundabout",
)
"""Roads that `generate` draws."""

TRAFFIC = {
    "highway": (12, 36),
    "interval": (4.0, 12.0),
    "warm_up": (25.0, 45.0),
}
"""What is drawn for all: on highways how many vehicles are to be on the road (`vehicles`), elsewhere the mean time
between two at each entry lane (`interval`, s; 1.3 times that at stop signs, which let fewer through); and the time that
traffic runs before the log begins (`warm_up`, s)."""


ALLOWED = {"vehicles": (1, 80), "interval": (2.0, 600.0), "warm_up": (0.0, 600.0)}
"""What these parameters may be fixed at."""


def generate(seed: int, kind: str | None = None, *, steps: int = 91, current: int = 10, **fixed) -> Scenario:
    """A validated scenario: z is 0 and known, sizes, widths and limits are known, `notes` holds kind and parameters.

    Args:
        seed: not negative; the same one gives the same scenario.
        kind: one of `KINDS`; None: drawn.
        steps: of 0.1 s.
        current: the step that counts as now.
        fixed: parameters that are not to be drawn: those in `RANGES` of `highway`, `intersection` and `roundabout`,
            within these ranges (an island still grows until the arms fit around it); `vehicles` (highways),
            `interval` (other roads) and `warm_up`, within `ALLOWED`; and `control` ("all_way" or "two_way", kinds
            with stop signs).

    Raises:
        InvalidData: an unknown kind, or a parameter that the kind does not have or whose value it cannot use.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidData(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if not (isinstance(seed, (int, np.integer)) and seed >= 0):
        raise InvalidData(f"seed is {seed!r}, expected a whole number from 0 on")
    if not 0 <= current < steps:
        raise InvalidData(f"current is step {current} of {steps}")
    kind = kind or KINDS[int(np.random.default_rng(seed).integers(len(KINDS)))]
    streams = np.random.SeedSequence([seed, KINDS.index(kind)]).spawn(2)
    road_rng, traffic_rng = (np.random.default_rng(stream) for stream in streams)
    drawn = _draw(kind, road_rng)
    if unknown := sorted(set(fixed) - set(drawn)):
        raise InvalidData(f"{kind} has no parameter {', '.join(unknown)}: it has {', '.join(sorted(drawn))}")
    for name, value in fixed.items():
        _check(kind, name, value, drawn[name])
    p = {**drawn, **fixed}
    if kind == "roundabout":
        p = roundabout.grown(p)
    plan = Plan()
    groups = _road(kind, plan, road_rng, p)
    warm_up = round(p["warm_up"] / DT)
    phases, signals = None, build.no_signals(steps)
    if kind.endswith("_signal"):
        phases = lights.phases(road_rng, groups, warm_up + steps)
        signals = lights.signals(plan, phases[:, warm_up:])
    interval = p["interval"] if "interval" in p else _interval(plan, p["vehicles"])
    simulation = Simulation(plan, traffic_rng, interval, phases)
    for _ in range(warm_up):
        simulation.advance()
    seen = []
    for _ in range(steps):
        seen.append(simulation.seen())
        simulation.advance()
    tracks = _tracks(seen)
    long = tracks.valid[:, current] & (tracks.valid.sum(1) >= 0.8 * steps)
    sdc = int(np.argmax(long)) if long.any() else int(np.argmax(tracks.valid.sum(1))) if len(tracks) else None
    there = np.nonzero(tracks.valid[:, current] & tracks.valid[:, -1])[0]
    predict = [i for i in there.tolist() if i != sdc][:8]
    scenario = Scenario(
        f"{kind}-{seed}",
        "generated",
        DT,
        current,
        np.zeros(3),
        tracks,
        build.roles(len(tracks), sdc, predict),
        plan.road_map(),
        signals,
        {"kind": kind, "seed": int(seed), **p},
    )
    return validated(build.recentred(scenario))


def generate_many(seed: int, count: int, kind: str | None = None, **options) -> Iterator[Scenario]:
    """Yields `count` scenarios, of the seeds `seed`, `seed + 1` and so on."""
    for k in range(count):
        yield generate(seed + k, kind, **options)


def _draw(kind: str, rng: np.random.Generator) -> dict:
    p: dict[str, Any] = {"warm_up": round(float(rng.uniform(*TRAFFIC["warm_up"])), 1)}
    if _module(kind) is highway:
        low, high = TRAFFIC["highway"]
        return {**p, "vehicles": int(rng.integers(low, high + 1)), **highway.draw(rng)}
    p["interval"] = round(float(rng.uniform(*TRAFFIC["interval"])), 2)
    if kind == "roundabout":
        return {**p, **roundabout.draw(rng)}
    if kind.endswith("_stop"):
        p["interval"] = round(1.3 * p["interval"], 2)
        p["control"] = "all_way" if rng.random() < 0.5 else "two_way"
    return {**p, **intersection.draw(rng)}


def _check(kind: str, name: str, value, drawn) -> None:
    """Refuses a fixed value of another form than the drawn one, or out of its range."""
    ranges = {**_module(kind).RANGES, **ALLOWED}
    if name == "control":
        good, words = value in ("all_way", "two_way"), "all_way or two_way"
    elif isinstance(drawn, bool):
        good, words = isinstance(value, bool), "True or False"
    else:
        low, high = ranges[name]
        many = isinstance(drawn, list)
        form = (int, np.integer) if isinstance(low, int) else (int, float, np.number)
        parts = value if many and isinstance(value, (list, tuple)) else [value]
        good = len(parts) == (len(drawn) if many else 1)
        good = good and all(isinstance(x, form) and not isinstance(x, bool) and low <= x <= high for x in parts)
        words = f"{'two of ' if many else ''}{low} to {high}"
    if not good:
        raise InvalidData(f"{kind}: {name} is {value!r}, expected {words}")


def _module(kind: str):
    return roundabout if kind == "roundabout" else intersection if kind.endswith(("_signal", "_stop")) else highway


def _road(kind: str, plan: Plan, rng: np.random.Generator, p: dict) -> int:
    """Draws the road; returns how many approaches a junction has."""
    if kind == "roundabout":
        roundabout.draw_road(plan, rng, p)
        return p["arms"]
    if kind.endswith(("_signal", "_stop")):
        arms = 4 if kind.startswith("four") else 3
        return intersection.draw_road(plan, rng, arms, p.get("control", "signal"), p)
    highway.draw_road(plan, rng, "" if kind == "highway" else kind, p)
    return 0


def _interval(plan: Plan, vehicles: int) -> float:
    """Seconds between vehicles at each entry for so many vehicles on the road, at least 1.8."""
    rails = [rail for rail in plan.rails if rail.entry]
    times = [(rail.curve.station[-1] - rail.curve.station[0]) / (0.9 * rail.limit.mean()) for rail in rails]
    return max(1.8, float(sum(times)) / vehicles)


def _tracks(seen: list[dict]) -> Tracks:
    """One row for everybody who was ever seen."""
    uids = np.unique(np.concatenate([now["uid"] for now in seen]))
    count, steps = len(uids), len(seen)
    valid = np.zeros((count, steps), bool)
    position, velocity = np.zeros((count, steps, 3)), np.zeros((count, steps, 2))
    heading, size = np.zeros((count, steps)), np.zeros((count, steps, 3))
    for t, now in enumerate(seen):
        rows = np.searchsorted(uids, now["uid"])
        valid[rows, t] = True
        position[rows, t, :2], velocity[rows, t] = now["xy"], now["velocity"]
        heading[rows, t], size[rows, t] = now["heading"], now["size"]
    kinds = np.full(count, AgentType.VEHICLE, np.int8)
    names = tuple(f"vehicle-{uid}" for uid in uids)
    return Tracks(position, heading, velocity, size, np.ones((count, 3), bool), valid, kinds, names)
