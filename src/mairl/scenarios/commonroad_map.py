"""CommonRoad's lanelets, traffic signs and lights as a map and signals."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable
from xml.etree.ElementTree import Element

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios import build, lanelet_bounds
from mairl.scenarios import commonroad_xml as xml
from mairl.scenarios.schema import EdgeType, LaneType, LineType, RoadMap, Signals, SignalState, StopSigns

MARKINGS = {
    "dashed": LineType.BROKEN_WHITE,
    "broad_dashed": LineType.BROKEN_WHITE,
    "dashed_dashed": LineType.BROKEN_WHITE,
    "solid": LineType.SOLID_WHITE,
    "broad_solid": LineType.SOLID_WHITE,
    "solid_solid": LineType.SOLID_DOUBLE_WHITE,
    "no_marking": LineType.NONE,
    "curb": LineType.NONE,
    "lowered_curb": LineType.NONE,
}
"""The format tells no colours: paint counts as white. Other markings are UNKNOWN."""

LANE_TYPES = {
    "bicycleLane": LaneType.BIKE,
    "busLane": LaneType.BUS,
    "interstate": LaneType.FREEWAY,
    "highway": LaneType.FREEWAY,
    "urban": LaneType.STREET,
    "country": LaneType.STREET,
}
"""The first one that a lanelet has counts; 2018b has none."""

FOOTWAYS = {"crosswalk", "sidewalk"}
"""Lanelets that are no road: their bounds make no road edges."""

SPEED_LIMITS = {"274", "274.1", "R2-1", "r301"}
"""Signs whose additional value is the highest speed, in metres a second whatever the country."""

STOP_SIGNS = {"206", "R1-1", "r2"}

COLOURS = {
    "red": SignalState.STOP,
    "redYellow": SignalState.STOP,
    "yellow": SignalState.CAUTION,
    "green": SignalState.GO,
    "inactive": SignalState.UNKNOWN,
}
"""Red and yellow together still forbid to go."""

ARROWS = {
    SignalState.STOP: SignalState.ARROW_STOP,
    SignalState.CAUTION: SignalState.ARROW_CAUTION,
    SignalState.GO: SignalState.ARROW_GO,
}
"""For lights that hold for some directions only."""


@dataclasses.dataclass(frozen=True)
class Lanelet:
    """One lanelet as the file has it.

    Attributes:
        element: its element.
        left, right: bounds in metres `[point, 2]`, in driving direction, equally many points.
        marks: `LineType` of the left and right bound.
        types: what it is for.
        lights, signs: ids that it refers to.
    """

    id: str
    element: Element
    left: np.ndarray
    right: np.ndarray
    marks: tuple[LineType, LineType]
    types: frozenset[str]
    lights: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def end(self) -> np.ndarray:
        """The middle of where it ends, metres `[2]`."""
        return (self.left[-1] + self.right[-1]) / 2

    @property
    def ring(self) -> np.ndarray:
        """The points around its area, metres `[point, 2]`."""
        return np.concatenate([self.left, self.right[::-1]])

    @property
    def is_road(self) -> bool:
        """It is for vehicles."""
        return not self.types & FOOTWAYS


def lanelets(root: Element) -> list[Lanelet]:
    """All lanelets, in file order.

    Raises:
        InvalidData: one is not whole, or two have the same id; names it.
    """
    found: dict[str, Lanelet] = {}
    for element in root.findall("lanelet"):
        identity = xml.name(element)
        if identity in found:
            raise InvalidData(f"lanelet {identity} comes twice")
        try:
            found[identity] = _lanelet(identity, element)
        except InvalidData as error:
            raise InvalidData(f"lanelet {identity}: {error}") from error
    return list(found.values())


def _lanelet(identity: str, element: Element) -> Lanelet:
    bounds, marks = [], []
    for tag in ("leftBound", "rightBound"):
        bound = xml.child(element, tag)
        bounds.append(xml.points(bound))
        if len(bounds[-1]) < 2:
            raise InvalidData(f"{tag} has {len(bounds[-1])} points, expected at least 2")
        marks.append(MARKINGS.get(bound.findtext("lineMarking", "").strip(), LineType.UNKNOWN))
    left, right = bounds
    if len(left) != len(right):
        left, right = (_resampled(bound, max(len(left), len(right))) for bound in bounds)
    inner = [element, *element.findall("stopLine")]
    return Lanelet(
        identity,
        element,
        left,
        right,
        (marks[0], marks[1]),
        frozenset(xml.text(e) for e in element.findall("laneletType")),
        tuple(dict.fromkeys(ref for e in inner for ref in xml.references(e, "trafficLightRef"))),
        tuple(dict.fromkeys(ref for e in inner for ref in xml.references(e, "trafficSignRef"))),
    )


def _resampled(line: np.ndarray, count: int) -> np.ndarray:
    """A line of `count` points, evenly spaced along it."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, k]) for k in range(2)], 1)


