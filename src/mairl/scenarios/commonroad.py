"""Reads CommonRoad scenarios, XML 2018b and 2020a: one file, one scenario.

Agents are the obstacles, static and dynamic ones; the planning problem is no agent and stands in `notes`, as do tags,
location and intersections, all in the file's frame. Environment and phantom obstacles have no states and are only
counted in `notes`. An obstacle whose future is given as a set of occupancies is valid where it has a state. The format
has no heights: no z is known, and where roads cross above one another the bounds inside the crossing are no edges.

Motorcycles are vehicles and trains are not, as in the Waymo dataset's labels.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from mairl.core.errors import InvalidData, MairlError
from mairl.scenarios import build
from mairl.scenarios import commonroad_map as maps
from mairl.scenarios import commonroad_xml as xml
from mairl.scenarios.readers import HEAD
from mairl.scenarios.schema import AgentType, Scenario, Tracks
from mairl.scenarios.validate import validated

FORMAT = "commonroad"
NAMES = r".+\.xml"

VERSIONS = ("2018b", "2020a")

TYPES = {
    **dict.fromkeys(
        ("car", "truck", "bus", "taxi", "motorcycle", "priorityVehicle", "parkedVehicle"), AgentType.VEHICLE
    ),
    "bicycle": AgentType.CYCLIST,
    "pedestrian": AgentType.PEDESTRIAN,
}
"""Others (train, constructionZone, roadBoundary, unknown ...) are OTHER."""

MOST_STATES = 2_000_000
"""Agents times steps, some 100 MB."""

Line = tuple[int, float, float, float, float]
"""A state: step, x, y, heading, speed; NaN where no speed is given."""


def knows(head: bytes) -> bool:
    """Whether a file that begins with these bytes is CommonRoad's, in any encoding of letters by one or two bytes."""
    head = head.replace(b"\0", b"")
    at = head.find(b"<commonRoad")
    return at >= 0 and head[at + 11 : at + 12] in (b" ", b">", b"\t", b"\r", b"\n")


def other(path: Path) -> bool:
    """Whether a file's first element is that of another kind of XML."""
    with path.open("rb") as file:
        head = file.read(HEAD).replace(b"\0", b"")
    bare = re.sub(rb"<!--.*?-->|<[?!][^>]*>", b"", head, flags=re.DOTALL)
    root = re.search(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)[\s/>]", bare)
    return root is not None and root[1] != b"commonRoad"


def read(path: Path) -> Iterator[Scenario | InvalidData]:
    """The file's scenario, or what is wrong with it."""
    try:
        with np.errstate(all="ignore"):  # What overflows is found by validation.
            scenario = _scenario(Path(path))
        yield scenario
    except MairlError as error:
        yield InvalidData(f"{path}: {error}")
    except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        yield InvalidData(f"{path}: it cannot be read ({type(error).__name__}: {reason})")


def _scenario(path: Path) -> Scenario:
    root = xml.tree(path)
    version = root.get("commonRoadVersion", "")
    if root.tag != "commonRoad" or version not in VERSIONS:
        raise InvalidData(
            f"its root is {root.tag} of version {version!r}, expected commonRoad of {' or '.join(VERSIONS)}: convert it"
        )
    try:
        dt = float(root.get("timeStepSize", ""))
    except ValueError:
        dt = 0.0
    if not dt > 0:
        raise InvalidData(f"timeStepSize is {root.get('timeStepSize', '')[:40]!r}, expected seconds")
    tracks, notes = _tracks(root, dt)
    lanelets = maps.lanelets(root)
    road, missing = maps.road_map(root, lanelets)
    notes |= {
        "version": version,
        "tags": [tag.tag for tag in root.findall("scenarioTags/*")] or root.get("tags", "").split(),
        **{key: root.attrib[key] for key in ("author", "affiliation", "source", "date") if key in root.attrib},
        **{key: plain for key in ("location",) for plain in map(xml.plain, root.findall(key))},
        "planning_problems": [xml.plain(problem) for problem in root.findall("planningProblem")],
        "intersections": [xml.plain(crossing) for crossing in root.findall("intersection")],
        "environment_obstacles": len(root.findall("environmentObstacle")),
        "phantom_obstacles": len(root.findall("phantomObstacle")),
        "references_to_missing_lanelets": missing,
    }
    scenario = Scenario(
        root.get("benchmarkID", "").strip() or path.stem,
        FORMAT,
        dt,
        0,
        np.zeros(3),
        tracks,
        build.roles(len(tracks)),
        road,
        maps.signals(root, lanelets, tracks.valid.shape[1]),
        notes,
    )
    return validated(build.recentred(scenario))


