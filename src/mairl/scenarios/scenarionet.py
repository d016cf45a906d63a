"""Reads ScenarioNet's pickles: one scene a file, as nested dictionaries of arrays.

The pickle is read as data (`restricted_pickle.py`): nothing in it is executed. Waymo scenes carry a lane graph, lights
and boundaries; nuScenes ones none of these, so that their graph is found from geometry. Known faults of the nuScenes
conversion are put right, and said in `notes`: the third number of a centreline's point is its direction, not z; every
speed limit is a placeholder; the recording car's length and width are swapped and its z is 0; velocities are zero at
the last step before a track is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.data.restricted_pickle import CONTAINERS, NUMPY, loads
from mairl.scenarios import build
from mairl.scenarios.headings import in_radians
from mairl.scenarios.lane_graph import WORLD
from mairl.scenarios.scenarionet_map import map_of, signals_of
from mairl.scenarios.scenarionet_values import get, mapping, numbers, plain, text
from mairl.scenarios.schema import AgentType, Roles, Scenario, Tracks
from mairl.scenarios.validate import validated

FORMAT = "scenarionet"
NAMES = r"(?!dataset_(summary|mapping)\.pkl).+\.pkl"
"""The two are a data set's tables of contents."""

LONGEST = 100
"""Letters of a kind of vehicle that are kept."""

MOST_STATES = 5_000_000
"""Agents times steps: arrays may be shared in a pickle, so that a small one could ask for much more."""

AGENTS = {"VEHICLE": AgentType.VEHICLE, "PEDESTRIAN": AgentType.PEDESTRIAN, "CYCLIST": AgentType.CYCLIST}
"""Everything else, such as cones and barriers, is `OTHER`; `notes["types"]` keeps the source's words."""

FACTS = ("dataset", "map", "date", "coordinate", "scenario_token", "source_file")
"""What of the metadata goes to the notes, where it is text."""


def knows(head: bytes) -> bool:
    """Whether a file that begins with `head` is a binary pickle with at least two of a scene's names."""
    names = (
        b"version",
        b"length",
        b"tracks",
        b"map_features",
        b"dynamic_map_states",
        b"state",
        b"position",
        b"polyline",
    )
    found = sum(
        any(size + name in head for size in (bytes([len(name)]), len(name).to_bytes(4, "little"))) for name in names
    )
    return head[:1] == b"\x80" and 2 <= int.from_bytes(head[1:2], "little") <= 5 and found >= 2


def read(path: Path) -> Iterator[Scenario | InvalidData]:
    """The file's scene, or what is wrong with it. Raises nothing."""
    try:
        top = loads(path.read_bytes(), {**NUMPY, **CONTAINERS})
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused in words
            found: Scenario | InvalidData = _scenario(path, mapping(top, "the file"))
    except InvalidData as error:
        found = InvalidData(f"{path}: {error}")
    except OSError as error:
        found = InvalidData(f"{path} cannot be read: {error.strerror or type(error).__name__}")
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        found = InvalidData(f"{path} is damaged ({type(error).__name__}: {reason}): convert it again")
    yield found


def _scenario(path: Path, top: dict) -> Scenario:
    metadata = mapping(top.get("metadata", {}), "metadata")
    steps = get(top, "length", "the file")
    if type(steps) is not int or steps < 1:
        raise InvalidData(f"length is {str(steps)[:40]}, expected a number of steps")
    notes: dict = {name: metadata[name] for name in FACTS if type(metadata.get(name)) is str}
    dt = _dt(metadata, steps)
    records = mapping(get(top, "tracks", "the file"), "tracks")
    ids = tuple(text(name, "tracks") for name in records)
    roles = _roles(metadata, ids, notes)
    tracks = _tracks(records, ids, steps, dt, roles.sdc, notes)
    road = map_of(mapping(get(top, "map_features", "the file"), "map_features"), notes)
    lights = mapping(top.get("dynamic_map_states") or {}, "dynamic_map_states")
    signals = signals_of(lights, road.lanes.centre, steps)
    current = metadata.get("current_time_index", min(10, steps - 1))
    if type(current) is not int:
        raise InvalidData(f"metadata.current_time_index is of type {type(current).__name__}, expected a whole number")
    name = metadata.get("scenario_id") or top.get("id") or path.stem
    made = Scenario(text(name, "id"), FORMAT, dt, current, np.zeros(3), tracks, roles, road, signals, notes)
    return validated(build.recentred(made))


def _dt(metadata: dict, steps: int) -> float:
    """The mean time between steps, seconds, to the millisecond: what time stamps jitter by cancels out."""
    if metadata.get("ts") is None:
        return float(numbers([metadata.get("sample_rate", 0.1)], "metadata.sample_rate", (1,))[0])
    stamps = numbers(metadata["ts"], "metadata.ts", (steps,))
    if steps == 1:
        return 0.1
    gaps = np.diff(stamps)
    dt = round(float(gaps.mean()), 3)
    if not np.isfinite(gaps).all() or dt <= 0 or (np.abs(gaps - dt) > 0.2 * dt).any():
        raise InvalidData(f"metadata.ts has steps of {gaps.min():.4g} to {gaps.max():.4g} s, expected even ones")
    return dt


