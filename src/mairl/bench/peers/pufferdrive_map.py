"""Scenarios as the binary maps that PufferDrive 2 reads.

A map is a run of little-endian 4-byte values: the recording vehicle's index (-1: none), how many tracks are to be
predicted and their indices, how many objects and how many roads there are, then each object and each road:

    map number, type, id, n
    x[n], y[n], z[n]
    objects only: vx[n], vy[n], vz[n], heading[n], valid[n] (int)
    width, length, height, goal x, goal y, goal z, expert (int)

Types are 1 vehicle, 2 pedestrian, 3 cyclist, 4 lane, 5 road line, 6 road edge, 7 stop sign, 8 crosswalk, 9 speed bump,
10 driveway. Where an object was not seen its position is -10,000.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mairl.scenarios.schema import AgentType, Scenario

UNSEEN = -10_000.0

LEAST_AREA = 0.1
"""m²; PufferDrive's maps leave out points of lines that span less with their neighbours."""

SHORT = 10
"""Lines of at most so many points are left as they are."""


def thinned(line: np.ndarray) -> np.ndarray:
    """A line `[n, 3]` without the points that hardly bend it: those that span less than `LEAST_AREA` with their
    neighbours, every second one of each run at a time, until none is left (Visvalingam and Whyatt 1993, in rounds)."""
    while len(line) > 2:
        before, after = line[1:-1, :2] - line[:-2, :2], line[2:, :2] - line[1:-1, :2]
        small = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) / 2 < LEAST_AREA
        if not small.any():
            break
        place = np.arange(len(small))
        last_large = np.maximum.accumulate(np.where(small, -1, place))
        drop = small & ((place - last_large) % 2 == 1)
        line = line[np.concatenate([[True], ~drop, [True]])]
    return line


def map_bytes(scenario: Scenario, number: int = 0) -> bytes:
    """The scenario as such a map. Agents of other types are left out; goals are the last positions seen."""
    tracks = scenario.tracks
    kept = np.flatnonzero((tracks.type != AgentType.OTHER) & tracks.valid.any(1))
    place = {int(agent): k for k, agent in enumerate(kept)}
    predict = [place[int(a)] for a in np.flatnonzero(scenario.roles.predict) if int(a) in place]
    sdc = -1 if scenario.roles.sdc is None else place.get(scenario.roles.sdc, -1)
    roads = _roads(scenario)
    parts = [_ints(sdc, len(predict), *predict, len(kept), len(roads))]
    experts = scenario.notes.get("mark_as_expert", [False] * len(tracks))
    for k, agent in enumerate(kept):
        valid = tracks.valid[agent]
        seen = np.flatnonzero(valid)
        xyz = np.where(valid[:, None], tracks.position[agent], UNSEEN)
        velocity = np.pad(tracks.velocity[agent], ((0, 0), (0, 1)))
        length, width, height = tracks.size[agent, seen[0]]
        parts += [
            _ints(number, tracks.type[agent], k, len(valid)),
            _floats(xyz.T, velocity.T, tracks.heading[agent]),
            _ints(*valid),
            _floats(width, length, height, tracks.position[agent, seen[-1]]),
            _ints(experts[agent]),
        ]
    for k, (kind, line) in enumerate(roads):
        parts += [_ints(number, kind, k, len(line)), _floats(line.T, np.zeros(6)), _ints(0)]
    return b"".join(parts)


def write_map(scenario: Scenario, path: Path, number: int = 0) -> tuple[int, int]:
    """Writes the map; returns how many objects and roads it says it holds."""
    made = map_bytes(scenario, number)
    path.write_bytes(made)
    header = np.frombuffer(made, "<i4", 2)
    objects, roads = np.frombuffer(made, "<i4", 2, offset=4 * (2 + int(header[1])))
    return int(objects), int(roads)


def _roads(scenario: Scenario) -> list[tuple[int, np.ndarray]]:
    road = scenario.map
    lines = [(4, road.lanes.centre), (5, road.lines), (6, road.edges)]
    polygons = [(8, road.crosswalks), (9, road.speed_bumps), (10, road.driveways)]
    made = [(kind, group.line(k)) for kind, group in lines for k in range(len(group))]
    made = [(kind, thinned(line) if len(line) > SHORT else line) for kind, line in made]
    made += [(7, sign[None]) for sign in road.stop_signs.position]
    return made + [(kind, group.line(k)) for kind, group in polygons for k in range(len(group))]


def _ints(*values) -> bytes:
    return np.asarray(values, "<i4").tobytes()


def _floats(*values) -> bytes:
    return np.concatenate([np.ravel(value) for value in values]).astype("<f4").tobytes()
