"""Reads scenes of the Waymo Open Motion Dataset as JSON, in the form of GPUDrive and, before it, Nocturne.

One file is one scene of 0.1 s steps: `objects` with a list per quantity, `roads` with a geometry each, `tl_states` by
lane, and in newer files `scenario_id`, `metadata`, `z`, `height` and ids. Steps that are not valid hold garbage
(-10000 or 0.0001). Headings are in degrees in older files and in radians in newer ones; see `headings.py`. There is no
lane graph in these files: it is found from geometry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios import build
from mairl.scenarios.headings import in_radians
from mairl.scenarios.lane_graph import WORLD, lane_graph
from mairl.scenarios.readers import HEAD
from mairl.scenarios.schema import (
    AgentType,
    Polylines,
    RoadMap,
    Roles,
    Scenario,
    Signals,
    StopSigns,
    Tracks,
)
from mairl.scenarios.validate import validated
from mairl.scenarios.waymo_codes import AGENT, EDGE, LANE, LINE, SIGNAL, coded

FORMAT = "gpudrive"
NAMES = r".+\.json"

LARGEST = 1 << 29
"""Bytes of a file; real ones have up to some ten million."""

AGENTS = dict(zip(("unset", "vehicle", "pedestrian", "cyclist", "other"), AGENT, strict=True))

ROADS = {"lane": (0, LANE), "road_line": (5, LINE), "road_edge": (14, EDGE)}
"""By `type`: the first `map_element_id` of the group, and what the codes from there on mean."""

POLYGONS = ("crosswalk", "speed_bump", "driveway")

LIGHTS = {code.name.lower(): code for code in SIGNAL}
"""Files name lights in small letters, or by the dataset's code."""


