"""Argoverse 2's vector map: lane segments, drivable areas and pedestrian crossings.

Centrelines have no heights of their own (the file says 0), boundaries do: a centreline's height is the middle of those
of the nearest places on its two boundaries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios import build, lanelet_bounds
from mairl.scenarios.schema import EdgeType, LaneType, LineType, Polylines, RoadMap

MARKS = {
    "NONE": LineType.NONE,
    "DASHED_WHITE": LineType.BROKEN_WHITE,
    "DOUBLE_DASH_WHITE": LineType.BROKEN_WHITE,
    "DASHED_YELLOW": LineType.BROKEN_YELLOW,
    "DOUBLE_DASH_YELLOW": LineType.BROKEN_DOUBLE_YELLOW,
    "SOLID_WHITE": LineType.SOLID_WHITE,
    "DOUBLE_SOLID_WHITE": LineType.SOLID_DOUBLE_WHITE,
    "SOLID_YELLOW": LineType.SOLID_YELLOW,
    "DOUBLE_SOLID_YELLOW": LineType.SOLID_DOUBLE_YELLOW,
    "DASH_SOLID_YELLOW": LineType.PASSING_DOUBLE_YELLOW,
    "SOLID_DASH_YELLOW": LineType.PASSING_DOUBLE_YELLOW,
}
"""Others (blue, white by halves, unknown) are UNKNOWN."""

LANE_TYPES = {"VEHICLE": LaneType.STREET, "BIKE": LaneType.BIKE, "BUS": LaneType.BUS}
"""The recordings are from city streets."""

WAY_OUT = 1.0
"""Metres that a lane is thought to lead on where the map ends: enough to tell such an end from a kerb."""

SIDES = ("left", "right")


def road_map(archive: Any) -> tuple[RoadMap, dict]:
    """The map in the file's frame, and notes on it.

    Args:
        archive: the file's JSON.

    Raises:
        InvalidData: a part is missing or not as it should be; names it.
    """
    segments, ids = _named(archive, "lane_segments")
    index = {identity: k for k, identity in enumerate(ids)}
    centres, widths, bounds = [], [], []
    for identity, segment in zip(ids, segments):
        try:
            pair = [_points(segment, f"{side}_lane_boundary", 2) for side in SIDES]
            centre = _points(segment, "centerline", 2)
        except InvalidData as error:
            raise InvalidData(f"lane segment {identity}: {error}") from error
        nearest = [nearest_on(centre[:, :2], line) for line in pair]
        widths.append(sum(np.linalg.norm(place[:, :2] - centre[:, :2], axis=1) for place in nearest))
        if not centre[:, 2].any():
            centre[:, 2] = (nearest[0][:, 2] + nearest[1][:, 2]) / 2
        centres.append(centre)
        bounds.append(pair)
    marks = [[MARKS.get(str(s.get(f"{side}_lane_mark_type")), LineType.UNKNOWN) for s in segments] for side in SIDES]
    neighbours = [_neighbours(segments, index, centres, f"{side}_neighbor_id") for side in SIDES]
    successors = _links(segments, index, "successors") + [(b, a) for a, b in _links(segments, index, "predecessors")]
    lanes = build.lanes(
        build.polylines(centres, ids, [LANE_TYPES.get(str(s.get("lane_type")), LaneType.UNKNOWN) for s in segments]),
        width=np.concatenate([np.zeros(0), *widths]),
        left_boundary=np.array(marks[0], np.int8),
        right_boundary=np.array(marks[1], np.int8),
        successors=successors,
        left_neighbours=neighbours[0],
        right_neighbours=neighbours[1],
    )
    road = RoadMap(
        lanes,
        _edges(archive, [way for k, s in enumerate(segments) for way in _ways_out(s, index, bounds[k])]),
        _lines(ids, bounds, marks),
        _crosswalks(archive),
        build.no_lines(),
        build.no_lines(),
        build.no_stop_signs(),
    )
    return road, {"intersection_lanes": [i for i, s in zip(ids, segments) if s.get("is_intersection") is True]}


MOST_PAIRS = 4_000_000
"""Points of a centreline times those of a boundary."""


def nearest_on(places: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The nearest point of a line `[point, 3]` to each place `[place, 2]`, on the ground; with its height."""
    if len(places) * len(line) > MOST_PAIRS:
        raise InvalidData(f"it has {len(places)} and {len(line)} points: thin the lines out")
    a, step = line[:-1], np.diff(line, axis=0)
    length = np.maximum((step[:, :2] ** 2).sum(1), 1e-12)
    along = ((places[:, None] - a[:, :2]) * step[:, :2]).sum(2) / length
    there = a + np.clip(along, 0, 1)[..., None] * step
    distance = ((there[..., :2] - places[:, None]) ** 2).sum(2)
    return there[np.arange(len(places)), distance.argmin(1)]


def _named(archive: Any, group: str) -> tuple[list[dict], list[str]]:
    """The things of a group and their ids."""
    found = archive.get(group) if isinstance(archive, dict) else None
    if not isinstance(found, dict) or not all(isinstance(thing, dict) for thing in found.values()):
        raise InvalidData(f"it has no {group} by id: is it an Argoverse 2 map?")
    return list(found.values()), list(found)


