"""Roundabouts with one lane: those who come in yield to those who go round."""

from __future__ import annotations

import numpy as np

from mairl.scenarios.generate.roads import Curve, Plan, bend, beside, joined
from mairl.scenarios.schema import EdgeType, LaneType, LineType

RANGES = {
    "arms": (3, 5),
    "island": (12.0, 18.0),
    "entry": (14.0, 20.0),
    "splitter": (1.5, 4.0),
    "width": (3.5, 3.8),
    "limit": (9.0, 14.0),
    "leg": (70, 100),
}
"""What is drawn: arms, radius of the middle island (m), radius of the entry and exit curves (m), distance between the
two directions of an arm (m), lane width (m), the arms' speed limit (m/s) and length (m)."""

CIRCLE_LIMIT = 8.0
"""Metres a second, on the circle."""


def draw(rng: np.random.Generator) -> dict:
    """A roundabout's parameters, uniform in `RANGES`."""
    return {
        "arms": int(rng.integers(RANGES["arms"][0], RANGES["arms"][1] + 1)),
        **{name: round(float(rng.uniform(*RANGES[name])), 1) for name in ("island", "entry", "splitter")},
        "width": round(float(rng.uniform(*RANGES["width"])), 2),
        "limit": round(float(rng.uniform(*RANGES["limit"])), 1),
        "leg": int(rng.integers(RANGES["leg"][0], RANGES["leg"][1] + 1)),
    }


def grown(p: dict) -> dict:
    """The same with an island that is large enough for the arms to fit around it."""
    island = p["island"]
    while p["arms"] * _gap({**p, "island": island}) > 2 * np.pi:
        island = round(island + 0.5, 1)
    return {**p, "island": island}


def _spread(p: dict) -> tuple[float, float]:
    """Metres from the middle to where an entry begins to turn, and the angle from the arm to where it meets the circle.

    An entry's arc touches the arm's lane and, from outside, the circle: its middle is `radius + entry` away.
    """
    radius, aside = p["island"] + p["width"] / 2, (p["width"] + p["splitter"]) / 2
    from_middle = float(np.sqrt((radius + p["entry"]) ** 2 - (aside + p["entry"]) ** 2))
    return from_middle, float(np.arctan2(aside + p["entry"], from_middle))


def _gap(p: dict) -> float:
    """The least angle between two arms, radians: entry, exit and 8 m of circle between them."""
    return 2 * _spread(p)[1] + 8.0 / (p["island"] + p["width"] / 2)


def draw_road(plan: Plan, rng: np.random.Generator, p: dict) -> None:
    """Draws the roundabout around the origin, driven counter-clockwise."""
    width, arms, entry = p["width"], p["arms"], p["entry"]
    radius, aside = p["island"] + width / 2, (width + p["splitter"]) / 2
    from_middle, spread = _spread(p)
    gaps = _gap(p)
    free = 2 * np.pi - arms * gaps
    share = rng.uniform(0.7, 1.3, arms)
    angles = float(rng.uniform(-np.pi, np.pi)) + np.concatenate(
        [[0.0], np.cumsum(gaps + free * share / share.sum())[:-1]]
    )

    def lane(curve: Curve, limit: float, left=LineType.NONE) -> int:
        return plan.lane(curve, width, limit, LaneType.STREET, left, LineType.NONE)

    def circle(first: float, last: float) -> Curve:
        at = radius * np.array([np.cos(first), np.sin(first)])
        return bend(at, first + np.pi / 2, [(radius * (last - first), 1 / radius)])

    into, entries, exits, out, throats, arcs = ([] for _ in range(6))
    for k, angle in enumerate(angles.tolist()):
        u = np.array([np.cos(angle), np.sin(angle)])
        n = np.array([-u[1], u[0]])
        far = from_middle + p["leg"]
        come = bend(far * u + aside * n, angle + np.pi, [(p["leg"], 0.0)])
        turn_in = bend(come.xy[-1], come.heading[-1], [(entry * (np.pi / 2 - spread), -1 / entry)])
        leave = angle - spread
        turn_out = bend(
            radius * np.array([np.cos(leave), np.sin(leave)]),
            leave + np.pi / 2,
            [(entry * (np.pi / 2 - spread), -1 / entry)],
        )
        go = bend(turn_out.xy[-1], turn_out.heading[-1], [(p["leg"], 0.0)])
        following = float(angles[(k + 1) % arms]) + (2 * np.pi if k == arms - 1 else 0.0)
        into.append(lane(come, p["limit"], LineType.SOLID_YELLOW))
        entries.append(lane(turn_in, CIRCLE_LIMIT))
        exits.append(lane(turn_out, CIRCLE_LIMIT))
        out.append(lane(go, p["limit"], LineType.SOLID_YELLOW))
        throats.append(lane(circle(angle - spread, angle + spread), CIRCLE_LIMIT))
        arcs.append(lane(circle(angle + spread, following - spread), CIRCLE_LIMIT))
        _splitter(plan, joined(come, turn_in), joined(turn_out, go), radius, width)
    for k in range(arms):
        m = (k + 1) % arms
        side = joined(*(plan.curves[i] for i in (into[k], entries[k], arcs[k], exits[m], out[m])))
        plan.edge(beside(side, -width / 2).xy)
    around = np.linspace(0.0, 2 * np.pi, 121)
    plan.edge(p["island"] * np.stack([np.cos(around), np.sin(around)], 1), EdgeType.MEDIAN)
    for k in range(arms):
        start = plan.curves[into[k]]
        # The yield line: where the way in comes within two metres of the circle's outer limit.
        path = joined(start, plan.curves[entries[k]])
        near = np.sqrt((path.xy * path.xy).sum(1)) < radius + width / 2 + 2.0
        stop = float(path.station[near][0])
        for turn in range(1, arms):
            lanes = [into[k], entries[k], arcs[k]]
            for step in range(1, turn):
                lanes += [throats[(k + step) % arms], arcs[(k + step) % arms]]
            leg = (k + turn) % arms
            plan.rail([*lanes, exits[leg], out[leg]], control="yield", stop=stop, group=k, rank=1)


def _splitter(plan: Plan, come: Curve, go: Curve, radius: float, width: float) -> None:
    """The island between the two directions of an arm: in along one, round the circle, out along the other."""
    rim = radius + width / 2
    sides = [beside(path, width / 2).xy for path in (come, go)]
    sides = [xy[(xy * xy).sum(1) > rim * rim] for xy in sides]
    first, last = (np.arctan2(xy[i, 1], xy[i, 0]) for xy, i in zip(sides, (-1, 0)))
    turn = (last - first + np.pi) % (2 * np.pi) - np.pi
    angles = first + np.linspace(0.0, turn, max(3, int(abs(turn) * rim) + 2))
    arc = rim * np.stack([np.cos(angles), np.sin(angles)], 1)
    xy = np.concatenate([sides[0], arc, sides[1]])
    plan.edge(xy, EdgeType.MEDIAN)
    plan.line(xy, LineType.SOLID_YELLOW)
