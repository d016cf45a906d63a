"""Highways: straight or curved, one way or two, plain or with an on-ramp, an off-ramp or a lane that ends."""

from __future__ import annotations

import itertools

import numpy as np

from mairl.scenarios.generate.roads import Curve, Plan, bend, beside, eased
from mairl.scenarios.schema import EdgeType, LaneType, LineType

NOSE = 0.3
"""Metres between ramp and road where the edges around the gore meet."""

RANGES = {
    "lanes": (2, 5),
    "two_way": (False, True),
    "width": (3.4, 3.8),
    "limit": (22.0, 34.0),
    "lateral": (0.0, 1.8),
}
"""What is drawn: lanes each way, whether there is a second carriageway, lane width (m), speed limit (m/s), and the
sideways acceleration at the limit in the sharpest curve (m/s²): 0 is a straight road."""


def draw(rng: np.random.Generator) -> dict:
    """A highway's parameters, uniform in `RANGES`; a third of the roads is straight."""
    lateral = rng.uniform(*RANGES["lateral"])
    return {
        "lanes": int(rng.integers(RANGES["lanes"][0], RANGES["lanes"][1] + 1)),
        "two_way": bool(rng.random() < 0.5),
        "width": round(float(rng.uniform(*RANGES["width"])), 2),
        "limit": round(float(rng.uniform(*RANGES["limit"])), 1),
        "lateral": 0.0 if rng.random() < 1 / 3 else round(float(lateral), 2),
    }


def draw_road(plan: Plan, rng: np.random.Generator, feature: str, p: dict) -> None:
    """Draws the road. `feature` is "" or "on_ramp", "off_ramp" or "lane_drop" (of the first carriageway)."""
    n, width = p["lanes"], p["width"]
    # Whole metres: sections are cut at points.
    before, beside_it, after = (int(x) for x in rng.integers([130, 180, 200], [180, 260, 260]))
    length = before + beside_it + after
    pieces = _bends(rng, length, p["lateral"] / p["limit"] ** 2)
    reference = bend((0.0, 0.0), float(rng.uniform(-np.pi, np.pi)), pieces)
    half = round(float(rng.uniform(0.5, 3.0)), 2) if p["two_way"] else 0.0
    _carriageway(plan, rng, beside(reference, -half), feature, p, before, before + beside_it)
    if p["two_way"]:
        _carriageway(plan, rng, beside(reference.reversed(), -half), "", p, before, before + beside_it)
    else:
        plan.line(reference.xy, LineType.SOLID_YELLOW)
    for k in range(1, n):
        if not (feature == "lane_drop" and k == n - 1):
            plan.line(beside(reference, -half - k * width).xy, LineType.BROKEN_WHITE)
        if p["two_way"]:
            plan.line(beside(reference.reversed(), -half - k * width).xy, LineType.BROKEN_WHITE)


