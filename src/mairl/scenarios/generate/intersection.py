"""Intersections of two roads, and T-junctions, with lights or with stop signs."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from mairl.scenarios.generate.roads import Plan, bend, beside, fillet
from mairl.scenarios.schema import LaneType, LineType

RANGES = {
    "lanes": (1, 2),
    "angle": (75.0, 105.0),
    "width": (3.3, 3.7),
    "limit": (9.0, 16.0),
    "corner": (7.0, 11.0),
    "leg": (70, 110),
    "curvature": (-0.006, 0.006),
}
"""What is drawn: lanes each way of both roads, the angle between the roads (degrees), lane width (m), speed limit
(m/s), corner radius (m), the legs' length behind the stop line (m) and the curvature of their outer half (1/m)."""


@dataclasses.dataclass
class _Leg:
    """One arm of the junction: its direction, lanes each way, road (0 or 1), and what is drawn for it."""

    angle: float
    lanes: int
    road: int
    stop: int = 0
    into: list[int] = dataclasses.field(default_factory=list)
    out: list[int] = dataclasses.field(default_factory=list)


def draw(rng: np.random.Generator) -> dict:
    """An intersection's parameters, uniform in `RANGES`; a third of the junctions is rectangular and straight."""
    plain = rng.random() < 1 / 3
    low, high = RANGES["curvature"]
    return {
        "lanes": [int(x) for x in rng.integers(RANGES["lanes"][0], RANGES["lanes"][1] + 1, 2)],
        "angle": 90.0 if plain else round(float(rng.uniform(*RANGES["angle"])), 1),
        "width": round(float(rng.uniform(*RANGES["width"])), 2),
        "limit": round(float(rng.uniform(*RANGES["limit"])), 1),
        "corner": round(float(rng.uniform(*RANGES["corner"])), 1),
        "leg": int(rng.integers(RANGES["leg"][0], RANGES["leg"][1] + 1)),
        "curvature": 0.0 if plain else round(float(rng.uniform(low, high)), 4),
    }


def draw_road(plan: Plan, rng: np.random.Generator, arms: int, control: str, p: dict) -> int:
    """Draws the junction; returns the number of approaches.

    Args:
        arms: 4, or 3 for a T, whose through road is road 0.
        control: "signal", "all_way" (a stop sign at each approach) or "two_way" (stop signs on road 1).
    """
    turned, angle = float(rng.uniform(-np.pi, np.pi)), np.deg2rad(p["angle"])
    legs = [
        _Leg(turned, p["lanes"][0], 0),
        _Leg(turned + angle, p["lanes"][1], 1),
        _Leg(turned + np.pi, p["lanes"][0], 0),
    ]
    if arms == 4:
        legs.append(_Leg(turned + angle + np.pi, p["lanes"][1], 1))
    _place_stop_lines(legs, p)
    crosswalks = control == "signal" or bool(rng.random() < 0.5)
    for leg in legs:
        _draw_leg(plan, rng, leg, crosswalks, p)
        if control == "all_way" or (control == "two_way" and leg.road == 1):
            outermost = plan.curves[leg.into[-1]]
            for lane in leg.into:
                plan.stop_sign(outermost.xy[-1] - (p["width"] / 2 + 1.0) * outermost.normal[-1] + 0.01 * lane, lane)
    _connect(plan, legs, control, p)
    return len(legs)


def _place_stop_lines(legs: list[_Leg], p: dict) -> None:
    """Far enough out for the corners' fillets, a crosswalk and a margin, in whole metres from the middle."""
    reach = np.zeros(len(legs))
    for k, leg in enumerate(legs):
        m = (k + 1) % len(legs)
        apart = (legs[m].angle - leg.angle) % (2 * np.pi)
        if apart > 2.6:
            continue
        near, far = leg.lanes * p["width"], legs[m].lanes * p["width"]
        tangent = p["corner"] / np.tan(apart / 2)
        reach[k] = max(reach[k], (far + near * np.cos(apart)) / np.sin(apart) + tangent)
        reach[m] = max(reach[m], (near + far * np.cos(apart)) / np.sin(apart) + tangent)
    for leg, distance in zip(legs, reach):
        leg.stop = int(np.ceil(distance + 5.5))


