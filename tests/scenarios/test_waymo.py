"""The Waymo reader: every field of a made-up scenario by hand, decoding in bulk, and damage."""

import json
import os
import random
import struct
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios import build, waymo, waymo_map, waymo_wire
from mairl.scenarios.line_distance import LineDistances
from mairl.scenarios.schema import AgentType, EdgeType, LaneType, LineType, Scenario, SignalState
from mairl.scenarios.tfrecord import frame as framed
from mairl.scenarios.waymo_wire import MESSAGES, table

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA
REAL = (DATA or Path()) / "womd_tfrecord" / "womd_scenario_input.tfrecord"
needs_data = pytest.mark.skipif(not REAL.exists(), reason="the sample data is not here")


def encoded(name: str, **fields) -> bytes:
    return MESSAGES[name](**fields).SerializeToString()


def line(*points) -> list[bytes]:
    return [encoded("MapPoint", x=x, y=y, z=z) for x, y, z in points]


def along(y: float, *xs: float) -> list[bytes]:
    return line(*[(x, y, 7.0) for x in xs])


def made(record: int = 0):
    """Three lanes, a line, an edge, one of everything else, and three tracks of four steps."""
    message = MESSAGES["Scenario"](
        scenario_id=f"made-{record}".encode(),
        timestamps_seconds=[0.0, 0.1002, 0.2004, 0.3007],
        current_time_index=1,
        sdc_track_index=0,
        objects_of_interest=[9, 1234],
    )
    for number, kind, y in ((7, 1, 0.0), (9, 2, 3.0), (12, 4, -2.0)):
        track = message.tracks.add(id=number, object_type=kind)
        for t in range(4):
            seen = {"center_x": 10.0 + t, "center_y": y, "center_z": 7.5, "heading": 4.0, "velocity_x": 10.0}
            box = {"length": 4.5, "width": 2.0, "height": 0.0 if number == 12 else 1.5}
            track.states.append(encoded("ObjectState", **seen, **box, velocity_y=-0.5, valid=True))
    garbage = {"center_x": np.nan, "center_y": 1e300, "length": -1.0, "heading": np.inf, "velocity_x": np.nan}
    message.tracks[1].states[2] = encoded("ObjectState", **garbage, valid=False)
    message.tracks_to_predict.add(track_index=1, difficulty=2)
    first, second, third = (message.map_features.add(id=number).lane for number in (1, 2, 3))
    first.MergeFrom(MESSAGES["LaneCenter"](speed_limit_mph=25, type=2, polyline=along(0, 0, 10, 20, 30, 40)))
    first.exit_lanes.extend([2, 99])
    first.left_neighbors.add(feature_id=3)
    first.left_boundaries.add(lane_start_index=0, lane_end_index=4, boundary_feature_id=21, boundary_type=6)
    first.right_boundaries.add(lane_start_index=1, lane_end_index=4, boundary_feature_id=31)
    second.MergeFrom(MESSAGES["LaneCenter"](type=1, interpolating=True, polyline=along(0, 40, 50)))
    second.entry_lanes.extend([1, 3])
    third.MergeFrom(MESSAGES["LaneCenter"](type=3, speed_limit_mph=0, polyline=along(4, 0, 10, 20, 30, 40)))
    third.right_neighbors.add(feature_id=1)
    third.right_neighbors.add(feature_id=98)
    third.right_boundaries.add(lane_start_index=0, lane_end_index=0, boundary_feature_id=21, boundary_type=6)
    third.left_boundaries.add(lane_start_index=-5, lane_end_index=400, boundary_feature_id=97, boundary_type=2)
    message.map_features.add(id=21).road_line.MergeFrom(MESSAGES["RoadLine"](type=6, polyline=along(2, -5, 15, 45)))
    message.map_features.add(id=31).road_edge.MergeFrom(MESSAGES["RoadEdge"](type=2, polyline=along(-1.5, -5, 45)))
    square = [(0.0, 0.0, 7.0), (4.0, 0.0, 7.0), (4.0, 4.0, 7.0)]
    message.map_features.add(id=41).crosswalk.polygon.extend(line(*square, square[0]))
    message.map_features.add(id=51).speed_bump.polygon.extend(line(*square))
    message.map_features.add(id=61).driveway.polygon.extend(line(*square))
    message.map_features.add(id=71).stop_sign.MergeFrom(
        MESSAGES["StopSign"](lane=[1, 99], position=line((39.0, -3.0, 7.0))[0])
    )
    message.map_features.add(id=81).lane.type = 1
    for lights in ({1: 4}, {1: 6, 99: 3}, {}, {1: 1}):
        now = message.dynamic_map_states.add()
        for lane, state in lights.items():
            now.lane_states.add(lane=lane, state=state, stop_point=line((35.0 + lane, 0.0, 7.0))[0])
    return message