def road_map(root: Element, found: list[Lanelet]) -> tuple[RoadMap, int]:
    """The map, in the file's frame, and how many references lead to lanelets that the file lacks."""
    index = {lanelet.id: k for k, lanelet in enumerate(found)}
    missing = 0

    def linked(tag: str, direction: str = "") -> list[tuple[int, int]]:
        nonlocal missing
        links = []
        for k, lanelet in enumerate(found):
            for element in lanelet.element.findall(tag):
                other = xml.name(element, "ref")
                if other not in index:
                    missing += 1
                elif element.get("drivingDir", "") == direction:
                    links.append((k, index[other]))
        return links

    left, right = linked("adjacentLeft", "same"), linked("adjacentRight", "same")
    centre = build.polylines([(lane.left + lane.right) / 2 for lane in found], index, [_lane_type(f) for f in found])
    widths = [np.linalg.norm(lane.left - lane.right, axis=1) for lane in found]
    signs = {xml.name(element): element for element in root.findall("trafficSign")}
    lanes = build.lanes(
        centre,
        width=np.concatenate([np.zeros(0), *widths]),
        speed_limit=np.array([_speed_limit(lanelet, signs) for lanelet in found]),
        left_boundary=np.array([lanelet.marks[0] for lanelet in found], np.int8),
        right_boundary=np.array([lanelet.marks[1] for lanelet in found], np.int8),
        successors=linked("successor") + [(a, b) for b, a in linked("predecessor")],
        left_neighbours=left + [(b, a) for a, b in right],
        right_neighbours=right + [(b, a) for a, b in left],
    )
    crosswalks = [lanelet for lanelet in found if "crosswalk" in lanelet.types]
    empty = build.no_lines()
    return (
        RoadMap(
            lanes,
            _edges(found, index),
            _lines(found, index),
            build.polylines([c.ring for c in crosswalks], [c.id for c in crosswalks]),
            empty,
            empty,
            _stop_signs(signs, found),
        ),
        missing,
    )


def _lane_type(lanelet: Lanelet) -> LaneType:
    return next((code for name, code in LANE_TYPES.items() if name in lanelet.types), LaneType.UNKNOWN)


def _beside(lanelet: Lanelet, side: int) -> str | None:
    """The id of the lanelet to the left (0) or right (1), whichever way it leads."""
    element = lanelet.element.find(("adjacentLeft", "adjacentRight")[side])
    return None if element is None else element.get("ref")


def _edges(found: list[Lanelet], index: dict[str, int]):
    """Bounds of the road: what no other lanelet of the road is adjacent to or lies behind."""
    road = [lanelet for lanelet in found if lanelet.is_road]
    free = []
    for lanelet in road:
        for side, bound in enumerate((lanelet.left, lanelet.right)):
            other = _beside(lanelet, side)
            if other not in index or not found[index[other]].is_road:
                free.append((lanelet, side, bound))
    total = sum(lanelet_bounds.pieces(bound) for *_, bound in free)
    if total >= lanelet_bounds.MOST_PIECES:
        raise InvalidData(
            f"its road bounds are longer than {lanelet_bounds.MOST_PIECES * lanelet_bounds.PIECE / 1000:.0f} km: "
            f"are they in metres?"
        )
    areas = lanelet_bounds.areas([lanelet.ring for lanelet in road])
    lines, ids = [], []
    for lanelet, side, bound in free:
        for k, line in enumerate(lanelet_bounds.edges(bound, side == 0, areas)):
            lines.append(line)
            ids.append(f"{lanelet.id}.{('left', 'right')[side]}.{k}")
    return build.polylines(lines, ids, [EdgeType.BOUNDARY] * len(lines))


def _lines(found: list[Lanelet], index: dict[str, int]):
    """Bounds that two lanelets share, or that are painted; each once, with the marking that either tells."""
    kinds: dict[object, LineType] = {}
    lines: dict[object, np.ndarray] = {}
    ids: dict[object, str] = {}
    shared = set()
    same: dict[object, object] = {}
    for lanelet in found:
        for side, bound in enumerate((lanelet.left, lanelet.right)):
            ends = bound.tobytes(), bound[::-1].tobytes()
            key: object = min(ends)
            other = _beside(lanelet, side)
            if other in index and other != lanelet.id:
                # Neighbours may put the points of one bound in different places.
                key = same.setdefault(frozenset((lanelet.id, other)), key)
                shared.add(key)
            if key in lines:
                shared.add(key)
            else:
                lines[key], ids[key] = bound, f"{lanelet.id}.{('left', 'right')[side]}"
            if kinds.get(key, LineType.UNKNOWN) == LineType.UNKNOWN:
                kinds[key] = lanelet.marks[side]
    kept = [key for key, kind in kinds.items() if kind != LineType.NONE and (key in shared or kind != LineType.UNKNOWN)]
    return build.polylines([lines[key] for key in kept], [ids[key] for key in kept], [kinds[key] for key in kept])