def _bends(rng: np.random.Generator, length: int, curvature: float) -> list[tuple[int, float]]:
    """Bends of 80 to 240 m to either side and straight parts; the curvature changes in steps of 4 m over 60 m."""
    pieces, done, last = [], 0, None
    while done < length:
        piece, now = min(length - done, int(rng.integers(80, 240))), float(rng.choice([-1.0, 0.0, 1.0])) * curvature
        last = now if last is None else last
        steps = min(15, piece // 4)
        pieces += [(4, last + (now - last) * (k + 1) / 15) for k in range(steps)]
        last += (now - last) * steps / 15
        pieces.append((piece - 4 * steps, last))
        done += piece
    return pieces


def _carriageway(plan: Plan, rng, inner: Curve, feature: str, p: dict, first: int, last: int) -> None:
    """Lanes to the right of `inner`; something happens between the stations `first` and `last`."""
    n, width, limit, end = p["lanes"], p["width"], p["limit"], float(inner.station[-1])
    drop, ramp = feature == "lane_drop", feature in ("on_ramp", "off_ramp")
    cuts = [0, last, end] if drop else [0, first, last, end]
    base = len(plan.rails)
    rows: list[list[int]] = []
    for k in range(n):
        stops = [0, last] if drop and k == n - 1 else cuts
        row = []
        for a, b in itertools.pairwise(stops):
            open_right = ramp and a == first
            dropped = drop and a >= last and k == n - 2
            solid = (k == n - 1 and not open_right) or dropped
            row.append(
                plan.lane(
                    beside(inner, -(k + 0.5) * width).between(a, b),
                    width,
                    limit,
                    LaneType.FREEWAY,
                    LineType.SOLID_YELLOW if k == 0 else LineType.BROKEN_WHITE,
                    LineType.SOLID_WHITE if solid else LineType.BROKEN_WHITE,
                )
            )
        rows.append(row)
    for upper, lower in itertools.pairwise(rows):
        for a, b in zip(upper, lower):
            plan.neighbours(a, b)
    for k, row in enumerate(rows):
        ending = drop and k == n - 1
        to = last if drop and k >= n - 2 else end
        left = (base + k - 1, 0.0, float(last if ending else end)) if k else None
        right = (base + k + 1, 0.0, float(to)) if k < n - 1 else None
        if ramp and k == n - 1 and feature == "off_ramp":
            right = (base + n, float(first), float(last))
        plan.rail(row, left=left, right=right, ends=ending)
    plan.edge(inner.xy, EdgeType.MEDIAN if p["two_way"] else EdgeType.BOUNDARY)
    outer = -n * width
    if ramp:
        _ramp(plan, rng, inner, feature, p, rows[-1][1], base, first, last)
    elif drop:
        taper = eased((inner.station - last) / 60.0)
        plan.edge(beside(inner, outer + width * taper).xy)
        plan.line(beside(inner, outer + width).between(0, last).xy, LineType.BROKEN_WHITE)
        plan.line(beside(inner, outer + width * taper).xy, LineType.SOLID_WHITE)
    else:
        plan.edge(beside(inner, outer).xy)
        plan.line(beside(inner, outer).xy, LineType.SOLID_WHITE)


def _ramp(plan: Plan, rng, inner: Curve, feature: str, p: dict, main: int, base: int, first: int, last: int) -> None:
    """A lane beside the road from `first` to `last`, and the ramp before (on) or behind (off) it."""
    n, width = p["lanes"], p["width"]
    outer, end = -n * width, float(inner.station[-1])
    away = float(rng.uniform(9.0, 14.0))
    on = feature == "on_ramp"
    s = inner.station
    far = eased((first - s) / first) if on else eased((s - last) / (end - last))
    path = beside(inner, outer - width / 2 - away * far)
    ramp = path.between(0, first) if on else path.between(last, end)
    slow = round(p["limit"] * 0.7, 1)
    beside_it = plan.lane(
        path.between(first, last), width, p["limit"], LaneType.FREEWAY, LineType.BROKEN_WHITE, LineType.SOLID_WHITE
    )
    away_lane = plan.lane(ramp, width, slow, LaneType.FREEWAY, LineType.SOLID_WHITE, LineType.SOLID_WHITE)
    plan.neighbours(main, beside_it)
    lanes = [away_lane, beside_it] if on else [beside_it, away_lane]
    left = (base + n - 1, float(first), float(last))
    plan.rail(lanes, entry=on, left=left if on else None, ends=on, exit=not on)
    # The outer edge: ramp and extra lane, and the taper where the extra lane ends or begins.
    taper = eased((s - last) / 50.0) if on else eased((first - s) / 50.0)
    rest = beside(inner, outer - width + width * taper)
    right = beside(path, -width / 2)
    parts = (
        [right.between(0, last), rest.between(last, end)] if on else [rest.between(0, first), right.between(first, end)]
    )
    outer_edge = np.concatenate([parts[0].xy, parts[1].xy[1:]])
    plan.edge(outer_edge)
    plan.line(outer_edge, LineType.SOLID_WHITE)
    # The gore: along the road to the nose and back along the ramp.
    road, ramp_left = beside(inner, outer), beside(ramp, width / 2)
    road = road.between(ramp.station[0], ramp.station[-1])
    apart = road.xy - ramp_left.xy
    open_ = (apart * apart).sum(1) > NOSE * NOSE
    a, b = road.xy[open_], ramp_left.xy[open_]
    gore = np.concatenate([a, b[::-1]]) if on else np.concatenate([a[::-1], b])
    plan.edge(gore)
    plan.line(gore, LineType.SOLID_WHITE)
    plan.line(beside(inner, outer).between(first, last).xy, LineType.BROKEN_WHITE)
