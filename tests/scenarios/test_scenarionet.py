"""ScenarioNet's pickles: made-up scenes with and without a graph, real ones against plain counting, and damage."""

import io
import json
import math
import os
import pickle
from pathlib import Path

import log_damage
import numpy as np
import pytest
from log_damage import check, damaged, graft

from mairl.core.errors import InvalidData
from mairl.scenarios import scenarionet
from mairl.scenarios.schema import AgentType, EdgeType, LaneType, LineType, Scenario, SignalState

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA
FILES = sorted((DATA / "nuscenes_scenarionet").glob("*.pkl")) if DATA else []


def track(kind, start, speed, lost, steps, name):
    time = np.arange(steps)
    valid = time < lost
    position = np.stack([start[0] + speed * 0.1 * time, np.full(steps, start[1]), np.full(steps, 1.0)], 1)
    velocity = np.stack([np.full(steps, speed), np.zeros(steps)], 1)
    return {
        "type": kind,
        "state": {
            "position": np.where(valid[:, None], position, 0.0).astype(np.float32),
            "heading": np.zeros(steps, np.float32),
            "velocity": np.where(valid[:, None], velocity, 0.0).astype(np.float32),
            "valid": valid,
            "length": np.full(steps, 4.5, np.float32),
            "width": np.full(steps, 2.0, np.float32),
            "height": np.full(steps, 1.6, np.float32),
        },
        "metadata": {"type": f"{kind}.kind", "track_length": steps, "object_id": name},
    }


def scene(steps=20):
    """A road of two lanes that go on, with everything that a Waymo conversion has."""
    x = np.linspace(0, 50, 11)

    def along(x0, y):
        return np.stack([x + x0, np.full(11, y), np.ones(11)], 1).astype(np.float32)

    def lane(x0, y, **more):
        return {"type": "LANE_SURFACE_STREET", "polyline": along(x0, y), "speed_limit_mph": 25.0, **more}

    bounded = [{"boundary_type": "ROAD_LINE_SOLID_SINGLE_YELLOW", "lane_start_index": "0", "lane_end_index": "10"}]
    square = np.array([[0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1], [0, 0, 1]], np.float32)
    return {
        "id": "made",
        "version": "1",
        "length": steps,
        "metadata": {
            "ts": np.arange(steps, dtype=np.float32) / 10,
            "sdc_id": "a",
            "dataset": "waymo",
            "coordinate": "waymo",
            "current_time_index": 5,
            "objects_of_interest": ["b"],
            "tracks_to_predict": {"c": {"track_index": 2, "difficulty": 1}},
        },
        "tracks": {
            "a": track("VEHICLE", (0, 0), 8.0, steps, steps, "a"),
            "b": track("PEDESTRIAN", (10, 5), 1.0, 12, steps, "b"),
            "c": track("TRAFFIC_CONE", (20, 5), 0.0, steps, steps, "c"),
        },
        "map_features": {
            "1": lane(
                0,
                0,
                exit_lanes=[3],
                left_neighbor=[{"feature_id": "2"}],
                left_boundaries=bounded,
                width=np.full((11, 2), 1.75),
            ),
            "2": lane(0, 3.5, right_neighbor=[{"feature_id": "1"}]),
            "3": lane(50, 0, entry_lanes=[1]),
            "4": {"type": "ROAD_LINE_BROKEN_SINGLE_WHITE", "polyline": along(0, 1.75)},
            "5": {"type": "ROAD_EDGE_MEDIAN", "polyline": along(0, 6.0)},
            "6": {"type": "CROSSWALK", "polygon": square},
            "7": {"type": "STOP_SIGN", "position": np.array([50, -3, 1], np.float32), "lane": [1]},
            "8": {"type": "ROAD_EDGE_SIDEWALK", "polygon": square},
        },
        "dynamic_map_states": {
            "1": {
                "type": "TRAFFIC_LIGHT",
                "state": {"object_state": [None, "LANE_STATE_ARROW_STOP", *["TRAFFIC_LIGHT_GREEN"] * (steps - 2)]},
                "lane": 1,
                "stop_point": np.array([49, 0, 1], np.float32),
            },
            "77": {"type": "TRAFFIC_LIGHT", "state": {"object_state": [None] * steps}, "lane": 77},
        },
    }


