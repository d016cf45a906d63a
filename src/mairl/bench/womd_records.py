"""Scenarios as records of the Waymo Open Motion Dataset, so that importing can be timed without the dataset.

What a made-up scenario holds is written as the dataset writes it, boundaries of lanes included, which cost a reader
most. What the dataset has no place for (widths, notes) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mairl.scenarios.schema import Lanes, Polylines, RoadMap, Scenario, Tracks
from mairl.scenarios.waymo_codes import AGENT, EDGE, LANE, LINE, SIGNAL
from mairl.scenarios.waymo_map import METRES_A_SECOND
from mairl.scenarios.waymo_wire import MESSAGES


def record(scenario: Scenario) -> bytes:
    """The payload of a record; lanes, lines and all other features are numbered anew, in the order of the map."""
    message = MESSAGES["Scenario"](
        scenario_id=scenario.scenario_id.encode(),
        timestamps_seconds=(scenario.dt * np.arange(scenario.num_steps)).tolist(),
        current_time_index=scenario.current,
        objects_of_interest=np.flatnonzero(scenario.roles.of_interest).tolist(),
    )
    if scenario.roles.sdc is not None:
        message.sdc_track_index = scenario.roles.sdc
    for i in np.flatnonzero(scenario.roles.predict).tolist():
        message.tracks_to_predict.add(track_index=i)
    _tracks(message, scenario.tracks, scenario.offset)
    _map(message, scenario.map, scenario.offset)
    _signals(message, scenario)
    return message.SerializeToString()


def _tracks(message: Any, tracks: Tracks, offset: np.ndarray) -> None:
    for i in range(len(tracks)):
        track = message.tracks.add(id=i, object_type=AGENT.index(tracks.type[i]))
        values = np.concatenate(
            [tracks.position[i] + offset, tracks.size[i], tracks.heading[i][:, None], tracks.velocity[i]], axis=1
        )
        names = [field.name for field in MESSAGES["ObjectState"].DESCRIPTOR.fields[:-1]]
        for row, valid in zip(values.tolist(), tracks.valid[i].tolist(), strict=True):
            track.states.append(_encoded("ObjectState", valid=valid, **dict(zip(names, row, strict=True))))


def _map(message: Any, road: RoadMap, offset: np.ndarray) -> None:
    groups = [road.lanes.centre, road.lines, road.edges, road.crosswalks, road.speed_bumps, road.driveways]
    first = np.cumsum([0, *map(len, groups)]).tolist()
    features = [message.map_features.add(id=k) for k in range(first[-1])]
    _lanes(features[: first[1]], road, offset, first[1])
    for name, group, codes, start in (("road_line", road.lines, LINE, 1), ("road_edge", road.edges, EDGE, 2)):
        for k in range(len(group)):
            body = getattr(features[first[start] + k], name)
            body.type = codes.index(group.kind[k])
            body.polyline.extend(_points(group.line(k) + offset))
    for name, group, start in zip(("crosswalk", "speed_bump", "driveway"), groups[3:], first[3:], strict=False):
        for k in range(len(group)):
            getattr(features[start + k], name).polygon.extend(_points(group.line(k) + offset))
    signs = road.stop_signs
    for k, place in enumerate(signs.position + offset):
        sign = message.map_features.add(id=first[-1] + k).stop_sign
        sign.position = _points(place[None])[0]
        sign.lane.extend(signs.controls[signs.controls[:, 0] == k, 1].tolist())


def _lanes(features: Sequence[Any], road: RoadMap, offset: np.ndarray, first_line: int) -> None:
    lanes = road.lanes
    for k, feature in enumerate(features):
        body = feature.lane
        body.type = LANE.index(lanes.centre.kind[k])
        if lanes.speed_limit_known[k]:
            body.speed_limit_mph = float(lanes.speed_limit[k]) / METRES_A_SECOND
        body.polyline.extend(_points(lanes.centre.line(k) + offset))
    for start, end in lanes.successors.tolist():
        features[start].lane.exit_lanes.append(end)
        features[end].lane.entry_lanes.append(start)
    for name, pairs in (("left_neighbors", lanes.left_neighbours), ("right_neighbors", lanes.right_neighbours)):
        for lane, other in pairs.tolist():
            getattr(features[lane].lane, name).add(feature_id=other)
    for k, sides in enumerate(_beside(lanes, [road.lines, road.edges])):
        last = len(lanes.centre.line(k)) - 1
        for name, j in zip(("left_boundaries", "right_boundaries"), sides, strict=True):
            if j is not None:
                segment = getattr(features[k].lane, name).add(lane_end_index=last, boundary_feature_id=first_line + j)
                segment.boundary_type = LINE.index(road.lines.kind[j]) if j < len(road.lines) else 0


def _beside(lanes: Lanes, groups: Iterable[Polylines]) -> Iterable[tuple[int | None, int | None]]:
    """For each lane, which of the lines in all groups is nearest to its middle on the left and on the right."""
    parts = [group.line(k)[:, :2] for group in groups for k in range(len(group))]
    places = np.concatenate([np.zeros((0, 2)), *parts])
    which = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    for k in range(len(lanes)):
        line = lanes.centre.line(k)[:, :2]
        middle = max(1, len(line) // 2)
        ahead = line[middle] - line[middle - 1] if len(line) > 1 else np.array([1.0, 0.0])
        away = places - line[min(middle, len(line) - 1)]
        left = ahead[0] * away[:, 1] - ahead[1] * away[:, 0]
        far = np.hypot(*away.T)
        nearest = [np.where(side > 0, far, np.inf) for side in (left, -left)]
        first, second = (int(which[d.argmin()]) if np.isfinite(d).any() else None for d in nearest)
        yield first, second


def _signals(message: Any, scenario: Scenario) -> None:
    signals = scenario.signals
    for t in range(scenario.num_steps):
        now = message.dynamic_map_states.add()
        for k in np.flatnonzero(signals.lane_known).tolist():
            light = now.lane_states.add(lane=int(signals.lane[k]), state=SIGNAL.index(signals.state[k, t]))
            if signals.stop_point_known[k]:
                light.stop_point = _points(signals.stop_point[k][None] + scenario.offset)[0]


def _points(xyz: np.ndarray) -> list[bytes]:
    return [_encoded("MapPoint", x=x, y=y, z=z) for x, y, z in xyz.tolist()]


def _encoded(name: str, **fields: Any) -> bytes:
    return MESSAGES[name](**fields).SerializeToString()
