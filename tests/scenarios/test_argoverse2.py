"""Argoverse 2: a made-up scene against values by hand, damaged ones, and a real one against its tables."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios import argoverse2
from mairl.scenarios.schema import AgentType, EdgeType, LaneType, LineType, Scenario

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA
SCENES = sorted(p for p in (DATA / "argoverse2").iterdir() if p.is_dir()) if DATA else []


def columns():
    """A recording vehicle, a cyclist who comes late, a bus, a box and a pedestrian: steps 0 to 5, observed to 2."""
    kinds = {"AV": "vehicle", "7": "cyclist", "8": "bus", "9": "static", "10": "pedestrian"}
    categories = {"AV": 1, "7": 3, "8": 2, "9": 0, "10": 0}
    rows = []
    for k, (track, kind) in enumerate(kinds.items()):
        for step in range(2 if track == "7" else 0, 6):
            rows.append((track, kind, categories[track], step, 1000.0 + 10 * k + step, 2000.5 + k, 0.25 * k, 10.0, -k))
    names = ("track_id", "object_type", "object_category", "timestep", "position_x", "position_y", "heading")
    found: dict[str, list] = dict(zip((*names, "velocity_x", "velocity_y"), map(list, zip(*rows))))
    found["velocity_y"] = [float(v) for v in found["velocity_y"]]
    found["observed"] = [step <= 2 for step in found["timestep"]]
    for name, value in {"scenario_id": "made", "focal_track_id": "7", "city": "nowhere"}.items():
        found[name] = [value] * len(rows)
    return found


def points(*found):
    return [dict(zip("xyz", map(float, p))) for p in found]


def segment(identity, y, back=False, left="NONE", right="NONE", **rest):
    """A lane 4 m wide from x = 1000 to 1040 whose right boundary (as it stands on paper, the lower one) is at y."""
    rise = 0.1 * (y - 2000)
    low, mid, high = ([(1000, y + up, z), (1040, y + up, z)] for up, z in ((0, 5 + rise), (2, 0), (4, 5.4 + rise)))
    order = [line[::-1] if back else line for line in ((low, mid, high) if back else (high, mid, low))]
    return {
        "id": identity,
        "left_lane_boundary": points(*order[0]),
        "centerline": points(*order[1]),
        "right_lane_boundary": points(*order[2]),
        "left_lane_mark_type": left,
        "right_lane_mark_type": right,
        "lane_type": "VEHICLE",
        "is_intersection": False,
        "predecessors": [],
        "successors": [],
        "left_neighbor_id": None,
        "right_neighbor_id": None,
    } | rest


def archive():
    """Two lanes one way, one back, one that goes on; a second area that meets the first, one crossing."""
    lanes = [
        segment(1, 2000, left="DASHED_WHITE", left_neighbor_id=2, successors=[4]),
        segment(2, 2004, left="DOUBLE_SOLID_YELLOW", right="NONE", left_neighbor_id=3, right_neighbor_id=1),
        segment(3, 2008, back=True, lane_type="BIKE", left_neighbor_id=2, successors=[99]),
        segment(4, 2000, lane_type="BUS", is_intersection=True, predecessors=[1]),
    ]
    for part in ("left_lane_boundary", "centerline", "right_lane_boundary"):
        for p in lanes[3][part]:
            p["x"] += 40
    areas = {
        "5": [(1000, 2000, 5), (1000, 2012, 5), (1040, 2012, 6), (1040, 2000, 6)],
        "6": [(1040, 2000, 6), (1080, 2000, 6), (1080, 2004, 6), (1040, 2004, 6)],
    }
    return {
        "lane_segments": {str(lane["id"]): lane for lane in lanes},
        "drivable_areas": {i: {"id": int(i), "area_boundary": points(*ring)} for i, ring in areas.items()},
        "pedestrian_crossings": {
            "70": {
                "id": 70,
                "edge1": points((1020, 2000, 5), (1020, 2012, 5)),
                "edge2": points((1023, 2012, 5), (1023, 2000, 5)),
            }
        },
    }


def scene(folder, table=None, road=None, name="made"):
    """Writes a scene; returns its folder."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns() if table is None else table), folder / "scenario_made.parquet")
    (folder / f"log_map_archive_{name}.json").write_text(json.dumps(archive() if road is None else road))
    return folder