def knows(head: bytes) -> bool:
    """Whether a file that begins with `head` is such a scene."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    names = (b'"objects"', b'"roads"', b'"tl_states"')
    return text[:1] == b"{" and any(
        text[at + len(name) :].lstrip()[:1] == b":" for name in names if (at := text.find(name)) >= 0
    )


def other(path: Path) -> bool:
    """Whether a file is whole JSON without anything of a scene."""
    try:
        with path.open("rb") as file:
            if knows(file.read(HEAD)) or path.stat().st_size > LARGEST:
                return False
            file.seek(0)
            data = json.load(file)
    except (OSError, ValueError, RecursionError):
        return False
    return not (isinstance(data, dict) and {"objects", "roads", "tl_states"} & set(data))


def read(path: Path) -> Iterator[Scenario | InvalidData]:
    """The file's scene, or what is wrong with it. Raises nothing.

    `notes` holds `name`, `heading_unit` and how it was found, and where the file has them `goal_position` and
    `mark_as_expert` (a list over agents), `difficulty` (by the id of a track to predict) and `empty_roads` (how many
    had no points and were left out). Goals are the file's: some files keep them in another frame than the positions.
    """
    try:
        found: Scenario | InvalidData = _scenario(path, _parsed(path))
    except InvalidData as error:
        found = InvalidData(f"{path}: {error}")
    except OSError as error:
        found = InvalidData(f"{path} cannot be read: {error.strerror or type(error).__name__}")
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        found = InvalidData(f"{path} is damaged ({type(error).__name__}: {reason}): convert it again")
    yield found


def _parsed(path: Path) -> dict:
    size = path.stat().st_size
    if size > LARGEST:
        raise InvalidData(f"it has {size} bytes, expected at most {LARGEST}: is it one scene?")
    try:
        top = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=_object)
    except RecursionError as error:
        raise InvalidData("it is nested too deep: no scene is") from error
    except ValueError as error:
        raise InvalidData(f"it is cut or no JSON ({' '.join(str(error).split())[:120]}): convert it again") from error
    return _a(top, dict, "the file")


def _object(pairs: list) -> dict:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise InvalidData(f"it has an object with two values of {double[:60]!r}: keep one")
    return made


def _a(value: Any, kind: type, field: str) -> Any:
    """The value, which must be of this type."""
    if type(value) is not kind:
        raise InvalidData(f"{field} is of type {type(value).__name__}, expected {kind.__name__}")
    return value


def _get(record: Mapping, name: str, kind: type, where: str) -> Any:
    if name not in record:
        raise InvalidData(f"{where} lacks {name!r}")
    return _a(record[name], kind, f"{where}.{name}")


def _numbers(values: list, field: str) -> np.ndarray:
    """Float64 from a list that must hold numbers only."""
    if not set(map(type, values)) <= {int, float}:
        wrong = next(v for v in values if type(v) not in (int, float))
        raise InvalidData(f"{field} holds a {type(wrong).__name__}, expected numbers")
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        raise InvalidData(f"{field} holds a number beyond all coordinates") from error


def _points(points: list, names: str, field: str) -> np.ndarray:
    """`[point, len(names)]` from objects with these keys."""
    if not set(map(type, points)) <= {dict}:
        raise InvalidData(f"{field} holds something else than points")
    try:
        return _numbers([p[name] for p in points for name in names], field).reshape(-1, len(names))
    except KeyError as error:
        raise InvalidData(f"{field} has a point without {error.args[0]!r}") from error


def _with_z(points: list) -> bool:
    return all(type(p) is dict and "z" in p for p in points)


def _scenario(path: Path, top: dict) -> Scenario:
    objects, roads = (_get(top, name, list, "the file") for name in ("objects", "roads"))
    if not objects:
        raise InvalidData("objects is empty: a scene has at least one")
    notes: dict = {"name": _a(top["name"], str, "name")} if "name" in top else {}
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below, in words
        tracks, notes["heading_unit"] = _tracks(objects)
        road, empty = _map(roads)
        if empty:
            notes["empty_roads"] = empty
        steps = tracks.valid.shape[1]
        lights = top["tl_states"] if top.get("tl_states") else {}
        roles = _roles(_a(top.get("metadata") or {}, dict, "metadata"), tracks.ids, notes)
        _agent_notes(objects, notes)
        name = _a(top.get("scenario_id") or path.stem, str, "scenario_id")
        signals = _signals(_a(lights, dict, "tl_states"), road.lanes.centre, steps)
        made = Scenario(name, FORMAT, 0.1, min(10, steps - 1), np.zeros(3), tracks, roles, road, signals, notes)
        return validated(build.recentred(made))


def _tracks(objects: list) -> tuple[Tracks, str]:
    count = len(objects)
    steps = len(_get(_a(objects[0], dict, "objects[0]"), "valid", list, "objects[0]"))
    # Before anything is allocated: every list is as long as the arrays will be.
    for k, record in enumerate(objects):
        for name in ("valid", "position", "velocity", "heading"):
            values = _get(_a(record, dict, f"objects[{k}]"), name, list, f"objects[{k}]")
            if len(values) != steps:
                raise InvalidData(f"objects[{k}].{name} has {len(values)} steps, expected {steps}")
    z_known = all(_with_z(record["position"]) for record in objects)
    axes = "xyz" if z_known else "xy"
    position, velocity = np.zeros((count, steps, 3)), np.zeros((count, steps, 2))
    heading, size = np.zeros((count, steps)), np.zeros((count, steps, 3))
    valid, kind = np.zeros((count, steps), bool), np.zeros(count, np.int8)
    for k, record in enumerate(objects):
        where = f"objects[{k}]"
        if not all(type(v) is bool or (type(v) is int and v in (0, 1)) for v in record["valid"]):
            raise InvalidData(f"{where}.valid holds something else than true and false")
        valid[k] = record["valid"]
        position[k, :, : len(axes)] = _points(record["position"], axes, f"{where}.position")
        velocity[k] = _points(record["velocity"], "xy", f"{where}.velocity")
        heading[k] = _numbers(record["heading"], f"{where}.heading")
        for axis, name in enumerate(("length", "width", "height")):
            if name in record:
                size[k, :, axis] = _extent(record[name], steps, f"{where}.{name}")
        name = _get(record, "type", str, where)
        if name not in AGENTS:
            raise InvalidData(f"{where}.type is {name[:40]!r}, expected one of {', '.join(AGENTS)}")
        kind[k] = AGENTS[name]
    wrong = np.argwhere(valid & ~(np.abs(position) < WORLD).all(-1))
    if len(wrong):
        raise InvalidData(
            f"objects[{wrong[0][0]}].position is not finite or beyond {WORLD:.0e} m at step {wrong[0][1]}"
        )
    counted = valid & np.isin(kind, [AgentType.VEHICLE, AgentType.CYCLIST])[:, None]
    heading, unit = in_radians(heading, velocity, counted)
    # Some tracks have a size of 0: nobody measured them.
    known = np.logical_and(np.all((size > 0) | ~valid[..., None], axis=1), np.any(size > 0, axis=1))
    size = np.where(np.expand_dims(known, 1) | ~np.isfinite(size), size, 0.0)
    ids = _ids(objects, "objects")
    return Tracks(position, heading, velocity, size, known, valid, kind, ids, z_known), unit


def _extent(value: Any, steps: int, field: str) -> np.ndarray:
    """One number, or one a step."""
    values = _numbers(value if type(value) is list else [value], field)
    if len(values) not in (1, steps):
        raise InvalidData(f"{field} has {len(values)} steps, expected {steps}")
    if (values < 0).any():
        raise InvalidData(f"{field} is negative ({values.min():.6g} m)")
    return values


def _ids(records: list, field: str) -> tuple[str, ...]:
    """The records' own, or their places where none has one."""
    named = [k for k, record in enumerate(records) if "id" in record]
    if not named:
        return tuple(str(k) for k in range(len(records)))
    if len(named) != len(records):
        raise InvalidData(f"{field}: {len(named)} of {len(records)} have an id, expected all or none")
    if not {type(record["id"]) for record in records} <= {int, str}:
        raise InvalidData(f"{field} has an id that is neither a whole number nor text")
    return tuple(str(record["id"]) for record in records)