def written(folder: Path, *messages) -> Path:
    file = folder / "made.tfrecord"
    file.write_bytes(b"".join(framed(m if isinstance(m, bytes) else m.SerializeToString()) for m in messages))
    return file


def only(file: Path) -> Scenario:
    (found,) = waymo.read(file)
    assert isinstance(found, Scenario), found
    return found


def test_tracks_and_roles_by_hand(tmp_path):
    s = only(written(tmp_path, made()))
    assert (s.scenario_id, s.source, s.dt, s.current) == ("made-0", "waymo", 0.1, 1)
    assert s.tracks.ids == ("7", "9", "12")
    assert s.tracks.type.tolist() == [AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.OTHER]
    assert s.tracks.valid.tolist() == [[True] * 4, [True, True, False, True], [True] * 4]
    world = s.tracks.position + s.offset
    np.testing.assert_allclose(world[1, 3], [13, 3, 7.5])
    np.testing.assert_allclose(world[0, :, 0], [10, 11, 12, 13])
    np.testing.assert_allclose(s.tracks.heading[0], 4 - 2 * np.pi, rtol=1e-6)
    np.testing.assert_allclose(s.tracks.velocity[0], [[10, -0.5]] * 4)
    np.testing.assert_allclose(s.tracks.size[:, 0], [[4.5, 2, 1.5], [4.5, 2, 1.5], [4.5, 2, 0]])
    assert s.tracks.size_known.tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    assert s.tracks.z_known
    assert s.roles.sdc == 0
    assert s.roles.predict.tolist() == [False, True, False]
    assert s.roles.of_interest.tolist() == [False, True, False]
    assert s.notes == json.loads(json.dumps(s.notes))
    assert s.notes["difficulty"] == {"1": 2}
    assert s.notes["objects_of_interest_without_track"] == ["1234"]
    assert s.notes["timestamps_seconds"] == [0.0, 0.1002, 0.2004, 0.3007]


def test_map_and_lights_by_hand(tmp_path):
    s = only(written(tmp_path, made()))
    road, lanes = s.map, s.map.lanes
    assert lanes.centre.ids == ("1", "2", "3")
    assert lanes.centre.kind.tolist() == [LaneType.STREET, LaneType.FREEWAY, LaneType.BIKE]
    np.testing.assert_allclose(lanes.centre.line(2)[3] + s.offset, [30, 4, 7])
    np.testing.assert_allclose(lanes.speed_limit, [25 * 1609.344 / 3600, 0, 0], rtol=1e-6)
    assert lanes.speed_limit_known.tolist() == [True, False, False]
    assert lanes.successors.tolist() == [[0, 1], [2, 1]]
    assert lanes.left_neighbours.tolist() == [[0, 2]]
    assert lanes.right_neighbours.tolist() == [[2, 0]]
    assert lanes.width_known.tolist() == [True, False, False]
    np.testing.assert_allclose(lanes.width[:5], 3.5, rtol=1e-6)  # 2 to the line, 1.5 to the edge.
    # The edge has no paint; one point in five is not most of a lane; a line that is not in the map has a type still.
    assert lanes.left_boundary.tolist() == [LineType.SOLID_YELLOW, LineType.UNKNOWN, LineType.SOLID_WHITE]
    assert lanes.right_boundary.tolist() == [LineType.NONE, LineType.UNKNOWN, LineType.UNKNOWN]
    assert (road.lines.ids, road.lines.kind.tolist()) == (("21",), [LineType.SOLID_YELLOW])
    assert (road.edges.ids, road.edges.kind.tolist()) == (("31",), [EdgeType.MEDIAN])
    assert [len(group.points) for group in (road.crosswalks, road.speed_bumps, road.driveways)] == [3, 3, 3]
    assert (road.stop_signs.ids, road.stop_signs.controls.tolist()) == (("71",), [[0, 0]])
    np.testing.assert_allclose(road.stop_signs.position + s.offset, [[39, -3, 7]])
    assert s.notes["interpolating_lanes"] == ["2"]
    assert s.notes["features_left_out"] == ["81"]
    assert s.signals.lane_known.tolist() == [True, False]
    assert s.signals.lane[0] == 0
    dark = SignalState.UNKNOWN
    assert s.signals.state[0].tolist() == [SignalState.STOP, SignalState.GO, dark, SignalState.ARROW_STOP]
    assert s.signals.state[1].tolist() == [dark, SignalState.ARROW_GO, dark, dark]
    np.testing.assert_allclose((s.signals.stop_point + s.offset)[0], [36, 0, 7])


