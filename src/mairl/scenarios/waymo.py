"""Reader of the Waymo Open Motion Dataset: TFRecord files of `Scenario` protobufs.

The dataset publishes every scene in two forms. This reads the one under `scenario/`, which has the whole map with its
lane graph; the `tf_example/` files have a sample of the map's points and no graph, and are refused by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios import build, tfrecord
from mairl.scenarios.schema import Roles, Scenario, Signals, Tracks
from mairl.scenarios.validate import validated
from mairl.scenarios.waymo_codes import AGENT, SIGNAL, coded
from mairl.scenarios.waymo_map import FARTHEST, points, road_map
from mairl.scenarios.waymo_wire import MESSAGES, is_example, table

FORMAT = "waymo"
NAMES = r".+\.tfrecords?(-\d+-of-\d+)?"

DT = 0.1
"""Seconds between steps of a log with one timestamp or none: the dataset is recorded at 10 Hz."""


def knows(head: bytes) -> bool:
    """Whether a file that begins like this is a TFRecord: no other format that is read here comes in one."""
    return tfrecord.is_frame(head)


def read(path: Path) -> Iterator[Scenario | InvalidData]:
    """The scenarios of a file in order; for a record that cannot be used, an error that names file, record and field.

    Records count from 0. After a bad record it goes on with the next one, unless the file is cut, the length of a
    record is damaged, or the records are of the dataset's other form.
    """
    path = Path(path)
    for record, payload in enumerate(tfrecord.payloads(path)):
        if isinstance(payload, InvalidData):
            yield payload
        elif is_example(payload):
            yield InvalidData(
                f"{path}, record {record} is a tf.Example, not a Scenario: use the dataset's files under scenario/ "
                f"instead of tf_example/, they have the whole map"
            )
            return
        else:
            yield _read(path, record, payload)


def _read(path: Path, record: int, payload: bytes) -> Scenario | InvalidData:
    place = f"{path}, record {record}"
    try:
        message = MESSAGES["Scenario"].FromString(payload)
        several = record > 0 or path.stat().st_size > len(payload) + tfrecord.OVERHEAD
        name = path.stem + (f"-{record}" if several else "")
        return _converted(message, name)
    except InvalidData as error:
        return InvalidData(f"{place}: {error}")
    except Exception as error:  # Whatever a hostile payload brings up, protobuf's own errors among it.
        reason = " ".join(str(error).split())[:160]
        return InvalidData(
            f"{place} is damaged or no Scenario ({type(error).__name__}: {reason}): fetch the file again"
        )


def _converted(message: Any, name: str) -> Scenario:
    """A validated scenario.

    Args:
        name: its id, if the message has none.
    """
    if not message.tracks:
        raise InvalidData("tracks is empty: is it a Scenario of the motion dataset?")
    try:
        scenario_id = message.scenario_id.decode() or name
    except UnicodeDecodeError as error:
        raise InvalidData(f"scenario_id is no UTF-8: {message.scenario_id[:40]!r}") from error
    tracks = _tracks(message.tracks)
    steps = tracks.valid.shape[1]
    times = np.array(message.timestamps_seconds, np.float64)
    if len(times) not in (0, steps):
        raise InvalidData(f"timestamps_seconds has {len(times)} entries, tracks have {steps} states")
    road, lanes, notes = road_map(message.map_features)
    notes["timestamps_seconds"] = times.tolist()
    notes["difficulty"] = {str(p.track_index): p.difficulty for p in message.tracks_to_predict}
    roles = _roles(message, len(tracks), notes)
    signals = _signals(message.dynamic_map_states, steps, lanes)
    scenario = Scenario(
        scenario_id,
        FORMAT,
        _dt(times),
        message.current_time_index,
        np.zeros(3),
        tracks,
        roles,
        road,
        signals,
        notes,
    )
    return validated(build.recentred(scenario))


def _dt(times: np.ndarray) -> float:
    """The mean step, to the millisecond: the clock's jitter is no reason for two logs not to fit together.

    Steps that differ from the usual one by more than half of it are gaps, and do not count.
    """
    if len(times) < 2:
        return DT
    if not (np.abs(times) < 1e12).all():
        raise InvalidData(f"timestamps_seconds holds {times[~(np.abs(times) < 1e12)][0]} , expected seconds")
    steps = np.diff(times)
    usual = np.quantile(steps, 0.5, method="lower")  # One of the steps: not the middle of a step and a gap.
    return round(float(steps[np.abs(steps - usual) <= abs(usual) / 2].mean()), 3)


def _tracks(source: Sequence[Any]) -> Tracks:
    lengths = {len(track.states) for track in source}
    if len(lengths) > 1:
        raise InvalidData(f"tracks have {min(lengths)} to {max(lengths)} states, expected the same number in each")
    shape = len(source), lengths.pop()
    flat = table(list(itertools.chain.from_iterable(track.states for track in source)), "ObjectState")
    state = flat.reshape(shape)
    valid = state["valid"].astype(bool)

    def together(kind: type, *names: str) -> np.ndarray:
        # Where a state is not valid the source holds anything, NaN included.
        values = np.zeros((*shape, len(names)), kind)
        for k, name in enumerate(names):
            np.copyto(values[..., k], state[name], where=valid)
        return values

    position = together(np.float64, "center_x", "center_y", "center_z")
    heading, velocity = together(np.float32, "heading"), together(np.float32, "velocity_x", "velocity_y")
    size = together(np.float32, "length", "width", "height")
    for field, values, limit in (
        ("center", position, FARTHEST),
        ("heading", heading, 1e3),
        ("velocity", velocity, 1e6),
    ):
        wrong = ~(np.abs(values) <= limit)
        if wrong.any():
            i, t = np.argwhere(wrong)[0, :2]
            raise InvalidData(
                f"tracks[{i}].states[{t}] is valid and its {field} is {values[i, t].tolist()}, expected numbers up to "
                f"{limit:.0e} ({int(wrong.any(-1).sum())} states are so)"
            )
    measured = (size > 0) & (size < np.inf)
    size_known = np.all(measured | ~valid[..., None], axis=1) & np.any(valid, axis=1, keepdims=True)
    return Tracks(
        position,
        heading[..., 0],
        velocity,
        np.where(size_known[:, None], size, 0.0),
        size_known,
        valid,
        np.array([coded(AGENT, track.object_type) for track in source], np.int8),
        tuple(str(track.id) for track in source),
    )


def _roles(message: Any, agents: int, notes: dict) -> Roles:
    sdc = message.sdc_track_index if message.HasField("sdc_track_index") else None
    predict = [p.track_index for p in message.tracks_to_predict]
    for field, indices in (("sdc_track_index", [sdc] if sdc is not None else []), ("tracks_to_predict", predict)):
        wrong = [i for i in indices if not 0 <= i < agents]
        if wrong:
            raise InvalidData(f"{field} names track {wrong[0]}, there are {agents}")
    index = {track.id: i for i, track in enumerate(message.tracks)}
    missing = [str(i) for i in message.objects_of_interest if i not in index]
    if missing:
        notes["objects_of_interest_without_track"] = missing
    return build.roles(agents, sdc, predict, [index[i] for i in message.objects_of_interest if i in index])


def _signals(states: Sequence[Any], steps: int, lanes: dict[int, int]) -> Signals:
    """One light for each lane that is named at any step; UNKNOWN where it is not named."""
    if len(states) > steps:
        raise InvalidData(f"dynamic_map_states has {len(states)} entries, tracks have {steps} states")
    seen: dict[int, dict[int, int]] = {}
    stops: dict[int, bytes] = {}
    for t, now in enumerate(states):
        for light in now.lane_states:
            seen.setdefault(light.lane, {})[t] = coded(SIGNAL, light.state)
            if light.HasField("stop_point"):
                stops.setdefault(light.lane, light.stop_point)
    state = np.zeros((len(seen), steps), np.int8)
    for k, shown in enumerate(seen.values()):
        state[k, list(shown)] = list(shown.values())
    known = np.array([lane in stops for lane in seen], bool)
    stop_point = np.zeros((len(seen), 3))
    stop_point[known] = points([stops[lane] for lane in seen if lane in stops], "stop points")
    return Signals(
        np.array([lanes.get(lane, 0) for lane in seen], np.int32),
        np.array([lane in lanes for lane in seen], bool),
        state,
        stop_point,
        known,
    )