def _map(roads: list) -> tuple[RoadMap, int]:
    known = (*ROADS, *POLYGONS, "stop_sign")
    groups: dict[str, list] = {name: [] for name in known}
    empty = 0
    for k, record in enumerate(roads):
        where = f"roads[{k}]"
        name = _get(_a(record, dict, where), "type", str, where)
        if name not in groups:
            raise InvalidData(f"{where}.type is {name[:40]!r}, expected one of {', '.join(known)}")
        if type(record.get("geometry")) is dict:
            record = {**record, "geometry": [record["geometry"]]}
        points = _get(record, "geometry", list, where)
        empty += not points
        if points:
            xyz = _points(points, "xyz" if _with_z(points) else "xy", f"{where}.geometry")
            if name in POLYGONS and len(xyz) > 1 and (xyz[0] == xyz[-1]).all():
                xyz = xyz[:-1]
            groups[name].append((record, xyz, _kind(record, name, where)))

    def group(name: str) -> Polylines:
        return build.polylines(
            [xyz for _, xyz, _ in groups[name]],
            _ids([record for record, _, _ in groups[name]], f"roads of type {name!r}"),
            [kind for _, _, kind in groups[name]],
        )

    centre, signs = group("lane"), group("stop_sign")
    first = signs.points[signs.starts[:-1]]
    found = lane_graph(centre)
    return RoadMap(
        build.lanes(
            centre,
            successors=map(tuple, found.successors.tolist()),
            left_neighbours=map(tuple, found.left_neighbours.tolist()),
            right_neighbours=map(tuple, found.right_neighbours.tolist()),
            graph_from_source=False,
        ),
        group("road_edge"),
        group("road_line"),
        group("crosswalk"),
        group("speed_bump"),
        group("driveway"),
        StopSigns(first, signs.ids, build.pairs([])),
    ), empty


def _kind(record: Mapping, name: str, where: str) -> int:
    """The code in the group's enumeration; 0, unknown, where the file does not say."""
    code = record.get("map_element_id", -1)
    if type(code) is not int:
        raise InvalidData(f"{where}.map_element_id is of type {type(code).__name__}, expected a whole number")
    if name not in ROADS or code == -1:
        return 0
    first, codes = ROADS[name]
    if not first <= code < first + len(codes):
        last = first + len(codes) - 1
        raise InvalidData(f"{where}.map_element_id is {code}, which no {name} has ({first} to {last})")
    return coded(codes, code - first)