def only(path):
    found = list(argoverse2.read(path))
    assert len(found) == 1
    return found[0]


def good(path) -> Scenario:
    found = only(path)
    assert isinstance(found, Scenario), found
    return found


def said(path) -> str:
    found = only(path)
    assert isinstance(found, InvalidData), "it was taken for good"
    assert "\n" not in str(found)
    assert str(path) in str(found)
    return str(found)


def world(points, scenario):
    return np.asarray(points, np.float64) + scenario.offset


def lines(group, scenario):
    return {group.ids[k]: world(group.line(k), scenario) for k in range(len(group))}


def test_tracks(tmp_path):
    s = good(scene(tmp_path / "scene"))
    assert (s.scenario_id, s.source, s.dt, s.current) == ("made", "argoverse2", 0.1, 2)
    assert (s.num_agents, s.num_steps) == (5, 6)
    assert s.tracks.ids == ("AV", "7", "8", "9", "10")
    kinds = (AgentType.VEHICLE, AgentType.CYCLIST, AgentType.VEHICLE, AgentType.OTHER, AgentType.PEDESTRIAN)
    assert s.tracks.type.tolist() == list(kinds)
    assert s.tracks.valid.sum(1).tolist() == [6, 4, 6, 6, 6]
    assert not s.tracks.valid[1, :2].any()
    np.testing.assert_allclose(world(s.tracks.position[1, 3], s)[:2], [1013, 2001.5])
    np.testing.assert_allclose(s.tracks.velocity[2, 5], [10, -2])
    np.testing.assert_allclose(s.tracks.heading[:, 5], [0, 0.25, 0.5, 0.75, 1])
    assert not s.tracks.size_known.any()
    assert not s.tracks.z_known
    assert s.roles.sdc == 0
    assert s.roles.predict.tolist() == [False, True, True, False, False]
    assert s.notes == {"city": "nowhere", "focal_track_id": "7", "intersection_lanes": ["4"]}


def test_map(tmp_path):
    s = good(scene(tmp_path / "scene") / "scenario_made.parquet")
    lanes = s.map.lanes
    assert lanes.centre.ids == ("1", "2", "3", "4")
    assert lanes.centre.kind.tolist() == [LaneType.STREET, LaneType.STREET, LaneType.BIKE, LaneType.BUS]
    np.testing.assert_allclose(lanes.width, 4, rtol=1e-6)
    assert lanes.centre.z_known
    # Between its boundaries: 5 and 5.4 for the first lane, 0.4 m more for the next.
    np.testing.assert_allclose(world(lanes.centre.line(0), s), [[1000, 2002, 5.2], [1040, 2002, 5.2]], atol=1e-4)
    np.testing.assert_allclose(world(lanes.centre.line(1), s)[:, 2], 5.6, atol=1e-4)
    assert lanes.successors.tolist() == [[0, 3]]
    assert lanes.left_neighbours.tolist() == [[0, 1]]  # The third comes the other way.
    assert lanes.right_neighbours.tolist() == [[1, 0]]
    assert not lanes.speed_limit_known.any()
    assert lanes.left_boundary.tolist() == [
        LineType.BROKEN_WHITE,
        LineType.SOLID_DOUBLE_YELLOW,
        LineType.NONE,
        LineType.NONE,
    ]
    (crossing,) = lines(s.map.crosswalks, s).values()
    np.testing.assert_allclose(crossing[:, :2], [[1020, 2000], [1020, 2012], [1023, 2012], [1023, 2000]], atol=1e-4)
    assert len(s.signals.lane) == len(s.map.stop_signs.ids) == 0


def test_paint_comes_once(tmp_path):
    road = archive()
    for p, q in zip(
        road["lane_segments"]["2"]["right_lane_boundary"], road["lane_segments"]["1"]["left_lane_boundary"]
    ):
        p["z"] = q["z"]  # Now both lanes have the very same boundary, of which the second says that it has no paint.
    s = good(scene(tmp_path / "scene", road=road))
    found = dict(zip(s.map.lines.ids, s.map.lines.kind.tolist()))
    assert found == {"1.left": LineType.BROKEN_WHITE, "2.left": LineType.SOLID_DOUBLE_YELLOW}


