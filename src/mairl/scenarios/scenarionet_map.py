"""The map and the lights of a ScenarioNet scene."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.data.restricted_pickle import Array
from mairl.scenarios import build
from mairl.scenarios.lane_graph import lane_graph
from mairl.scenarios.scenarionet_values import get, mapping, numbers, plain, text
from mairl.scenarios.schema import (
    EdgeType,
    Lanes,
    LaneType,
    LineType,
    Polylines,
    RoadMap,
    Signals,
    SignalState,
    StopSigns,
)

MOST_POINTS = 3_000_000
"""Of a map: lists may be shared in a pickle, so that a small one could ask for much more."""

MOST_STATES = 50_000_000
"""Lights times steps."""

MOST_NAMES = 1_000_000
"""Of other lanes, in all lanes together."""

LANES = {
    "LANE_UNKNOWN": LaneType.UNKNOWN,
    "LANE_FREEWAY": LaneType.FREEWAY,
    "LANE_SURFACE_STREET": LaneType.STREET,
    "LANE_SURFACE_UNSTRUCTURE": LaneType.UNKNOWN,
    "LANE_BIKE_LANE": LaneType.BIKE,
}
LINES = {
    "UNKNOWN_LINE": LineType.UNKNOWN,
    "ROAD_LINE_UNKNOWN": LineType.UNKNOWN,
    "ROAD_LINE_BROKEN_SINGLE_WHITE": LineType.BROKEN_WHITE,
    "ROAD_LINE_SOLID_SINGLE_WHITE": LineType.SOLID_WHITE,
    "ROAD_LINE_SOLID_DOUBLE_WHITE": LineType.SOLID_DOUBLE_WHITE,
    "ROAD_LINE_BROKEN_SINGLE_YELLOW": LineType.BROKEN_YELLOW,
    "ROAD_LINE_BROKEN_DOUBLE_YELLOW": LineType.BROKEN_DOUBLE_YELLOW,
    "ROAD_LINE_SOLID_SINGLE_YELLOW": LineType.SOLID_YELLOW,
    "ROAD_LINE_SOLID_DOUBLE_YELLOW": LineType.SOLID_DOUBLE_YELLOW,
    "ROAD_LINE_PASSING_DOUBLE_YELLOW": LineType.PASSING_DOUBLE_YELLOW,
}
EDGES = {
    "UNKNOWN": EdgeType.UNKNOWN,
    "ROAD_EDGE_UNKNOWN": EdgeType.UNKNOWN,
    "ROAD_EDGE_BOUNDARY": EdgeType.BOUNDARY,
    "ROAD_EDGE_MEDIAN": EdgeType.MEDIAN,
}
GROUPS = {
    **dict.fromkeys(LANES, "lanes"),
    **dict.fromkeys(LINES, "lines"),
    **dict.fromkeys(EDGES, "edges"),
    "CROSSWALK": "crosswalks",
    "SPEED_BUMP": "speed_bumps",
    "DRIVEWAY": "driveways",
}
KINDS = {**LANES, **LINES, **EDGES}

LIGHTS = {
    **{f"LANE_STATE_{code.name}": code for code in SignalState},
    "TRAFFIC_LIGHT_UNKNOWN": SignalState.UNKNOWN,
    "TRAFFIC_LIGHT_RED": SignalState.STOP,
    "TRAFFIC_LIGHT_YELLOW": SignalState.CAUTION,
    "TRAFFIC_LIGHT_GREEN": SignalState.GO,
}

KMH, MPH = 1 / 3.6, 0.44704


def map_of(features: dict, notes: dict) -> RoadMap:
    """The map; what has no place in it is counted by type in `notes["left_out"]`."""
    groups: dict[str, list] = {name: [] for name in ("signs", *GROUPS.values())}
    left_out: Counter = Counter()
    total = 0
    for key, feature in features.items():
        name = text(key, "map_features")
        where = f"map_features[{name[:40]!r}]"
        kind = text(get(mapping(feature, where), "type", where), f"{where}.type")
        if kind == "STOP_SIGN":
            groups["signs"].append((name, feature, numbers(get(feature, "position", where), where, ((2, 3),)), 0))
            continue
        group = GROUPS.get(kind)
        if kind == "ROAD_LINE_SOLID_SINGLE_WHITE" and name.startswith("boundary_"):
            # The outline of all road surface, which some conversions call a painted line.
            group, kind = "edges", "ROAD_EDGE_BOUNDARY"
        field = (
            "polygon" if group in ("crosswalks", "speed_bumps", "driveways") and "polygon" in feature else "polyline"
        )
        if group is None or field not in feature:
            left_out[kind] += 1
            continue
        points = numbers(feature[field], f"{where}.{field}", (None, (2, 3)))
        if field == "polygon" and len(points) > 1 and (points[0] == points[-1]).all():
            points = points[:-1]
        total += len(points)
        if total > MOST_POINTS:
            raise InvalidData(f"map_features has more than {MOST_POINTS} points")
        if len(points):
            groups[group].append((name, feature, points, int(KINDS.get(kind, 0))))
        else:
            left_out[f"{kind} without points"] += 1
    if left_out:
        notes["left_out"] = dict(left_out)
    if _third_is_direction([points for _, _, points, _ in groups["lanes"]]):
        groups["lanes"] = [(name, feature, points[:, :2], kind) for name, feature, points, kind in groups["lanes"]]

    def group_of(name: str) -> Polylines:
        entries = groups[name]
        return build.polylines([e[2] for e in entries], [e[0] for e in entries], [e[3] for e in entries])

    lanes = _lanes(group_of("lanes"), [feature for _, feature, _, _ in groups["lanes"]], notes)
    places = {name: k for k, name in enumerate(lanes.centre.ids)}
    signs = [np.pad(points, (0, 3 - len(points))) for _, _, points, _ in groups["signs"]]
    return RoadMap(
        lanes,
        group_of("edges"),
        group_of("lines"),
        group_of("crosswalks"),
        group_of("speed_bumps"),
        group_of("driveways"),
        StopSigns(
            np.array(signs).reshape(-1, 3),
            tuple(name for name, _, _, _ in groups["signs"]),
            build.pairs(
                (k, places[other])
                for k, (_, feature, _, _) in enumerate(groups["signs"])
                for other in _names(feature.get("lane"), "lane")
                if other in places
            ),
        ),
    )


def _third_is_direction(lines: list[np.ndarray]) -> bool:
    """Whether the third number of the points is the line's direction: as an angle it follows it within 0.1 rad."""
    off, third = [], []
    for line in lines:
        if line.shape[1] == 3 and len(line) > 2:
            ahead = np.diff(line[:, :2], axis=0)
            angle = np.arctan2(ahead[:, 1], ahead[:, 0])
            off.append(np.abs((angle - line[:-1, 2] + np.pi) % (2 * np.pi) - np.pi))
            third.append(line[:, 2])
    # Heights of less than half a metre could be angles of straight roads along +x.
    return bool(off) and np.ptp(np.concatenate(third)) > 0.5 and bool(np.median(np.concatenate(off)) < 0.1)