def _tracks(root: Element, dt: float) -> tuple[Tracks, dict]:
    """All obstacles in file order, in the file's frame, and notes on them."""
    elements = [e for e in root if e.tag in ("obstacle", "staticObstacle", "dynamicObstacle")]
    states: dict[str, list[Line]] = {}
    boxes, types, static, boxed, sets = [], [], [], [], []
    for element in elements:
        identity = xml.name(element)
        if identity in states:
            raise InvalidData(f"obstacle {identity} comes twice")
        try:
            states[identity] = list(map(_state, _given(element)))
            boxes.append(_box(xml.child(element, "shape")))
            static.append(_is_static(element))
        except InvalidData as error:
            raise InvalidData(f"obstacle {identity}: {error}") from error
        types.append(TYPES.get(element.findtext("type", "").strip(), AgentType.OTHER))
        if [shape.tag for shape in element.findall("shape/*")] != ["rectangle"]:
            boxed.append(identity)
        if element.find("occupancySet") is not None:
            sets.append(identity)
    steps = 1 + max((line[0] for lines in states.values() for line in lines), default=0)
    if steps * len(states) > MOST_STATES:
        raise InvalidData(f"{len(states)} obstacles and {steps} steps, expected at most {MOST_STATES} states: cut it")
    valid = np.zeros((len(states), steps), bool)
    values = np.zeros((len(states), steps, 4))
    for k, (identity, lines) in enumerate(states.items()):
        for step, *found in lines:
            if valid[k, step]:
                raise InvalidData(f"obstacle {identity}: step {step} comes twice")
            valid[k, step], values[k, step] = True, found
        if static[k]:
            valid[k], values[k] = True, lines[0][1:]
            values[k, :, 3] = 0.0
    corners = np.array(boxes, np.float64).reshape(len(states), 2, 2)
    size = corners[:, 1] - corners[:, 0]
    # The state places the shape's origin, which need not be the middle of its box.
    cos, sin = np.cos(values[..., 2]), np.sin(values[..., 2])
    ahead, aside = (corners.mean(1)[:, None, axis] for axis in range(2))
    position = values[..., :2] + np.stack([cos * ahead - sin * aside, sin * ahead + cos * aside], -1)
    tracks = Tracks(
        np.pad(position, ((0, 0), (0, 0), (0, 1))),
        values[..., 2],
        _velocity(position, values[..., 2], values[..., 3], valid, dt),
        np.repeat(np.pad(size, ((0, 0), (0, 1)))[:, None], steps, 1),
        np.repeat([[True, True, False]], len(states), 0),
        valid,
        np.array(types, np.int8),
        tuple(states),
        z_known=False,
    )
    rated = [identity for identity, row in zip(states, values[..., 3]) if np.isnan(row).any()]
    return tracks, {"shapes_as_boxes": boxed, "occupancy_sets": sets, "velocities_from_positions": rated}


def _velocity(position: np.ndarray, heading: np.ndarray, speed: np.ndarray, valid: np.ndarray, dt: float) -> np.ndarray:
    """Speed along the heading, m/s `[agent, step, 2]`; where no speed is given, the rate of the positions."""
    velocity = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    for k in np.flatnonzero(np.isnan(speed).any(1)):
        seen = np.flatnonzero(valid[k])
        rate = np.gradient(position[k, seen], seen * dt, axis=0) if len(seen) > 1 else np.zeros((1, 2))
        lacks = np.isnan(speed[k, seen])
        velocity[k, seen[lacks]] = rate[lacks]
    return velocity


def _is_static(element: Element) -> bool:
    if element.tag != "obstacle":
        return element.tag == "staticObstacle"
    role = xml.text(xml.child(element, "role"))
    if role not in ("static", "dynamic"):
        raise InvalidData(f"role is {role[:40]!r}, expected static or dynamic")
    return role == "static"


def _given(element: Element) -> Iterator[Element]:
    """Its states."""
    return itertools.chain([xml.child(element, "initialState")], element.findall("trajectory/state"))


def _state(element: Element) -> Line:
    step = int(np.floor(xml.value(xml.child(element, "time"))))
    if not 0 <= step <= MOST_STATES:
        raise InvalidData(f"time is step {step}, expected 0 to {MOST_STATES}")
    speed = element.find("velocity")
    try:
        return (
            step,
            *_place(xml.child(element, "position")),
            xml.value(xml.child(element, "orientation")),
            np.nan if speed is None else xml.value(speed),
        )
    except InvalidData as error:
        raise InvalidData(f"step {step}: {error}") from error


def _place(position: Element) -> tuple[float, float]:
    """The point, or the middle of the box around the region that is given instead."""
    place = position.find("point")
    if place is not None:
        return xml.point(place)
    if position.find("lanelet") is not None:
        raise InvalidData("position is a lanelet, expected a point or a shape")
    low, high = _box(position)
    return (low[0] + high[0]) / 2, (low[1] + high[1]) / 2


def _box(shapes: Element) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the upright box around rectangles, circles and polygons, metres.

    Raises:
        InvalidData: there is no shape, or the box has no area.
    """
    outer = []
    for shape in shapes:
        centre = shape.find("center")
        middle = np.zeros(2) if centre is None else np.array(xml.point(centre))
        if shape.tag == "rectangle":
            half = np.array([xml.number(xml.child(shape, "length")), xml.number(xml.child(shape, "width"))]) / 2
            turn = shape.find("orientation")
            angle = 0.0 if turn is None else xml.number(turn)
            cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
            reach = np.array([cos * half[0] + sin * half[1], sin * half[0] + cos * half[1]])
            if (half <= 0).any():
                raise InvalidData(f"rectangle is {2 * half[0]} m by {2 * half[1]} m, expected more than 0")
            outer += [middle - reach, middle + reach]
        elif shape.tag == "circle":
            radius = xml.number(xml.child(shape, "radius"))
            if radius <= 0:
                raise InvalidData(f"circle has a radius of {radius} m, expected more than 0")
            outer += [middle - radius, middle + radius]
        elif shape.tag == "polygon":
            outer += list(xml.points(shape))
        else:
            raise InvalidData(f"{shapes.tag} holds {shape.tag}, expected rectangle, circle or polygon")
    if not outer:
        raise InvalidData(f"{shapes.tag} is empty, expected rectangle, circle or polygon")
    low, high = np.min(outer, 0), np.max(outer, 0)
    if (low >= high).any():
        raise InvalidData(f"{shapes.tag} has no area")
    return low, high