def test_edges_leave_out_cuts(tmp_path):
    s = good(scene(tmp_path / "scene"))
    edges = lines(s.map.edges, s)
    assert set(s.map.edges.kind.tolist()) == {EdgeType.BOUNDARY}
    steps = np.concatenate([np.stack([line[:-1], line[1:]], 1)[..., :2] for line in edges.values()])
    middle, across = steps.mean(1), np.diff(steps, axis=1)[:, 0]
    # None where the areas meet (x = 1040 below y = 2004) nor where the third lane leaves (x = 1000 above y = 2008).
    upright = np.abs(across[:, 0]) < 1e-3
    spans = sorted(
        (round(x), *sorted((round(a), round(b)))) for x, (a, b) in zip(middle[upright, 0], steps[upright, :, 1])
    )
    assert spans == [(1000, 2000, 2008), (1040, 2004, 2012), (1080, 2000, 2004)]
    # The road is on the left hand.
    left = middle + 0.5 * np.stack([-across[:, 1], across[:, 0]], 1) / np.linalg.norm(across, axis=1)[:, None]
    x, y = left.T
    assert (
        ((x > 1000) & (x < 1040) & (y > 2000) & (y < 2012)) | ((x > 1040) & (x < 1080) & (y > 2000) & (y < 2004))
    ).all()
    assert all(np.isin(np.round(line[:, 2], 3), (5, 6)).any() for line in edges.values())


def test_an_outline_without_cuts_is_closed(tmp_path):
    road = archive()
    del road["drivable_areas"]["6"]
    road["lane_segments"]["3"]["successors"] = []
    s = good(scene(tmp_path / "scene", road=road))
    (ring,) = lines(s.map.edges, s).values()
    assert ring[0].tolist() == ring[-1].tolist()
    x, y = (ring - ring[0])[:, :2].T
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 == pytest.approx(40 * 12)


def test_knows(tmp_path):
    head = (scene(tmp_path / "scene") / "scenario_made.parquet").read_bytes()[:4096]
    assert argoverse2.knows(head)
    assert not argoverse2.knows(b"")
    assert not argoverse2.knows(b"<commonRoad ")


def change(name, value, row=0):
    def changed(table):
        table[name][row] = value
        return table

    return changed


def without(name):
    return lambda table: {k: v for k, v in table.items() if k != name}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: {"a": [1]}, "is it an Argoverse 2 scene?"),
        (without("heading"), "lacks the columns heading"),
        (lambda t: {k: v[:0] for k, v in t.items()}, "0 rows"),
        (lambda t: t | {"timestep": [float(x) for x in t["timestep"]]}, "column timestep holds double"),
        (lambda t: t | {"track_id": list(range(len(t["track_id"])))}, "column track_id holds int64"),
        (change("heading", None), "1 empty"),
        (change("scenario_id", "other"), "column scenario_id has 2 different values"),
        (change("timestep", -1), "timestep runs from -1"),
        (change("timestep", 2**62), "timestep runs from"),
        (change("timestep", 1), "1 rows repeat"),
        (change("position_x", float("nan")), "column position_x holds 1 values that are not finite"),
        (change("position_x", 1e300), "tracks.position"),
        (change("velocity_x", 400.0), "tracks.velocity"),
        (lambda t: t | {"position_x": [x + 5000 for x in t["position_x"]]}, "the map is of another scene"),
    ],
)
def test_a_planted_fault_in_the_tracks_is_named(make, words, tmp_path):
    assert words in said(scene(tmp_path / "scene", make(columns())))