def _roles(metadata: Mapping, ids: tuple[str, ...], notes: dict) -> Roles:
    def index(value: Any, field: str) -> int:
        if type(value) is not int or not 0 <= value < len(ids):
            raise InvalidData(f"{field} is {str(value)[:40]}, expected the place of one of {len(ids)} objects")
        return value

    sdc = metadata.get("sdc_track_index")
    sdc = None if sdc is None or sdc == -1 else index(sdc, "metadata.sdc_track_index")
    predict = []
    for k, entry in enumerate(_a(metadata.get("tracks_to_predict") or [], list, "metadata.tracks_to_predict")):
        where = f"metadata.tracks_to_predict[{k}]"
        predict.append(index(_get(_a(entry, dict, where), "track_index", int, where), f"{where}.track_index"))
        if "difficulty" in entry:
            notes.setdefault("difficulty", {})[ids[predict[-1]]] = _get(entry, "difficulty", int, where)
    places = {name: k for k, name in enumerate(ids)}
    interest = []
    for entry in _a(metadata.get("objects_of_interest") or [], list, "metadata.objects_of_interest"):
        if type(entry) not in (int, str) or str(entry) not in places:
            raise InvalidData(f"metadata.objects_of_interest names {str(entry)[:40]}, which no object is called")
        interest.append(places[str(entry)])
    return build.roles(len(ids), sdc, predict, interest)


def _agent_notes(objects: list, notes: dict) -> None:
    if all("goalPosition" in record for record in objects):
        goals = [record["goalPosition"] for record in objects]
        points = _points(goals, "xyz" if _with_z(goals) else "xy", "objects.goalPosition")
        if not np.isfinite(points).all():
            raise InvalidData("objects.goalPosition is not finite somewhere")
        notes["goal_position"] = points.tolist()
    if all("mark_as_expert" in record for record in objects):
        notes["mark_as_expert"] = [_a(record["mark_as_expert"], bool, "mark_as_expert") for record in objects]


def _signals(lights: Mapping, centre: Polylines, steps: int) -> Signals:
    if not lights:
        return build.no_signals(steps)
    places = {name: k for k, name in enumerate(centre.ids)}
    count = len(lights)
    if count * steps > LARGEST:
        raise InvalidData(f"tl_states has {count} lights of {steps} steps: no scene has")
    state, point = np.zeros((count, steps), np.int8), np.zeros((count, 3))
    known = np.zeros(count, bool)
    for k, (lane, record) in enumerate(lights.items()):
        where = f"tl_states[{lane[:40]!r}]"
        shown = _get(_a(record, dict, where), "state", list, where)
        when = _get(record, "time_index", list, where)
        if len(shown) != len(when):
            raise InvalidData(f"{where} has {len(shown)} states at {len(when)} times")
        for value, step in zip(shown, when):
            if type(step) is not int or not 0 <= step < steps:
                raise InvalidData(f"{where}.time_index holds {str(step)[:40]}, expected steps 0 to {steps - 1}")
            if type(value) is int and 0 <= value < len(SIGNAL):
                state[k, step] = SIGNAL[value]
            elif type(value) is str and value in LIGHTS:
                state[k, step] = LIGHTS[value]
            else:
                raise InvalidData(f"{where}.state holds {str(value)[:40]!r}, expected one of {', '.join(LIGHTS)}")
        for axis, name in enumerate("xyz"):
            values = _numbers(_a(record.get(name, []), list, f"{where}.{name}"), f"{where}.{name}")
            point[k, axis] = values[0] if len(values) else 0.0
        known[k] = all(record.get(name) for name in "xy")
    lanes = np.array([places.get(lane, -1) for lane in lights])
    return Signals(np.maximum(lanes, 0).astype(np.int32), lanes >= 0, state, point, known)