def read_bytes(tmp_path, data):
    file = tmp_path / "made_3.pkl"
    file.write_bytes(data)
    (found,) = scenarionet.read(file)
    return found


def good(tmp_path, top, protocol=4) -> Scenario:
    found = read_bytes(tmp_path, pickle.dumps(top, protocol=protocol))
    assert isinstance(found, Scenario), found
    return found


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_scene_by_hand(tmp_path, protocol):
    s = good(tmp_path, scene(), protocol)
    assert (s.scenario_id, s.source, s.dt, s.current, s.num_agents, s.num_steps) == (
        "made",
        "scenarionet",
        0.1,
        5,
        3,
        20,
    )
    assert s.tracks.type.tolist() == [AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.OTHER]
    assert s.tracks.valid.sum(1).tolist() == [20, 12, 20]
    np.testing.assert_allclose(s.tracks.position[0, 3] + s.offset, [2.4, 0, 1], atol=1e-5)
    np.testing.assert_allclose(s.tracks.size[0, 0], [4.5, 2.0, 1.6], rtol=1e-6)
    assert s.roles.sdc == 0
    assert s.roles.predict.tolist() == [False, False, True]
    assert s.roles.of_interest.tolist() == [False, True, False]
    lanes = s.map.lanes
    assert lanes.graph_from_source
    assert lanes.successors.tolist() == [[0, 2]]
    assert lanes.left_neighbours.tolist() == [[0, 1]]
    assert lanes.right_neighbours.tolist() == [[1, 0]]
    assert lanes.centre.kind.tolist() == [LaneType.STREET] * 3
    assert lanes.width_known.tolist() == [True, False, False]
    np.testing.assert_allclose(lanes.width[:11], 3.5)
    np.testing.assert_allclose(lanes.speed_limit, 25 * 0.44704, rtol=1e-6)
    assert lanes.left_boundary.tolist() == [LineType.SOLID_YELLOW, 0, 0]
    assert s.map.edges.kind.tolist() == [EdgeType.MEDIAN]
    assert s.map.lines.kind.tolist() == [LineType.BROKEN_WHITE]
    assert len(s.map.crosswalks.points) == 4
    assert s.map.stop_signs.controls.tolist() == [[0, 0]]
    assert s.signals.lane_known.tolist() == [True, False]
    assert s.signals.stop_point_known.tolist() == [True, False]
    assert s.signals.state[0, :3].tolist() == [0, SignalState.ARROW_STOP, SignalState.GO]
    assert s.notes["left_out"] == {"ROAD_EDGE_SIDEWALK": 1}
    assert s.notes["difficulty"] == {"c": 1}
    assert s.notes["types"] == ["VEHICLE.kind", "PEDESTRIAN.kind", "TRAFFIC_CONE.kind"]
    json.dumps(s.notes)


def test_without_relations_the_graph_comes_from_geometry(tmp_path):
    top = scene()
    for feature in top["map_features"].values():
        for name in ("exit_lanes", "entry_lanes", "left_neighbor", "right_neighbor"):
            feature.pop(name, None)
    lanes = good(tmp_path, top).map.lanes
    assert not lanes.graph_from_source
    assert lanes.successors.tolist() == [[0, 2]]
    assert lanes.left_neighbours.tolist() == [[0, 1]]


def test_faults_of_the_nuscenes_conversion_are_put_right(tmp_path):
    top = scene()
    top["metadata"] |= {"dataset": "nuscenes"}
    car = top["tracks"]["a"]["state"]
    car["length"], car["width"] = car["width"], car["length"]
    car["position"][:, 2] = 0.0
    top["tracks"]["b"]["state"]["velocity"][11] = 0.0
    for k, turn in (("1", 0.0), ("2", 0.0)):
        top["map_features"][k]["polyline"][:, 2] = turn
    angle = np.linspace(0, 1, 11)
    top["map_features"]["3"]["polyline"] = [(50 + math.sin(a), 1 - math.cos(a), a + 0.05) for a in angle]
    top["map_features"]["boundary_0"] = {"type": "ROAD_LINE_SOLID_SINGLE_WHITE", "polyline": [[0.0, 0.0], [1.0, 0.0]]}
    s = good(tmp_path, top)
    assert not s.map.lanes.centre.z_known
    assert not s.tracks.z_known
    assert not s.map.lanes.speed_limit_known.any()
    np.testing.assert_allclose(s.tracks.size[0, 0, :2], [4.5, 2.0])
    np.testing.assert_allclose(s.tracks.velocity[1, 11], [1.0, 0.0], atol=1e-3)
    assert s.notes["sdc_size_swapped"]
    assert s.notes["velocities_filled"] == 1
    assert s.map.edges.ids[-1] == "boundary_0"
    assert s.map.edges.kind[-1] == EdgeType.BOUNDARY


