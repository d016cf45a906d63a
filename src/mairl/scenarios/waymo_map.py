"""Maps of the Waymo Open Motion Dataset: map features to a `RoadMap`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios import build
from mairl.scenarios.line_distance import LineDistances
from mairl.scenarios.schema import Lanes, LineType, Polylines, RoadMap, StopSigns
from mairl.scenarios.waymo_codes import EDGE, LANE, LINE, coded
from mairl.scenarios.waymo_wire import table

METRES_A_SECOND = 0.44704
"""One mile an hour."""

FASTEST_MPH = 200.0
"""No speed limit is higher: what a source says beyond it, or at or below 0, is not known."""

FARTHEST = 1e8
"""Metres from the source's origin: more than twice around the Earth."""

DISTANCES = 100_000_000
"""Most pairs of a centreline's point and a boundary's segment in a scene; a scene of 9,000 points has 600,000."""


def points(items: Sequence[bytes], what: str) -> np.ndarray:
    """Encoded map points as x, y, z `[point, 3]`, float64, metres in the source's frame.

    Raises:
        InvalidData: one is not finite or farther than `FARTHEST`; names `what`.
    """
    found = table(items, "MapPoint")
    xyz = np.stack([found["x"], found["y"], found["z"]], 1)
    wrong = ~(np.abs(xyz) <= FARTHEST).all(1)
    if wrong.any():
        i = int(wrong.argmax())
        raise InvalidData(
            f"{what} hold {int(wrong.sum())} points of {len(xyz)} that are not finite or beyond {FARTHEST:.0e} m, "
            f"the first is number {i}: {xyz[i].tolist()}"
        )
    return xyz


def road_map(features: Iterable[Any]) -> tuple[RoadMap, dict[int, int], dict[str, Any]]:
    """A map still in the source's frame, float64; the index of each lane by its id; and what else the source says.

    Features without points are left out and named in the notes, and so are those of kinds that the dataset added later.

    Raises:
        InvalidData: points that are no places, or a map too large to measure.
    """
    groups: dict[str, list[tuple[int, Any]]] = {
        name: [] for name in ("lane", "road_line", "road_edge", "crosswalk", "speed_bump", "driveway", "stop_sign")
    }
    left_out: list[str] = []
    for feature in features:
        kind = feature.WhichOneof("feature_data")
        body = getattr(feature, kind) if kind else None
        if body is None or not _places(kind, body):
            left_out.append(str(feature.id))
        else:
            groups[kind].append((feature.id, body))
    lines = _grouped(groups)
    signs = groups["stop_sign"]
    index = {number: k for k, (number, _) in enumerate(groups["lane"])}
    lanes = _lanes([body for _, body in groups["lane"]], lines["lane"], index, _Boundaries(groups, lines))
    road = RoadMap(
        lanes,
        dataclasses.replace(lines["road_edge"], kind=_kinds(groups["road_edge"], EDGE)),
        dataclasses.replace(lines["road_line"], kind=_kinds(groups["road_line"], LINE)),
        lines["crosswalk"],
        lines["speed_bump"],
        lines["driveway"],
        StopSigns(
            points([body.position for _, body in signs], "stop signs"),
            tuple(str(number) for number, _ in signs),
            build.pairs((k, index[lane]) for k, (_, body) in enumerate(signs) for lane in body.lane if lane in index),
        ),
    )
    notes = {
        "interpolating_lanes": [str(number) for number, body in groups["lane"] if body.interpolating],
        "features_left_out": left_out,
    }
    return road, index, {name: ids for name, ids in notes.items() if ids}


def _places(kind: str, body: Any) -> Sequence[bytes]:
    """The encoded points of a feature."""
    if kind == "stop_sign":
        return [body.position] if body.HasField("position") else []
    return body.polyline if kind in ("lane", "road_line", "road_edge") else body.polygon


def _grouped(groups: dict[str, list[tuple[int, Any]]]) -> dict[str, Polylines]:
    """All lines of the map; their points are decoded together, because that costs a tenth of one by one."""
    names = [name for name in groups if name != "stop_sign"]
    parts = [_places(name, body) for name in names for _, body in groups[name]]
    xyz = points([point for part in parts for point in part], "map features")
    lines: Iterator[np.ndarray] = iter(np.split(xyz, np.cumsum([len(part) for part in parts])[:-1]) if parts else [])
    result = {}
    for name in names:
        own = [next(lines) for _ in groups[name]]
        if name in ("crosswalk", "speed_bump", "driveway"):
            own = [line[:-1] if len(line) > 1 and (line[0] == line[-1]).all() else line for line in own]
        result[name] = build.polylines(own, [str(number) for number, _ in groups[name]])
    return result


def _kinds(group: list[tuple[int, Any]], codes: Sequence[int]) -> np.ndarray:
    return np.array([coded(codes, body.type) for _, body in group], np.int8)