def _lanes(centre: Polylines, features: list[dict], notes: dict) -> Lanes:
    places = {name: k for k, name in enumerate(centre.ids)}
    relations = ("exit_lanes", "entry_lanes", "left_neighbor", "right_neighbor")

    def related(relation: str) -> list[tuple[int, int]]:
        return [
            (k, places[other])
            for k, feature in enumerate(features)
            for other in _names(feature.get(relation), relation)
            if other in places and places[other] != k
        ]

    each = (
        other for feature in features for relation in relations for other in _names(feature.get(relation), relation)
    )
    if next(itertools.islice(each, MOST_NAMES, None), None) is not None:
        raise InvalidData(f"its lanes name more than {MOST_NAMES} others")
    from_source = any(bool(feature.get(name)) for feature in features for name in relations)
    width, known, limits, sides = np.zeros(len(centre.points)), np.zeros(len(centre), bool), [], []
    for k, feature in enumerate(features):
        start, stop = centre.starts[k : k + 2]
        if isinstance(feature.get("width"), Array):
            halves = numbers(feature["width"], f"lane {centre.ids[k][:40]!r}.width", (int(stop - start), 2))
            width[start:stop] = np.maximum(np.nan_to_num(halves), 0).sum(1)
            known[k] = (width[start:stop] > 0).all()
        limits.append(_limit(feature, centre.ids[k]))
        sides.append([_boundary(feature.get(f"{side}_boundaries")) for side in ("left", "right")])
    if notes.get("dataset") == "nuscenes":
        limits = [np.nan] * len(limits)
    sides = np.array(sides, np.int8).reshape(-1, 2)
    graph = None if from_source else lane_graph(centre)
    if graph is None:
        successors = related("exit_lanes") + [(i, k) for k, i in related("entry_lanes")]
        left, right = related("left_neighbor"), related("right_neighbor")
    else:
        found = (graph.successors, graph.left_neighbours, graph.right_neighbours)
        successors, left, right = ([(int(i), int(k)) for i, k in pairs] for pairs in found)
    return build.lanes(
        centre,
        width=width,
        width_known=known,
        speed_limit=np.array(limits, np.float64),
        left_boundary=sides[:, 0],
        right_boundary=sides[:, 1],
        successors=successors,
        left_neighbours=left,
        right_neighbours=right,
        graph_from_source=from_source,
    )