def _kinds(sign: Element) -> Iterable[tuple[str, Element]]:
    for element in sign.findall("trafficSignElement"):
        yield element.findtext("trafficSignID", "").strip(), element


def _speed_limit(lanelet: Lanelet, signs: dict[str, Element]) -> float:
    """The lowest limit in metres a second, from the lanelet itself (2018b) or its signs (2020a); NaN: none."""
    limits = [xml.number(element) for element in lanelet.element.findall("speedLimit")]
    for sign in lanelet.signs:
        for kind, element in _kinds(signs[sign]) if sign in signs else ():
            if kind in SPEED_LIMITS:
                limits += [xml.number(value) for value in element.findall("additionalValue")]
    return min(limits, default=np.nan)


def _stop_signs(signs: dict[str, Element], found: list[Lanelet]) -> StopSigns:
    """Stop signs; one without a position stands at the end of the right bound of the first lanelet that it holds up."""
    positions, ids, controls = [], [], []
    for identity, sign in signs.items():
        if not any(kind in STOP_SIGNS for kind, _ in _kinds(sign)):
            continue
        held = [k for k, lanelet in enumerate(found) if identity in lanelet.signs]
        place = sign.find("position/point")
        if place is None and not held:
            continue
        x, y = xml.point(place) if place is not None else found[held[0]].right[-1]
        controls += [(len(ids), k) for k in held]
        positions.append((x, y, 0.0))
        ids.append(identity)
    return StopSigns(np.array(positions, np.float64).reshape(-1, 3), tuple(ids), build.pairs(controls))


MOST_SHOWN = 2_000_000
"""States of traffic lights: lights times steps."""


def signals(root: Element, found: list[Lanelet], steps: int) -> Signals:
    """One traffic light for each lanelet that refers to one, in the file's frame.

    Of several at one lanelet, the first that holds for all directions, or else for straight on, or else the first
    counts. The stop point is the middle of the stop line, or the lanelet's end where the line has no points; without a
    stop line it is not known.

    Raises:
        InvalidData: a cycle is not whole; names the light.
    """
    lights = {}
    count = len(root.findall("trafficLight"))
    if count * steps > MOST_SHOWN:
        raise InvalidData(f"{count} traffic lights and {steps} steps, expected at most {MOST_SHOWN} states: cut it")
    for element in root.findall("trafficLight"):
        identity = xml.name(element)
        try:
            lights[identity] = _shown(element, steps)
        except InvalidData as error:
            raise InvalidData(f"trafficLight {identity}: {error}") from error
    lane, state, stop, known = [], [], [], []
    for k, lanelet in enumerate(found):
        here = [lights[light] for light in lanelet.lights if light in lights]
        if not here:
            continue
        lane.append(k)
        state.append(min(here, key=lambda light: light[0])[1])
        line = lanelet.element.find("stopLine")
        known.append(line is not None)
        points = np.zeros((0, 2)) if line is None else xml.points(line)
        stop.append((*(points.mean(0) if len(points) else lanelet.end), 0.0))
    return Signals(
        np.array(lane, np.int32),
        np.ones(len(lane), bool),
        np.array(state, np.int8).reshape(len(lane), steps),
        np.array(stop, np.float64).reshape(-1, 3),
        np.array(known, bool),
    )


def _shown(light: Element, steps: int) -> tuple[int, np.ndarray]:
    """How near to "all directions" a light is (0 is all), and its `SignalState` at each step."""
    direction = light.findtext("direction", "all").strip()
    rank = 0 if direction == "all" else 1 if "straight" in direction.lower() else 2
    shown = np.zeros(steps, np.int8)
    cycle = light.find("cycle")
    if light.findtext("active", "true").strip() == "false" or cycle is None:
        return rank, shown
    states, ends = [], [0]
    for element in cycle.findall("cycleElement"):
        colour = COLOURS.get(xml.text(xml.child(element, "color")))
        if colour is None:
            raise InvalidData(f"color is {xml.text(xml.child(element, 'color'))[:40]!r}, expected one of {[*COLOURS]}")
        duration = xml.integer(xml.child(element, "duration"))
        if duration < 1:
            raise InvalidData(f"duration is {duration} steps, expected at least 1")
        states.append(colour if rank == 0 else ARROWS.get(colour, colour))
        ends.append(ends[-1] + duration)
    if not states:
        return rank, shown
    # The offset stands in the cycle by the schema, and beside it in some files.
    offset = next((xml.integer(e) for e in (*cycle.findall("timeOffset"), *light.findall("timeOffset"))), 0)
    which = [bisect.bisect_right(ends, (step - offset) % ends[-1]) - 1 for step in range(steps)]
    return rank, np.array(states, np.int8)[which]