def planted(path, value):
    def changed(road):
        *way, last = path
        inner = road
        for step in way:
            inner = inner[step]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
        return road

    return changed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("lane_segments",), None, "no lane_segments"),
        (("lane_segments",), [], "no lane_segments"),
        (("lane_segments",), {}, "no lane segments"),
        (("lane_segments", "1"), 3, "no lane_segments"),
        (("lane_segments", "1", "centerline"), None, "lane segment 1: centerline has 0 points"),
        (("lane_segments", "1", "centerline"), 5, "lane segment 1: centerline is no list"),
        (("lane_segments", "1", "centerline", 0, "x"), "north", "lane segment 1: centerline is no list"),
        (("lane_segments", "1", "centerline", 0, "x"), float("nan"), "all finite"),
        (("lane_segments", "1", "centerline", 0, "x"), 10**400, "lane segment 1: centerline is no list"),
        (("lane_segments", "1", "centerline", 0, "x"), 1e8, "map.lanes.centre.points reaches"),
        (("lane_segments", "1", "successors"), 3, "successors is no list"),
        (("drivable_areas", "5", "area_boundary"), points((0, 0, 0)), "drivable area 5: area_boundary has 1"),
        (("drivable_areas", "5", "area_boundary", 0, "x"), 9e8, "are they in metres?"),
        (("pedestrian_crossings", "70", "edge2"), None, "pedestrian crossing 70: edge2"),
    ],
)
def test_a_planted_fault_in_the_map_is_named(path, value, words, tmp_path):
    found = said(scene(tmp_path / "scene", road=planted(path, value)(archive())))
    assert words in found


def test_map_missing_or_of_another_scene(tmp_path):
    folder = scene(tmp_path / "scene", name="other")
    assert "log_map_archive_other.json, of another scene" in said(folder)
    (folder / "log_map_archive_other.json").unlink()
    assert "log_map_archive_made.json is missing" in said(folder)
    (folder / "log_map_archive_made.json").write_text("[" * 100_000)
    assert "no whole JSON" in said(folder)
    assert "0 files" in said(tmp_path)
    assert "absent" in said(tmp_path / "absent.parquet")
    (folder / "scenario_twin.parquet").write_bytes(b"")
    assert "2 files" in said(folder)
    assert "cannot be read" in said(folder / "scenario_twin.parquet")


def damaged(content: bytes, rng) -> bytes:
    """A cut, or some flipped bits."""
    if rng.random() < 0.3:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 10)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def grafted(road, rng):
    """One value somewhere in a JSON tree removed or replaced."""
    inner = road
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = keys[rng.integers(len(keys))]
        if isinstance(inner[key], dict | list) and len(inner[key]) and rng.random() < 0.85:
            inner = inner[key]
            continue
        if rng.random() < 0.3:
            del inner[key]
        else:
            values = (None, -1, 1e300, float("inf"), "", "2", [], {}, [[]], True, [None], 10**30, {"x": 1})
            inner[key] = values[rng.integers(len(values))]
        return road


def test_damaged_scenes_never_raise(tmp_path):
    rng, folder = np.random.default_rng(3), scene(tmp_path / "scene")
    tracks, road = folder / "scenario_made.parquet", folder / "log_map_archive_made.json"
    whole = {file: file.read_bytes() for file in (tracks, road)}
    found = []
    for file, content in whole.items():
        for _ in range(120):
            file.write_bytes(damaged(content, rng))
            found.append(only(folder))
        file.write_bytes(content)
    for _ in range(200):
        road.write_text(json.dumps(grafted(archive(), rng)))
        found.append(only(folder))
    bad = sum(isinstance(one, InvalidData) for one in found)
    assert all(isinstance(one, InvalidData | Scenario) for one in found)
    assert 150 < bad < len(found)


@pytest.mark.skipif(not SCENES, reason="no Argoverse 2 scene")
def test_damaged_real_scene_never_raises(tmp_path):
    rng, folder = np.random.default_rng(4), tmp_path / "scene"
    folder.mkdir()
    files = [next(SCENES[0].glob(pattern)) for pattern in ("scenario_*.parquet", "log_map_archive_*.json")]
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    for file in files:
        for _ in range(8):
            (folder / file.name).write_bytes(damaged(file.read_bytes(), rng))
            assert isinstance(only(folder), InvalidData | Scenario)
        (folder / file.name).write_bytes(file.read_bytes())
    assert isinstance(only(folder), Scenario)