def test_a_scenario_without_id_is_named_after_its_file(tmp_path):
    nameless = made()
    nameless.ClearField("scenario_id")
    assert only(written(tmp_path, nameless)).scenario_id == "made"
    assert [getattr(s, "scenario_id", s) for s in waymo.read(written(tmp_path, nameless, made(1), nameless))] == [
        "made-0",
        "made-1",
        "made-2",
    ]


def test_one_step_or_no_clock_gives_the_nominal_rate(tmp_path):
    message = made()
    del message.timestamps_seconds[:]
    assert only(written(tmp_path, message)).dt == 0.1


@pytest.mark.parametrize(
    "times",
    [
        0.1 * np.arange(92) + 0.003 * (-1.0) ** np.arange(92),  # The middle one of these steps has 0.094 s.
        np.cumsum([0.0, *[0.1] * 5, 0.7, *[0.1] * 5]),
        [0.0, 0.5, 0.6],
    ],
    ids=["jitter", "gap", "gap among few"],
)
def test_the_step_is_what_the_clock_has_on_average(times):
    assert waymo._dt(np.asarray(times)) == 0.1


def test_a_scenario_may_have_no_map_and_no_lights(tmp_path):
    message = made()
    message.ClearField("map_features")
    s = only(written(tmp_path, message))
    assert len(s.map.lanes) == len(s.map.edges) == len(s.map.stop_signs.ids) == 0
    assert s.signals.lane_known.tolist() == [False, False]
    message.ClearField("dynamic_map_states")
    assert only(written(tmp_path, message)).signals.state.shape == (0, 4)


def test_example_records_are_refused_by_name(tmp_path):
    example = MESSAGES["Example"]()
    example.features.feature.add(key=b"state/id", value=b"\x1a\x00")
    file = written(tmp_path, example, example)
    assert waymo.knows(file.read_bytes()[:4096])
    (error,) = waymo.read(file)
    assert "tf.Example" in str(error)
    assert "scenario/" in str(error)
    assert "\n" not in str(error)


def tag(number: int, wire: int, value: bytes) -> bytes:
    return bytes([number << 3 | wire]) + value


DOUBLES = [struct.pack("<d", value) for value in (1.5, -2.25, 1e6)]
ODD_POINTS = [
    b"",
    tag(3, 1, DOUBLES[2]) + tag(2, 1, DOUBLES[1]) + tag(1, 1, DOUBLES[0]),  # The other way round.
    tag(1, 1, DOUBLES[0]) + tag(3, 1, DOUBLES[2]),
    tag(1, 1, DOUBLES[0]) + tag(1, 1, DOUBLES[1]),  # The last one counts.
    tag(1, 5, b"\x01\x02\x03\x04") + tag(2, 1, DOUBLES[1]),  # A known number with another wire type.
    tag(1, 1, DOUBLES[0]) + tag(9, 0, b"\x05"),  # An unknown field.
    tag(1, 1, DOUBLES[0]) + tag(9, 0, b"\x85\x01"),
    tag(2, 1, DOUBLES[1]) + tag(9, 2, b"\x03abc"),
    tag(2, 1, DOUBLES[1]) + tag(9, 2, b"\x08" + tag(1, 1, DOUBLES[0])[:8]),
]