def change(path, value):
    def apply(top):
        *way, last = path
        for key in way:
            top = top[key]
        top[last] = value

    return apply


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (change(["length"], 21), r"metadata.ts has shape \(20,\), expected \(21,\)"),
        (change(["length"], "x"), "length is x"),
        (change(["tracks"], []), "tracks is of type list"),
        (change(["tracks", "a", "state", "heading"], np.zeros(3)), "state.heading has shape"),
        (change(["tracks", "a", "state", "position"], np.full((20, 3), np.nan)), "state.position is not finite"),
        (change(["tracks", "a", "state", "valid"], np.full(20, 7)), "else than 0 and 1"),
        (change(["tracks", "a", "state", "heading"], np.full(20, 1.5)), "in degrees, but"),
        (change(["tracks", "a", "state", "heading"], np.full(20, 90.0)), "neither in radians"),
        (change(["tracks", "a", "state", "length"], np.full(20, -1.0)), "negative"),
        (change(["metadata", "sdc_id"], "z"), "sdc_id names 'z'"),
        (change(["metadata", "ts"], np.arange(20.0) ** 2), "expected even ones"),
        (change(["metadata", "current_time_index"], 20), "current is step 20 of 20"),
        (change(["map_features", "1", "polyline"], [[1.0, 2.0], [3.0]]), "no list of points of the same size"),
        (change(["map_features", "1", "polyline"], [["a", "b"]]), "holds a str"),
        (change(["map_features", "1", "speed_limit_mph"], -5.0), "speed_limit_mph"),
        (change(["map_features", "5", "polyline"], np.full((2, 3), np.inf)), "map.edges.points"),
        (change(["dynamic_map_states", "1", "state"], {"object_state": ["x"] * 20}), "object_state holds 'x'"),
        (change(["dynamic_map_states", "1", "state"], {"object_state": [None]}), "has not the 20 steps"),
    ],
)
def test_a_planted_fault_is_named(tmp_path, fault, said):
    top = scene()
    fault(top)
    found = read_bytes(tmp_path, pickle.dumps(top))
    assert isinstance(found, InvalidData)
    assert "made_3.pkl" in str(found)
    with pytest.raises(InvalidData, match=said):
        raise found


class Calls:
    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


def test_hostile_pickles_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for hostile in (Calls(os.system, "touch was-here"), Calls(eval, "open('was-here', 'w')")):
        top = scene()
        top["metadata"]["extra"] = hostile
        found = read_bytes(tmp_path, pickle.dumps(top))
        assert isinstance(found, InvalidData)
        assert "no recording needs" in str(found)
    assert not (tmp_path / "was-here").exists()


def test_shared_lists_do_not_grow_beyond_measure(tmp_path):
    top = scene()
    line = [(float(k), 0.0) for k in range(2000)]
    top["map_features"] |= {f"x{k}": {"type": "ROAD_EDGE_MEDIAN", "polyline": line} for k in range(2000)}
    found = read_bytes(tmp_path, pickle.dumps(top))
    assert "more than 3000000 points" in str(found)
    deep: list = [0.0]
    for _ in range(40):
        deep = [deep] * 4
    top = scene()
    top["map_features"]["1"]["polyline"] = deep
    assert isinstance(read_bytes(tmp_path, pickle.dumps(top)), InvalidData)


def test_the_clock_may_jitter(tmp_path):
    top = scene()
    steps = len(top["metadata"]["ts"])
    top["metadata"]["ts"] = 0.1 * np.arange(steps) + 0.003 * (-1.0) ** np.arange(steps)
    found = read_bytes(tmp_path, pickle.dumps(top))
    assert isinstance(found, Scenario)
    assert found.dt == 0.1