class _Boundaries:
    """The lines and edges that can bound a lane: where they are, and what is painted there."""

    def __init__(self, groups: dict[str, list[tuple[int, Any]]], lines: dict[str, Polylines]):
        both = [*groups["road_line"], *groups["road_edge"]]
        paint = [LineType(coded(LINE, body.type)) for _, body in groups["road_line"]]
        self.index = {number: k for k, (number, _) in enumerate(both)}
        self.paint = [*paint, *[LineType.NONE] * len(groups["road_edge"])]
        merged = [lines[name].line(k) for name in ("road_line", "road_edge") for k in range(len(lines[name]))]
        self.lines = LineDistances(build.polylines(merged, map(str, range(len(merged)))))


def _range(segment: Any, size: int) -> tuple[int, int]:
    """The points of a centreline that a boundary segment covers: the first, and one after the last."""
    return max(segment.lane_start_index, 0), min(max(segment.lane_end_index + 1, 0), size)


def _sides(bodies: list[Any], centre: Polylines, boundaries: _Boundaries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the lanes have at their left and right.

    Returns:
        The `LineType` that most of each lane has on each side, `[2, lane]`; the width at each point; for each lane,
        whether it is known.
    """
    count, size = len(centre), len(centre.points)
    place, starts = centre.points[:, :2], centre.starts.tolist()
    paint = np.zeros((2, size), np.int64)
    named: list[list[tuple[int, int, int, int]]] = [[] for _ in bodies]
    bounded = np.zeros((2, size), bool)
    for k, body in enumerate(bodies):
        for side, segments in enumerate((body.left_boundaries, body.right_boundaries)):
            for segment in segments:
                first, end = (starts[k] + i for i in _range(segment, starts[k + 1] - starts[k]))
                kind, j = coded(LINE, segment.boundary_type), boundaries.index.get(segment.boundary_feature_id)
                if j is not None and first < end:
                    kind = boundaries.paint[j] if boundaries.paint[j] == LineType.NONE or not kind else kind
                    bounded[side, first:end] = True
                    named[k].append((side, first, end, j))
                paint[side, first:end] = kind
    lane = np.repeat(np.arange(count), np.diff(centre.starts))
    kinds = len(LineType)
    main = [np.bincount(lane * kinds + p, minlength=count * kinds).reshape(count, kinds).argmax(1) for p in paint]
    known = 2 * np.bincount(lane[bounded.all(0)], minlength=count) >= np.diff(centre.starts)
    gap = np.full((2, size), np.inf)
    budget = DISTANCES
    for k in np.flatnonzero(known).tolist():
        for side, first, end, j in named[k]:
            budget -= (end - first) * boundaries.lines.size(j)
            if budget < 0:
                raise InvalidData(f"lane {centre.ids[k]}: the map asks for over {DISTANCES} distances to boundaries")
            gap[side, first:end] = np.minimum(gap[side, first:end], boundaries.lines.to(j, place[first:end]))
    width = gap.sum(0)
    for k in np.flatnonzero(known).tolist():
        own = width[starts[k] : starts[k + 1]]
        measured = np.flatnonzero(np.isfinite(own))
        if len(measured) < len(own):
            own[:] = np.interp(np.arange(len(own)), measured, own[measured])
    return np.array(main), np.where(known[lane], width, 0.0), known


def _lanes(bodies: list[Any], centre: Polylines, index: dict[int, int], boundaries: _Boundaries) -> Lanes:
    """Lanes with their graph and what bounds them.

    The width at a point is the sum of its distances to the left and to the right boundary, in the plane. It counts as
    known for a lane if at least half of its points have both; between and beyond these it is interpolated.
    """
    main, width, width_known = _sides(bodies, centre, boundaries)
    limit = np.array([body.speed_limit_mph for body in bodies]).reshape(len(bodies))
    limit = np.where((limit > 0) & (limit <= FASTEST_MPH), limit * METRES_A_SECOND, np.nan)

    def neighbours(name: str):
        for k, body in enumerate(bodies):
            for other in getattr(body, name):
                if other.feature_id in index:
                    yield k, index[other.feature_id]

    exits = [(k, index[other]) for k, body in enumerate(bodies) for other in body.exit_lanes if other in index]
    entries = [(index[other], k) for k, body in enumerate(bodies) for other in body.entry_lanes if other in index]
    kinds = np.array([coded(LANE, body.type) for body in bodies], np.int8)
    return build.lanes(
        dataclasses.replace(centre, kind=kinds),
        width=width,
        width_known=width_known,
        speed_limit=limit,
        left_boundary=main[0],
        right_boundary=main[1],
        successors=exits + entries,
        left_neighbours=neighbours("left_neighbors"),
        right_neighbours=neighbours("right_neighbors"),
    )