@pytest.mark.skipif(not SCENES, reason="no Argoverse 2 scene")
@pytest.mark.parametrize("folder", SCENES, ids=lambda folder: folder.name)
def test_real_scene_against_its_tables(folder):
    s = good(folder)
    table = pq.read_table(next(folder.glob("*.parquet")))
    rows = table.to_pylist()
    seen = Counter(row["track_id"] for row in rows)
    assert s.scenario_id == folder.name
    assert s.num_steps == 110
    assert s.current == 49 == max(row["timestep"] for row in rows if row["observed"])
    assert dict(zip(s.tracks.ids, s.tracks.valid.sum(1).tolist())) == dict(seen)
    assert s.roles.sdc is not None
    assert s.tracks.ids[s.roles.sdc] == "AV"
    scored = {row["track_id"] for row in rows if row["object_category"] in (2, 3)}
    assert {i for i, asked in zip(s.tracks.ids, s.roles.predict) if asked} == scored
    assert rows[0]["focal_track_id"] in scored
    vehicles = {row["track_id"] for row in rows if row["object_type"] in ("vehicle", "bus", "motorcyclist")}
    assert {i for i, kind in zip(s.tracks.ids, s.tracks.type) if kind == AgentType.VEHICLE} == vehicles
    index = {identity: k for k, identity in enumerate(s.tracks.ids)}
    agent = np.array([index[row["track_id"]] for row in rows])
    step = table["timestep"].to_numpy()
    place = np.stack([table[f"position_{axis}"].to_numpy() for axis in "xy"], 1)
    np.testing.assert_allclose(world(s.tracks.position, s)[agent, step, :2], place, atol=2e-5)
    speed = np.stack([table[f"velocity_{axis}"].to_numpy() for axis in "xy"], 1)
    np.testing.assert_allclose(s.tracks.velocity[agent, step], speed, atol=1e-5)
    heading = np.exp(1j * s.tracks.heading[agent, step])
    np.testing.assert_allclose(heading, np.exp(1j * table["heading"].to_numpy()), atol=1e-6)

    road = json.loads(next(folder.glob("*.json")).read_text())
    segments = {str(lane["id"]): lane for lane in road["lane_segments"].values()}
    lanes = s.map.lanes
    assert set(lanes.centre.ids) == set(segments)
    assert len(s.map.crosswalks) == len(road["pedestrian_crossings"])
    ways = {(a, str(b)) for a, lane in segments.items() for b in lane["successors"] if str(b) in segments}
    assert {tuple(lanes.centre.ids[k] for k in pair) for pair in lanes.successors} == ways
    # Neighbours of the same direction name one another from opposite sides.
    left = {
        (a, str(lane["left_neighbor_id"]))
        for a, lane in segments.items()
        if str(segments.get(str(lane["left_neighbor_id"]), {}).get("right_neighbor_id")) == a
    }
    assert {tuple(lanes.centre.ids[k] for k in pair) for pair in lanes.left_neighbours} == left
    heights = [
        p["z"] for lane in segments.values() for side in ("left", "right") for p in lane[f"{side}_lane_boundary"]
    ]
    z = world(lanes.centre.points, s)[:, 2]
    assert lanes.centre.z_known
    assert min(heights) - 0.01 <= z.min() < z.max() <= max(heights) + 0.01
    # A lane whose boundaries are straight, by hand: its width where it begins.
    for k, identity in enumerate(lanes.centre.ids):
        lane = segments[identity]
        if all(len(lane[f"{side}_lane_boundary"]) == 2 for side in ("left", "right")):
            first = np.array([lane["centerline"][0]["x"], lane["centerline"][0]["y"]])
            across = 0.0
            for side in ("left", "right"):
                a, b = (np.array([p["x"], p["y"]]) for p in lane[f"{side}_lane_boundary"])
                t = np.clip((first - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
                across += np.linalg.norm(a + t * (b - a) - first)
            np.testing.assert_allclose(lanes.width[lanes.centre.starts[k]], across, rtol=1e-5)
    # Nobody who drives along the lanes crosses a road edge: the recording vehicle does not.
    own = world(s.tracks.position[s.roles.sdc], s)[:, :2]
    for line in lines(s.map.edges, s).values():
        assert not crosses(own, line[:, :2])


def crosses(path, line):
    """Whether two lines `[n, 2]` cross, by the sides on which the ends of each pair of pieces lie."""

    def side(a, b, c):
        return np.sign(
            (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        )

    a, b, c, d = path[:-1, None], path[1:, None], line[None, :-1], line[None, 1:]
    return ((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any()