@pytest.mark.parametrize("name", ["MapPoint", "ObjectState"])
def test_decoding_in_bulk_is_decoding_one_by_one(monkeypatch, name):
    rng = random.Random(3)
    plain = [part for feature in made().map_features for part in feature.lane.polyline]
    plain = plain if name == "MapPoint" else [state for track in made().tracks for state in track.states]
    odd = ODD_POINTS if name == "MapPoint" else [tag(11, 0, b) for b in (b"\x00", b"\x01", b"\x02", b"\x80\x01")]
    items = [*plain, *odd, *odd[::-1], *plain[:3]]
    rng.shuffle(items)
    slow = [MESSAGES[name].FromString(item) for item in items]
    fields = [f.name for f in MESSAGES[name].DESCRIPTOR.fields]
    for layouts in (waymo_wire._layout, lambda *_: None):
        monkeypatch.setattr(waymo_wire, "_layout", layouts)
        found = table(items, name)
        for field in fields:
            np.testing.assert_array_equal(found[field], [getattr(message, field) for message in slow], field)


def test_points_laid_out_alike_never_take_the_slow_path(monkeypatch):
    monkeypatch.setattr(waymo_wire, "_one", None)
    forward = along(2, *range(50))
    backward = [b"".join(item[i : i + 9] for i in (18, 9, 0)) for item in forward]
    for items in (forward, backward):
        np.testing.assert_array_equal(table(items, "MapPoint")["x"], np.arange(50))


def test_distances_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    shapes = [rng.normal(size=(n, 2)) * 20 + [6000, -300] for n in (2, 1, 17, 40)]
    shapes[2][5] = shapes[2][4]  # A segment without length.
    lines = LineDistances(build.polylines(shapes, "abcd"))
    places = rng.normal(size=(60, 2)) * 30 + [6000, -300]
    for k, shape in enumerate(shapes):
        start, step = (shape[:-1], np.diff(shape, axis=0)) if len(shape) > 1 else (shape, np.zeros((1, 2)))
        apart = places[:, None] - start
        share = np.clip((apart * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12), 0, 1)
        expected = np.linalg.norm(apart - share[..., None] * step, axis=-1).min(1)
        np.testing.assert_allclose(lines.to(k, places), expected, atol=1e-6)


def state(**fields) -> bytes:
    usual = {"length": 4.0, "width": 2.0, "height": 1.5, "center_x": 1.0, "valid": True}
    return encoded("ObjectState", **(usual | fields))


BAD = {
    "current is step -3": lambda m: setattr(m, "current_time_index", -3),
    "sdc_track_index names track 99": lambda m: setattr(m, "sdc_track_index", 99),
    "tracks_to_predict names track -1": lambda m: setattr(m.tracks_to_predict[0], "track_index", -1),
    "tracks[0].states[1] is valid and its center is [nan": lambda m: m.tracks[0].states.__setitem__(
        1, state(center_x=np.nan)
    ),
    "tracks[2].states[0] is valid and its heading is [inf": lambda m: m.tracks[2].states.__setitem__(
        0, state(heading=np.inf)
    ),
    "tracks.velocity reaches 1000": lambda m: m.tracks[0].states.__setitem__(0, state(velocity_x=1000.0)),
    "tracks.size reaches 900": lambda m: m.tracks[0].states.__setitem__(0, state(length=900.0)),
    "tracks have 3 to 4 states": lambda m: m.tracks[1].states.pop(),
    "tracks.ids has 2 different": lambda m: setattr(m.tracks[1], "id", 7),
    "tracks is empty": lambda m: m.ClearField("tracks"),
    "timestamps_seconds has 5 entries": lambda m: m.timestamps_seconds.append(9.0),
    "timestamps_seconds holds nan": lambda m: m.timestamps_seconds.__setitem__(2, np.nan),
    "dt is -0.1": lambda m: m.timestamps_seconds.__setitem__(slice(None), [0.3, 0.2, 0.1, 0.0]),
    "scenario_id is no UTF-8": lambda m: setattr(m, "scenario_id", b"\xff\xfe"),
    "map features hold 1 points": lambda m: m.map_features[0].lane.polyline.extend(line((np.inf, 0.0, 0.0))),
    "map.lanes.centre.points reaches": lambda m: m.map_features[0].lane.polyline.extend(line((3e7, 0.0, 0.0))),
    "map.lanes.centre.ids has 2": lambda m: setattr(m.map_features[1], "id", 1),
    "stop points hold 1": lambda m: setattr(
        m.dynamic_map_states[0].lane_states[0], "stop_point", line((np.nan, 0.0, 0.0))[0]
    ),
    "dynamic_map_states has 5": lambda m: m.dynamic_map_states.add(),
    "DecodeError": lambda m: m.map_features[0].lane.polyline.append(b"\x09\x01"),
}