def _limit(feature: dict, name: str) -> float:
    """Metres a second; NaN where it is not said or 0."""
    for key, unit in (("speed_limit_kmh", KMH), ("speed_limit_mph", MPH)):
        value = feature.get(key)
        if value is not None:
            limit = float(numbers([value], f"lane {name[:40]!r}.{key}", (1,))[0]) * unit
            if not 0 <= limit < 200:
                raise InvalidData(f"lane {name[:40]!r}.{key} is {value:.6g}, expected 0 to 200 m/s")
            return limit if limit > 0 else np.nan
    return np.nan


def _boundary(parts: Any) -> int:
    """The line that bounds most of the lane's points on one side."""
    longest: Counter = Counter()
    for part in parts if type(parts) is list else ():
        if type(part) is dict and type(part.get("boundary_type")) is str and part["boundary_type"] in LINES:
            span = [int(str(part.get(key, 0))[:12]) for key in ("lane_start_index", "lane_end_index")]
            longest[LINES[part["boundary_type"]]] += max(span[1] - span[0], 0) + 1
    return int(longest.most_common(1)[0][0]) if longest else 0


def _names(value: Any, field: str) -> Iterator[str]:
    """Names out of a list of names, of one, or of descriptions with a `feature_id`."""
    value = plain(value)
    if value is None:
        return
    if type(value) in (str, int):
        value = [value]
    if type(value) not in (list, tuple, set):
        raise InvalidData(f"map_features has a {field} of type {type(value).__name__}, expected names")
    for entry in value:
        entry = entry.get("feature_id") if type(entry) is dict else entry
        if entry is not None:
            yield text(entry, field)


def signals_of(lights: dict, centre: Polylines, steps: int) -> Signals:
    """The lights, by the lanes that they control."""
    if not lights:
        return build.no_signals(steps)
    count = len(lights)
    if count * steps > MOST_STATES:
        raise InvalidData(f"dynamic_map_states has {count} lights of {steps} steps: no scene has")
    places = {name: k for k, name in enumerate(centre.ids)}
    state, point = np.zeros((count, steps), np.int8), np.zeros((count, 3))
    lane, known = np.zeros(count, np.int32), np.zeros((count, 2), bool)
    for k, (key, light) in enumerate(lights.items()):
        name = text(key, "dynamic_map_states")
        where = f"dynamic_map_states[{name[:40]!r}]"
        shown = plain(get(mapping(get(mapping(light, where), "state", where), where), "object_state", where))
        if type(shown) not in (list, tuple) or len(shown) != steps:
            raise InvalidData(f"{where}.state.object_state has not the {steps} steps of the scene")
        for step, word in enumerate(shown):
            if word is not None and (type(word) is not str or word not in LIGHTS):
                raise InvalidData(f"{where}.state.object_state holds {str(word)[:40]!r}, expected {', '.join(LIGHTS)}")
            state[k, step] = 0 if word is None else LIGHTS[word]
        place = places.get(text(light["lane"], where) if light.get("lane") is not None else name)
        lane[k], known[k, 0] = (0, False) if place is None else (place, True)
        if light.get("stop_point") is not None:
            stop = numbers(light["stop_point"], f"{where}.stop_point", ((2, 3),))
            point[k, : len(stop)], known[k, 1] = stop, True
    return Signals(lane, known[:, 0], state, point, known[:, 1])