def _draw_leg(plan: Plan, rng, leg: _Leg, crosswalk: bool, p: dict) -> None:
    n, width = leg.lanes, p["width"]
    curvature = p["curvature"] * float(rng.choice([-1.0, 1.0]))
    axis = bend((0.0, 0.0), leg.angle, [(leg.stop, 0.0), (p["leg"] / 2, 0.0), (p["leg"] / 2, curvature)])
    outward = axis.between(leg.stop, axis.station[-1])
    for k in range(n):
        left = LineType.SOLID_DOUBLE_YELLOW if k == 0 else LineType.BROKEN_WHITE
        right = LineType.NONE if k == n - 1 else LineType.BROKEN_WHITE
        incoming, outgoing = beside(outward, (k + 0.5) * width).reversed(), beside(outward, -(k + 0.5) * width)
        leg.into.append(plan.lane(incoming.measured(), width, p["limit"], LaneType.STREET, left, right))
        leg.out.append(plan.lane(outgoing.measured(), width, p["limit"], LaneType.STREET, left, right))
    for lanes in (leg.into, leg.out):
        for a, b in itertools.pairwise(lanes):
            plan.neighbours(a, b)
    plan.line(outward.xy, LineType.SOLID_DOUBLE_YELLOW)
    for k in range(1, n):
        for side in (-1, 1):
            plan.line(beside(outward, side * k * width).xy, LineType.BROKEN_WHITE)
    across = axis.normal[0] * n * width
    along = np.array([np.cos(leg.angle), np.sin(leg.angle)])
    plan.line(np.stack([leg.stop * along, leg.stop * along + across]), LineType.SOLID_WHITE)
    if crosswalk:
        near, far = (leg.stop - 4.5) * along, (leg.stop - 1.5) * along
        plan.crosswalk(np.stack([near - across, near + across, far + across, far - across]))


def _connect(plan: Plan, legs: list[_Leg], control: str, p: dict) -> None:
    """Ways through the junction, and the edges around its corners."""
    count = len(legs)
    for k, leg in enumerate(legs):
        turns = {}
        for m, other in enumerate(legs):
            apart = (other.angle - leg.angle) % (2 * np.pi)
            if m != k:
                turns["right" if apart < 2.6 else "straight" if apart < 3.7 else "left"] = other
        for turn, other in turns.items():
            ways = {
                "right": [(leg.into[-1], other.out[-1])],
                "left": [(leg.into[0], other.out[0])],
                "straight": list(zip(leg.into, other.out)),
            }[turn]
            for a, b in ways:
                _way(plan, k, leg, turn, (a, b), min(leg.lanes, other.lanes), control, p)
        nearest = legs[(k + 1) % count]
        _corner(plan, leg.into[-1], nearest.out[-1], "right" in turns, p)


def _between(plan: Plan, a: int, b: int, turn: str, lanes: int, p: dict):
    """From lane a to lane b. Turns are concentric with the corner that they go around, or tighter.

    Args:
        lanes: of the opposite direction between a turn to the left and its corner.
    """
    start, end = plan.curves[a], plan.curves[b]
    aside = {"right": 0.5, "left": lanes + 0.5, "straight": 0.0}[turn]
    radius = p["corner"] + aside * p["width"] if aside else None
    return fillet(start.xy[-1], start.heading[-1], end.xy[0], end.heading[0], radius)


def _way(plan: Plan, group: int, leg: _Leg, turn: str, ends: tuple, lanes: int, control: str, p: dict) -> None:
    a, b = ends
    lane = plan.lane(_between(plan, a, b, turn, lanes, p), p["width"], p["limit"], LaneType.STREET)
    rank = 1 if turn == "left" else 0
    sign = control == "all_way" or (control == "two_way" and leg.road == 1)
    if control == "all_way":
        rank = 0
    elif sign:
        rank += 2
    plan.rail(
        [a, lane, b],
        control="signal" if control == "signal" else "stop" if sign else "priority",
        stop=float(plan.curves[a].station[-1]),
        group=group,
        rank=rank,
    )


def _corner(plan: Plan, a: int, b: int, rounded: bool, p: dict) -> None:
    """The edge to the right of those who come from `a` and keep to the right into `b`."""
    parts = [plan.curves[a], _between(plan, a, b, "right" if rounded else "straight", 0, p), plan.curves[b]]
    sides = [beside(part, -p["width"] / 2).xy for part in parts]
    plan.edge(np.concatenate([sides[0], sides[1][1:], sides[2][1:]]))