@pytest.mark.parametrize("expected", BAD)
def test_what_is_wrong_is_named(tmp_path, expected):
    message = made()
    BAD[expected](message)
    file = written(tmp_path, message, made(1))
    error, good = waymo.read(file)
    assert isinstance(error, InvalidData)
    assert f"{file}, record 0" in str(error)
    assert expected in str(error)
    assert "\n" not in str(error)
    assert isinstance(good, Scenario)
    assert good.scenario_id == "made-1"


def test_unknown_codes_and_ids_are_unknown(tmp_path):
    message = made()
    message.tracks[0].object_type = 77
    message.map_features[0].lane.type = -4
    message.map_features[0].lane.left_boundaries[0].boundary_type = 1000
    message.map_features[0].lane.left_boundaries[0].boundary_feature_id = -1
    message.map_features[0].lane.exit_lanes[:] = [-(2**62), 2**62]
    message.dynamic_map_states[0].lane_states[0].state = 55
    s = only(written(tmp_path, message))
    assert s.tracks.type[0] == AgentType.OTHER
    assert s.map.lanes.centre.kind[0] == LaneType.UNKNOWN
    assert s.map.lanes.left_boundary[0] == LineType.UNKNOWN
    assert s.signals.state[0, 0] == SignalState.UNKNOWN
    assert not s.map.lanes.width_known.any()


def test_a_map_may_not_ask_for_endless_distances(tmp_path, monkeypatch):
    monkeypatch.setattr(waymo_map, "DISTANCES", 22)
    (error,) = waymo.read(written(tmp_path, made()))
    assert "asks for over 22 distances" in str(error)


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """Some bytes flipped, cut out, doubled or written over with what a parser trips on."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[place : place + rng.randint(1, 20)]
        elif how == 2:
            data[place:place] = data[place : place + 20]
        else:
            bad = rng.choice([b"\xff" * 9 + b"\x01", struct.pack("<d", np.nan), b"\xff\xff\xff\xff\x07", b"\x0b" * 9])
            data[place : place + len(bad)] = bad
        if not data:
            return b""
    return bytes(data)


def outcomes(file: Path) -> Counter:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(waymo.read(file))
    assert all(isinstance(item, Scenario | InvalidData) for item in found)
    return Counter(type(item).__name__ for item in found)


def assert_survives(file: Path, whole: bytes, rng: random.Random, cuts: int, payloads: int) -> Counter:
    for _ in range(cuts):
        place = rng.randrange(1, len(whole))
        if rng.random() < 0.5:
            file.write_bytes(whole[:place])
        else:
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        assert outcomes(file)["InvalidData"] == 1
    (length,) = struct.unpack_from("<Q", whole)
    total = Counter()
    for _ in range(payloads):
        file.write_bytes(framed(damaged(rng, whole[12 : 12 + length])))
        total += outcomes(file)
    assert total.total() == payloads
    return total


def test_damage_to_a_made_up_file_never_raises(tmp_path):
    whole = framed(made().SerializeToString())
    total = assert_survives(tmp_path / "damaged.tfrecord", whole, random.Random(11), cuts=60, payloads=150)
    assert min(total["Scenario"], total["InvalidData"]) > 3, total


@needs_data
def test_damage_to_a_real_file_never_raises(tmp_path):
    assert_survives(tmp_path / "damaged.tfrecord", REAL.read_bytes(), random.Random(5), cuts=6, payloads=6)


def test_payloads_of_other_messages_are_no_scenarios(tmp_path):
    parts = [
        b"",
        b"\x10\x05",
        b"\x12\xff\xff\xff\xff\x0f",
        b"\x0b" * 3000,
        bytes(100),
        random.Random(0).randbytes(5000),
    ]
    found = list(waymo.read(written(tmp_path, *parts)))
    assert len(found) == len(parts)
    for record, error in enumerate(found):
        assert isinstance(error, InvalidData)
        assert f"record {record}" in str(error)