def test_a_file_is_known_by_its_beginning():
    for protocol in (2, 3, 4, 5):
        assert scenarionet.knows(pickle.dumps(scene(), protocol=protocol)[:4096])
    summary = {"sd_made.pkl": {"dataset": "waymo", "ts": np.arange(3), "sdc_id": "a", "track_length": 3}}
    for other in (b"", b"{}", pickle.dumps([1]), pickle.dumps(summary), pickle.dumps({"version": 1})):
        assert not scenarionet.knows(other)


ODD = (
    *log_damage.ODD,
    (),
    {"x"},
    np.zeros(0),
    np.zeros((20, 3)),
    np.full(20, np.nan),
    np.array(["a"]),
    np.array([None]),
    np.float64(2),
    b"x",
)


def test_any_damage_ends_in_an_error_or_a_valid_scene(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "damaged.pkl"
    for _ in range(300):
        top = scene()
        graft(rng, top, ODD)
        file.write_bytes(pickle.dumps(top))
        check(scenarionet.read(file))
    whole = pickle.dumps(scene())
    for _ in range(300):
        file.write_bytes(damaged(rng, whole))
        check(scenarionet.read(file))


@pytest.mark.skipif(not FILES, reason="the sample data is not here")
def test_real_files_damaged(tmp_path):
    rng = np.random.default_rng(1)
    whole = min(FILES, key=lambda f: f.stat().st_size).read_bytes()
    for _ in range(10):
        (tmp_path / "damaged.pkl").write_bytes(damaged(rng, whole))
        check(scenarionet.read(tmp_path / "damaged.pkl"))


class OnlyNumPy(pickle.Unpickler):
    """Another way to read the same files: NumPy's own constructors, by name."""

    def find_class(self, module, name):
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module.replace("_core", "core"), name) == ("numpy.core.multiarray", "_reconstruct"):
            return super().find_class("numpy._core.multiarray", name)
        raise ValueError(module, name)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_real_files_against_plain_counting(file):
    data = file.read_bytes()
    top = OnlyNumPy(io.BytesIO(data)).load()
    assert scenarionet.knows(data[:4096])
    (s,) = scenarionet.read(file)
    assert isinstance(s, Scenario), s
    assert s.scenario_id == top["id"]
    assert (s.dt, s.current, s.num_steps) == (0.1, 10, top["length"])
    assert s.tracks.ids == tuple(top["tracks"])
    assert s.tracks.valid.sum() == sum(int(t["state"]["valid"].sum()) for t in top["tracks"].values())
    words = ["OTHER", "VEHICLE", "PEDESTRIAN", "CYCLIST"]
    kinds = [t["type"] if t["type"] in words else "OTHER" for t in top["tracks"].values()]
    assert [words[k] for k in s.tracks.type] == kinds
    assert s.roles.sdc == list(top["tracks"]).index(top["metadata"]["sdc_id"])
    features = top["map_features"]
    lanes = [f for f in features.values() if f["type"].startswith("LANE")]
    edges = [f for name, f in features.items() if name.startswith("boundary_")]
    lines = [
        f for name, f in features.items() if f["type"].startswith("ROAD_LINE") and not name.startswith("boundary_")
    ]
    for group, mine in ((s.map.lanes.centre, lanes), (s.map.edges, edges), (s.map.lines, lines)):
        assert len(group) == len(mine)
        assert len(group.points) == sum(len(f["polyline"]) for f in mine)
        assert not group.z_known
        for k in range(0, len(mine), 17):
            world = group.line(k).astype(float) + s.offset
            np.testing.assert_allclose(world[:, :2], np.asarray(mine[k]["polyline"])[:, :2], atol=1e-3)
    for k, record in enumerate(top["tracks"].values()):
        state = record["state"]
        when = int(np.flatnonzero(state["valid"])[0])
        world = s.tracks.position[k, when].astype(float) + s.offset
        np.testing.assert_allclose(world[:2], state["position"][when, :2], atol=1e-3)
        assert math.cos(state["heading"][when] - s.tracks.heading[k, when]) > 1 - 1e-6
        size = [float(state[name][when, 0]) for name in ("length", "width", "height")]
        size[:2] = size[1::-1] if k == s.roles.sdc else size[:2]
        np.testing.assert_allclose(s.tracks.size[k, when], size, rtol=1e-6)
    assert not s.map.lanes.speed_limit_known.any()
    assert not s.map.lanes.graph_from_source
    assert len(s.map.lanes.successors) > len(lanes) / 2
