"""GPUDrive's JSON: made-up scenes old and new, real ones against plain counting, and damage of every kind."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from log_damage import check, damaged, graft

from mairl.core.errors import InvalidData
from mairl.scenarios import gpudrive
from mairl.scenarios.schema import AgentType, EdgeType, LaneType, LineType, Scenario, SignalState

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA
FILES = sorted((DATA / "womd_json").glob("*.json")) if DATA else []


def scene(new=True, steps=12, turn=0.5):
    """Two vehicles on a road that climbs to the north-east, one of them lost half-way, and somebody on foot."""
    ahead = np.array([math.cos(turn), math.sin(turn)])
    unit = 1.0 if new else 180 / math.pi

    def point(xy, z=3.0):
        return {"x": float(xy[0]), "y": float(xy[1]), **({"z": z} if new else {})}

    def thing(kind, start, speed, lost):
        where = [np.array(start) + ahead * speed * 0.1 * t for t in range(steps)]
        bad = {"x": -10000.0, "y": -10000.0, **({"z": -10000.0} if new else {})}
        return {
            "position": [point(p) if t < lost else bad for t, p in enumerate(where)],
            "velocity": [
                {"x": speed * ahead[0], "y": speed * ahead[1]} if t < lost else {"x": -10000.0, "y": -10000.0}
                for t in range(steps)
            ],
            "heading": [turn * unit if t < lost else -10000.0 for t in range(steps)],
            "valid": [t < lost for t in range(steps)],
            "width": 2.0,
            "length": 4.5,
            "type": kind,
            "goalPosition": point(where[lost - 1]),
        }

    objects = [
        thing("vehicle", (5000.0, 100.0), 8.0, steps),
        thing("vehicle", (5010.0, 110.0), 6.0, 7),
        thing("pedestrian", (5020.0, 90.0), 1.0, steps),
    ]
    objects[2]["width"] = 0.0
    line = [point((5000 + 10 * k * ahead[0], 100 + 10 * k * ahead[1])) for k in range(5)]
    on = [point((5000 + 10 * k * ahead[0], 100 + 10 * k * ahead[1])) for k in range(4, 9)]
    square = [point(p) for p in ((5000, 100), (5004, 100), (5004, 104), (5000, 104), (5000, 100))]
    roads = [
        {"type": "lane", "geometry": line},
        {"type": "lane", "geometry": on},
        {"type": "road_line", "geometry": line},
        {"type": "road_edge", "geometry": line},
        {"type": "crosswalk", "geometry": square},
        {"type": "stop_sign", "geometry": line[-1:]},
    ]
    top = {"name": "made.json", "objects": objects, "roads": roads, "tl_states": {}}
    if new:
        for k, record in enumerate(objects):
            record |= {"height": 1.6, "id": 100 + k, "mark_as_expert": k == 1}
        for k, (record, code) in enumerate(zip(roads, (2, 3, 12, 15, 18, 17))):
            record |= {"id": 7 + k, "map_element_id": code}
        top["scenario_id"] = "abc"
        top["metadata"] = {
            "sdc_track_index": 1,
            "objects_of_interest": [100, 102],
            "tracks_to_predict": [{"track_index": 2, "difficulty": 1}],
        }
        top["tl_states"] = {
            "8": {
                "state": ["stop", "arrow_go"],
                "x": [5001.0] * 2,
                "y": [99.0] * 2,
                "z": [3.0] * 2,
                "time_index": [2, 4],
            },
            "99": {"state": [5], "x": [1.0], "y": [1.0], "z": [3.0], "time_index": [0]},
        }
    return json.loads(json.dumps(top))  # so that no two parts share a list


def read_text(tmp_path, text):
    file = tmp_path / "made_7.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (found,) = gpudrive.read(file)
    return found


def good(tmp_path, top) -> Scenario:
    found = read_text(tmp_path, json.dumps(top))
    assert isinstance(found, Scenario), found
    return found


def test_a_new_file_by_hand(tmp_path):
    s = good(tmp_path, scene())
    assert (s.scenario_id, s.source, s.dt, s.current, s.num_agents, s.num_steps) == ("abc", "gpudrive", 0.1, 10, 3, 12)
    assert s.tracks.ids == ("100", "101", "102")
    assert s.tracks.type.tolist() == [AgentType.VEHICLE, AgentType.VEHICLE, AgentType.PEDESTRIAN]
    assert s.tracks.valid.sum(1).tolist() == [12, 7, 12]
    assert not s.tracks.position[1, 7:].any()
    np.testing.assert_allclose(s.tracks.position[0, 0] + s.offset, [5000, 100, 3], atol=1e-3)
    np.testing.assert_allclose(s.tracks.heading[s.tracks.valid], 0.5, atol=1e-6)
    assert s.notes["heading_unit"] == "radians by motion"
    np.testing.assert_array_equal(s.tracks.size_known, [[1, 1, 1], [1, 1, 1], [1, 0, 1]])
    np.testing.assert_allclose(s.tracks.size[0, 0], [4.5, 2.0, 1.6])
    assert s.roles.sdc == 1
    assert s.roles.predict.tolist() == [False, False, True]
    assert s.roles.of_interest.tolist() == [True, False, True]
    assert s.notes["difficulty"] == {"102": 1}
    assert s.notes["mark_as_expert"] == [False, True, False]
    road = s.map
    assert road.lanes.centre.ids == ("7", "8")
    assert road.lanes.centre.kind.tolist() == [LaneType.STREET, LaneType.BIKE]
    assert road.lanes.successors.tolist() == [[0, 1]]
    assert not road.lanes.graph_from_source
    assert road.lines.kind.tolist() == [LineType.SOLID_DOUBLE_YELLOW]
    assert road.edges.kind.tolist() == [EdgeType.BOUNDARY]
    assert len(road.crosswalks.points) == 4
    assert road.stop_signs.ids == ("12",)
    assert s.signals.lane_known.tolist() == [True, False]
    assert s.signals.lane[0] == 1
    assert s.signals.state[0].tolist() == [0, 0, SignalState.STOP, 0, SignalState.ARROW_GO, *[0] * 7]
    assert s.signals.state[1, 0] == SignalState.CAUTION
    np.testing.assert_allclose(s.signals.stop_point[0] + s.offset, [5001, 99, 3], atol=1e-3)
    json.dumps(s.notes)


def test_an_old_file_says_what_it_lacks(tmp_path):
    s = good(tmp_path, scene(new=False))
    assert s.scenario_id == "made_7"
    assert s.tracks.ids == ("0", "1", "2")
    assert not s.tracks.z_known
    assert not s.map.lanes.centre.z_known
    assert s.offset[2] == 0
    assert s.notes["heading_unit"] == "degrees by motion"
    np.testing.assert_allclose(s.tracks.heading[s.tracks.valid], 0.5, atol=1e-6)
    assert not s.tracks.size_known[:, 2].any()
    assert s.roles.sdc is None
    assert s.map.lanes.centre.kind.tolist() == [LaneType.UNKNOWN] * 2
    assert "mark_as_expert" not in s.notes


@pytest.mark.parametrize(("heading", "unit"), [(90.0, "degrees by range"), (1.5, "radians by range")])
def test_where_nothing_moves_the_range_of_headings_decides(tmp_path, heading, unit):
    top = scene(new=False)
    for record in top["objects"]:
        record["velocity"] = [{"x": 0.0, "y": 0.0}] * 12
        record["heading"] = [heading] * 12
    assert good(tmp_path, top).notes["heading_unit"] == unit


def test_a_reversing_vehicle_is_no_reason_to_doubt(tmp_path):
    top = scene()
    for record in top["objects"]:
        record["heading"] = [0.5 + math.pi] * 12
    assert good(tmp_path, top).notes["heading_unit"] == "radians by motion"


def test_headings_that_fit_no_unit_are_refused_with_both_angles(tmp_path):
    top = scene()
    for record in top["objects"]:
        record["heading"] = [0.5 + math.pi / 2] * 12
    found = read_text(tmp_path, json.dumps(top))
    assert isinstance(found, InvalidData)
    assert "neither in radians (1.57 rad off) nor in degrees" in str(found)


def test_a_single_vehicle_may_skid(tmp_path):
    """One mover whose middle moves 0.3 rad beside where it points, as in a sharp turn: no reason to refuse the file."""
    for unit, how in ((1.0, "radians by range"), (180 / math.pi, "degrees by range")):
        top = scene(new=unit == 1.0)
        for record in top["objects"][1:]:
            record["velocity"] = [{"x": 0.0, "y": 0.0}] * 12
        top["objects"][0]["heading"] = [(0.5 + 0.3) * unit] * 12
        assert good(tmp_path, top).notes["heading_unit"] == how


def test_a_few_movers_do_not_show_radians_beyond_one_turn(tmp_path):
    """In degrees, one vehicle that drifts so that 96 would fit as radians, too: 96 rad are 15 turns."""
    top = scene(new=False)
    heading = 96.075
    motion = math.radians(heading) + 0.15
    for record in top["objects"]:
        record["velocity"] = [{"x": 8 * math.cos(motion), "y": 8 * math.sin(motion)}] * 12
        record["heading"] = [heading] * 12
        record["valid"] = [True] * 12
        record["position"] = [{"x": 5000.0 + t, "y": 100.0} for t in range(12)]
    assert good(tmp_path, top).notes["heading_unit"].startswith("degrees")


def test_garbage_where_nobody_was_seen_is_not_looked_at(tmp_path):
    text = json.dumps(scene()).replace("-10000.0", "NaN")
    found = read_text(tmp_path, text)
    assert isinstance(found, Scenario), found
    assert np.isfinite(found.tracks.position).all()


def change(path, value):
    def apply(top):
        *way, last = path
        for key in way:
            top = top[key]
        if value is KeyError:
            del top[last]
        else:
            top[last] = value

    return apply


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (change(["objects"], []), "objects is empty"),
        (change(["objects"], KeyError), "lacks 'objects'"),
        (change(["objects"], {}), "expected list"),
        (change(["objects", 1, "valid"], [True] * 11), r"objects\[1\].valid has 11 steps, expected 12"),
        (change(["objects", 1, "valid", 3], "yes"), r"objects\[1\].valid"),
        (change(["objects", 0, "position", 2], {"x": 1.0}), r"objects\[0\].position has a point without 'y'"),
        (
            change(["objects", 0, "position", 2, "x"], math.nan),
            r"objects\[0\].position is not finite or beyond 1e\+09 m at step 2",
        ),
        (change(["objects", 0, "position", 2, "x"], 1e300), r"objects\[0\].position is not finite"),
        (change(["objects", 0, "position", 2, "x"], 10**400), "beyond all coordinates"),
        (change(["objects", 0, "position", 2, "x"], "7"), "holds a str, expected numbers"),
        (change(["objects", 0, "position", 2, "x"], True), "holds a bool, expected numbers"),
        (change(["objects", 0, "velocity", 2, "x"], 1e5), "tracks.velocity"),
        (change(["objects", 0, "heading", 2], math.inf), "tracks.heading is not finite"),
        (change(["objects", 0, "width"], -1.0), r"objects\[0\].width is negative"),
        (change(["objects", 0, "type"], "tank"), "'tank'"),
        (change(["objects", 1, "id"], 100), "tracks.ids has 2 different names for 3"),
        (change(["objects", 0, "id"], KeyError), "2 of 3 have an id"),
        (change(["objects", 0, "goalPosition", "x"], math.nan), "goalPosition is not finite"),
        (change(["roads", 0, "type"], "river"), "'river'"),
        (change(["roads", 0, "map_element_id"], 15), "which no lane has"),
        (change(["roads", 0, "geometry", 1, "x"], math.inf), "not finite"),
        (change(["roads", 3, "geometry", 1, "x"], 1e200), "map.edges.points"),
        (change(["roads", 0, "geometry"], "x"), "expected list"),
        (change(["metadata", "sdc_track_index"], 3), "metadata.sdc_track_index is 3"),
        (change(["metadata", "objects_of_interest"], [7]), "names 7"),
        (change(["metadata", "tracks_to_predict", 0, "track_index"], 9), "tracks_to_predict"),
        (change(["tl_states", "8", "state", 0], "purple"), "'purple'"),
        (change(["tl_states", "8", "time_index", 0], 12), "time_index holds 12, expected steps 0 to 11"),
        (change(["tl_states", "8", "state"], ["stop"]), "1 states at 2 times"),
        (change(["scenario_id"], 7), "scenario_id is of type int"),
    ],
)
def test_a_planted_fault_is_named(tmp_path, fault, said):
    top = scene()
    fault(top)
    found = read_text(tmp_path, json.dumps(top))
    assert isinstance(found, InvalidData)
    with pytest.raises(InvalidData, match=said):
        raise found
    assert "made_7.json" in str(found)


def test_text_that_is_no_scene(tmp_path):
    text = json.dumps(scene())
    for bad, said in (
        ("", "no JSON"),
        ("[1]", "expected dict"),
        ("[" * 100_000, "nested too deep"),
        ('{"objects": ' * 50_000, "nested too deep"),
        (text[:-200], "cut"),
        (text.replace('"name"', '"roads": [], "name"', 1), "two values of 'roads'"),
        (text.encode()[:300] + b"\xff\xfe" + text.encode()[300:], "cut or no JSON"),
        ('{"objects": [' + "9" * 5000 + '], "roads": []}', "no JSON"),
    ):
        found = read_text(tmp_path, bad)
        assert isinstance(found, InvalidData)
        assert said in str(found)
    (missing,) = gpudrive.read(tmp_path / "nowhere.json")
    assert "cannot be read" in str(missing)


def test_roads_without_points_are_counted_not_hidden(tmp_path):
    top = scene()
    top["roads"][2]["geometry"] = []
    s = good(tmp_path, top)
    assert len(s.map.lines) == 0
    assert s.notes["empty_roads"] == 1


def test_a_file_is_known_by_its_beginning():
    head = json.dumps(scene()).encode()[:4096]
    assert gpudrive.knows(head)
    assert gpudrive.knows(b"\xef\xbb\xbf  " + head)
    for other in (b"", b"\x80\x04", b"<commonRoad/>", b'{"lane_segments": {}}', b'{"name": "objects"}'):
        assert not gpudrive.knows(other)


def test_any_damage_ends_in_an_error_or_a_valid_scene(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "damaged.json"
    for round in range(300):
        top = scene(new=bool(round % 2))
        graft(rng, top)
        file.write_text(json.dumps(top))
        check(gpudrive.read(file))
    whole = json.dumps(scene()).encode()
    for _ in range(200):
        file.write_bytes(damaged(rng, whole))
        check(gpudrive.read(file))


@pytest.mark.skipif(not FILES, reason="the sample data is not here")
def test_real_files_damaged(tmp_path):
    rng = np.random.default_rng(1)
    whole = min(FILES, key=lambda f: f.stat().st_size).read_bytes()
    for _ in range(12):
        (tmp_path / "damaged.json").write_bytes(damaged(rng, whole))
        check(gpudrive.read(tmp_path / "damaged.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_real_files_against_plain_counting(file):
    top = json.loads(file.read_text())
    assert gpudrive.knows(file.read_bytes()[:4096])
    (s,) = gpudrive.read(file)
    assert isinstance(s, Scenario), s
    objects, roads = top["objects"], top["roads"]
    assert s.scenario_id == top.get("scenario_id", file.stem)
    assert s.num_agents == len(objects)
    assert s.tracks.valid.sum() == sum(sum(o["valid"]) for o in objects)
    for group, name in (
        (s.map.lanes.centre, "lane"),
        (s.map.edges, "road_edge"),
        (s.map.lines, "road_line"),
        (s.map.crosswalks, "crosswalk"),
        (s.map.speed_bumps, "speed_bump"),
        (s.map.driveways, "driveway"),
    ):
        mine = [r for r in roads if r["type"] == name]
        assert len(group) == len(mine)
        assert len(group.points) == sum(len(r["geometry"]) for r in mine)
        for k, record in enumerate(mine[:3]):
            first = record["geometry"][0]
            world = group.line(k)[0].astype(float) + s.offset
            np.testing.assert_allclose(world[:2], [first["x"], first["y"]], atol=1e-3)
    assert len(s.map.stop_signs.ids) == sum(r["type"] == "stop_sign" for r in roads)
    degrees = "metadata" not in top
    assert s.notes["heading_unit"] == ("degrees by motion" if degrees else "radians by motion")
    for k, record in enumerate(objects):
        when = record["valid"].index(True)
        at = record["position"][when]
        world = s.tracks.position[k, when].astype(float) + s.offset
        np.testing.assert_allclose(world[:2], [at["x"], at["y"]], atol=1e-3)
        if "z" in at:
            np.testing.assert_allclose(world[2], at["z"], atol=1e-3)
        turned = math.radians(record["heading"][when]) if degrees else record["heading"][when]
        assert math.cos(turned - s.tracks.heading[k, when]) > 1 - 1e-6
        sizes = [record["length"], record["width"], record.get("height", 0.0)]
        np.testing.assert_allclose(s.tracks.size[k, when], sizes, rtol=1e-6)
        assert s.tracks.size_known[k].tolist() == [value > 0 for value in sizes]
    if not degrees:
        ids = [o["id"] for o in objects]
        metadata = top["metadata"]
        assert s.roles.sdc == metadata["sdc_track_index"]
        assert np.flatnonzero(s.roles.predict).tolist() == sorted(
            p["track_index"] for p in metadata["tracks_to_predict"]
        )
        assert np.flatnonzero(s.roles.of_interest).tolist() == sorted(map(ids.index, metadata["objects_of_interest"]))
        kinds = [r["map_element_id"] for r in roads if r["type"] == "lane"]
        assert s.map.lanes.centre.kind.tolist() == kinds