def _points(thing: dict, field: str, least: int) -> np.ndarray:
    """A list of points, metres `[point, 3]`."""
    found = thing.get(field)
    try:
        points = np.array([(p["x"], p["y"], p["z"]) for p in found or ()], np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidData(f"{field} is no list of points with x, y and z") from error
    if len(points) < least or not (np.abs(points) <= 1e9).all():  # Not a number is not within, either.
        raise InvalidData(f"{field} has {len(points)} points, expected at least {least}, all finite")
    return points


def _links(segments: list[dict], index: dict[str, int], field: str) -> list[tuple[int, int]]:
    """Pairs of lanes, without those that lead out of the map."""
    links = []
    for k, segment in enumerate(segments):
        found = segment.get(field) or []
        if not isinstance(found, list):
            raise InvalidData(f"lane segment {segment.get('id')}: {field} is no list")
        links += [(k, index[str(other)]) for other in found if str(other) in index]
    return links


def _neighbours(
    segments: list[dict], index: dict[str, int], centres: list[np.ndarray], field: str
) -> list[tuple[int, int]]:
    """Neighbours of the same driving direction: whose start is by the start and whose end is by the end."""
    links = []
    for k, segment in enumerate(segments):
        other = index.get(str(segment.get(field)))
        if other is None or other == k:
            continue
        ours, theirs = centres[k][[0, -1], :2], centres[other][[0, -1], :2]
        along, against = (np.linalg.norm(ours - ends, axis=1).sum() for ends in (theirs, theirs[::-1]))
        if along < against:
            links.append((k, other))
    return links


def _ways_out(segment: dict, index: dict[str, int], bounds: list[np.ndarray]) -> list[np.ndarray]:
    """Rings `[4, 2]` of the ground behind those ends of a lane where it leads to lanes that the map lacks."""
    rings = []
    for field, end, before in (("successors", -1, -2), ("predecessors", 0, 1)):
        if any(str(other) not in index for other in segment.get(field) or []):
            corners = np.array([line[end, :2] for line in bounds])
            ahead = corners.mean(0) - np.mean([line[before, :2] for line in bounds], 0)
            ahead *= WAY_OUT / max(np.linalg.norm(ahead), 1e-9)
            rings.append(np.concatenate([corners, corners[::-1] + ahead]))
    return rings


def _edges(archive: Any, ways_out: list[np.ndarray]) -> Polylines:
    """Outlines of the drivable areas, the road on their left hand.

    The cuts where two areas meet, and those where the map ends and lanes lead on, are no road edges: they are left out.
    An outline without cuts is closed: its first point comes again at its end.
    """
    areas, ids = _named(archive, "drivable_areas")
    rings = []
    for identity, area in zip(ids, areas):
        try:
            ring = _points(area, "area_boundary", 3)
        except InvalidData as error:
            raise InvalidData(f"drivable area {identity}: {error}") from error
        x, y = (ring[:, axis] - ring[0, axis] for axis in range(2))
        clockwise = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() < 0
        rings.append(ring[::-1] if clockwise else ring)
    closed = [np.concatenate([ring, ring[:1]]) for ring in rings]
    if sum(map(lanelet_bounds.pieces, closed)) >= lanelet_bounds.MOST_PIECES:
        raise InvalidData("its drivable areas are hundreds of kilometres around: are they in metres?")
    road = lanelet_bounds.areas([*(ring[:, :2] for ring in rings), *ways_out])
    lines, names = [], []
    for identity, ring in zip(ids, closed):
        for k, line in enumerate(lanelet_bounds.edges(ring, False, road)):
            lines.append(line)
            names.append(f"{identity}.{k}")
    return build.polylines(lines, names, [EdgeType.BOUNDARY] * len(lines))


def _lines(ids: list[str], bounds: list[list[np.ndarray]], marks: list[list[LineType]]) -> Polylines:
    """Lane boundaries with paint; one that two lanes share comes once, with the paint that either tells."""
    found: dict[bytes, tuple[np.ndarray, str, LineType]] = {}
    for k, identity in enumerate(ids):
        for side, line in enumerate(bounds[k]):
            key = min(line.tobytes(), line[::-1].tobytes())
            mark = marks[side][k]
            if key not in found or found[key][2] in (LineType.UNKNOWN, LineType.NONE):
                found[key] = line, f"{identity}.{SIDES[side]}", mark
    painted = [entry for entry in found.values() if entry[2] != LineType.NONE]
    return build.polylines([e[0] for e in painted], [e[1] for e in painted], [e[2] for e in painted])


def _crosswalks(archive: Any) -> Polylines:
    """Crossings from their two edges, which may run either way."""
    crossings, ids = _named(archive, "pedestrian_crossings")
    polygons = []
    for identity, crossing in zip(ids, crossings):
        try:
            one, two = (_points(crossing, edge, 2) for edge in ("edge1", "edge2"))
        except InvalidData as error:
            raise InvalidData(f"pedestrian crossing {identity}: {error}") from error
        along, against = (np.linalg.norm(one[[0, -1]] - ends, axis=1).sum() for ends in (two[[0, -1]], two[[-1, 0]]))
        polygons.append(np.concatenate([one, two[::-1] if along <= against else two]))
    return build.polylines(polygons, ids)