def _tracks(records: dict, ids: tuple, steps: int, dt: float, sdc: int | None, notes: dict) -> Tracks:
    count = len(records)
    if count * steps > MOST_STATES:
        raise InvalidData(f"it has {count} tracks of {steps} steps, expected at most {MOST_STATES} states")
    position, velocity = np.zeros((count, steps, 3)), np.zeros((count, steps, 2))
    heading, size = np.zeros((count, steps)), np.zeros((count, steps, 3))
    valid, kind, types = np.zeros((count, steps), bool), np.zeros(count, np.int8), []
    z_known = True
    for k, (name, record) in enumerate(zip(ids, records.values())):
        where = f"tracks[{name[:40]!r}]"
        state = mapping(get(mapping(record, where), "state", where), f"{where}.state")
        points = numbers(get(state, "position", where), f"{where}.state.position", (steps, (2, 3)))
        position[k, :, : points.shape[1]] = points
        z_known &= points.shape[1] == 3
        velocity[k] = numbers(get(state, "velocity", where), f"{where}.state.velocity", (steps, 2))
        flags = numbers(get(state, "valid", where), f"{where}.state.valid", (steps,))
        if not np.isin(flags, (0, 1)).all():
            raise InvalidData(f"{where}.state.valid holds something else than 0 and 1")
        heading[k], valid[k] = numbers(get(state, "heading", where), f"{where}.state.heading", (steps,)), flags > 0
        for axis, extent in enumerate(("length", "width", "height")):
            if state.get(extent) is not None:
                size[k, :, axis] = numbers(state[extent], f"{where}.state.{extent}", (steps,))
        word = text(get(record, "type", where), f"{where}.type")
        kind[k] = AGENTS.get(word, AgentType.OTHER)
        more = record.get("metadata")
        more = more.get("type") if type(more) is dict else None
        types.append(more[:LONGEST] if type(more) is str else word)
    notes["types"] = types
    wrong = np.argwhere(valid & ~(np.abs(position) < WORLD).all(-1))
    if len(wrong):
        where = f"tracks[{ids[wrong[0][0]][:40]!r}]"
        raise InvalidData(f"{where}.state.position is not finite or beyond {WORLD:.0e} m at step {wrong[0][1]}")
    if (size[valid] < 0).any():
        raise InvalidData("a track's length, width or height is negative at a valid step")
    counted = valid & np.isin(kind, [AgentType.VEHICLE, AgentType.CYCLIST])[:, None]
    unit = in_radians(heading, velocity, counted)[1]
    if unit == "degrees by motion":
        raise InvalidData("its headings fit the motion in degrees, but the format has radians: convert it again")
    if sdc is not None and notes.get("dataset") == "nuscenes":
        z_known = _recorder_put_right(position, size, valid, sdc, z_known, notes)
    notes["velocities_filled"] = _fill_last_velocities(position, velocity, valid, dt)
    known = np.logical_and(np.all((size > 0) | ~valid[..., None], axis=1), np.any(size > 0, axis=1))
    size = np.where(np.expand_dims(known, 1) | ~np.isfinite(size), size, 0.0)
    return Tracks(position, heading, velocity, size, known, valid, kind, ids, z_known)


def _recorder_put_right(position, size, valid, sdc: int, z_known: bool, notes: dict) -> bool:
    """Swaps the recording car's length and width where it is wider than long; returns whether z can be compared."""
    if valid[sdc].any() and (size[sdc, valid[sdc], 1] > size[sdc, valid[sdc], 0]).all():
        size[sdc, :, :2] = size[sdc, :, 1::-1]
        notes["sdc_size_swapped"] = True
    if (position[sdc, valid[sdc], 2] == 0).all() and (position[valid][:, 2] != 0).any():
        notes["z_left_out"] = "the recording car's z is 0 throughout, unlike the others'"
        return False
    return z_known


def _fill_last_velocities(position, velocity, valid, dt: float) -> int:
    """Where velocities are differences to the next position, the last of a run has none and is 0: it becomes the one
    before it. Returns how many were filled."""
    before = valid[:, :-1] & valid[:, 1:]
    after = np.concatenate([valid[:, 2:], np.zeros_like(valid[:, :1])], 1)
    moved = (position[:, 1:, :2] - position[:, :-1, :2]) / dt
    differences = (np.abs(moved - velocity[:, :-1]) <= 1e-3).all(-1) & (velocity[:, :-1] != 0).any(-1)
    lost = before & ~after & differences & (velocity[:, 1:] == 0).all(-1)
    velocity[:, 1:][lost] = velocity[:, :-1][lost]
    return int(lost.sum())


def _roles(metadata: dict, ids: tuple[str, ...], notes: dict) -> Roles:
    places = {name: k for k, name in enumerate(ids)}

    def place(value: Any, field: str) -> int:
        name = text(value, field)
        if name not in places:
            raise InvalidData(f"{field} names {name[:40]!r}, which no track is called")
        return places[name]

    sdc = metadata.get("sdc_id")
    predict = metadata.get("tracks_to_predict") or {}
    interest = metadata.get("objects_of_interest") or []
    predict, interest = plain(predict), plain(interest)
    if type(predict) is dict and predict:
        notes["difficulty"] = {
            text(name, "tracks_to_predict"): entry["difficulty"]
            for name, entry in predict.items()
            if type(entry) is dict and type(entry.get("difficulty")) is int
        }
    if type(predict) not in (dict, list, tuple) or type(interest) not in (list, tuple):
        raise InvalidData("metadata.tracks_to_predict or objects_of_interest is no list of tracks")
    return build.roles(
        len(ids),
        None if sdc is None else place(sdc, "metadata.sdc_id"),
        [place(name, "metadata.tracks_to_predict") for name in predict],
        [place(name, "metadata.objects_of_interest") for name in interest],
    )
