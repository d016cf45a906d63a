"""Peers in driving: the maps that are written for them, what is measured of a stand-in whose speed is known, and what
is said where they are absent."""

import dataclasses
import os
import shutil
import struct

import numpy as np
import pytest

from mairl.bench import peer
from mairl.bench.peers import pufferdrive, pufferdrive_map
from mairl.scenarios.generate import generate, generate_many
from mairl.scenarios.schema import AgentType, Polylines


@pytest.fixture(scope="module")
def scenario():
    """Agent 1 is of no known kind, agent 2 is not seen at the start and from step 60 on; there is a crosswalk."""
    made = generate(seed=4, kind="four_way_stop")
    tracks = made.tracks
    kind, valid = tracks.type.copy(), tracks.valid.copy()
    kind[1], valid[2] = AgentType.OTHER, (np.arange(91) >= 3) & (np.arange(91) < 60)
    predict = np.zeros(len(tracks), bool)
    predict[[1, 3]] = True
    crosswalk = Polylines(np.eye(4, 3, dtype=np.float32), np.array([0, 4], np.int32), ("c",), np.zeros(1, np.int8))
    return dataclasses.replace(
        made,
        map=dataclasses.replace(made.map, crosswalks=crosswalk),
        tracks=dataclasses.replace(tracks, type=kind, valid=valid),
        roles=dataclasses.replace(made.roles, sdc=4, predict=predict),
    )


def parsed(data: bytes) -> dict:
    """A map, value by value as its loader reads it."""
    at = 0

    def take(form: str, count: int) -> list:
        nonlocal at
        values = struct.unpack_from(f"<{count}{form}", data, at)
        at += 4 * count
        return list(values)

    sdc, predicted = take("i", 2)
    found = {"sdc": sdc, "predict": take("i", predicted), "objects": [], "roads": []}
    counts = take("i", 2)
    for group, count in zip(("objects", "roads"), counts, strict=True):
        for _ in range(count):
            number, kind, name, size = take("i", 4)
            entry = {"map": number, "type": kind, "id": name, "xyz": np.array([take("f", size) for _ in range(3)]).T}
            if group == "objects":
                entry["velocity"] = np.array([take("f", size) for _ in range(3)]).T
                entry["heading"], entry["valid"] = take("f", size), take("i", size)
            entry["size"], entry["goal"], entry["expert"] = take("f", 3), take("f", 3), take("i", 1)[0]
            found[group].append(entry)
    assert at == len(data), "nothing is left over"
    return found


def test_maps_hold_the_agents(scenario):
    found = parsed(pufferdrive_map.map_bytes(scenario, number=7))
    tracks = scenario.tracks
    kept = [k for k in range(len(tracks)) if k != 1]
    assert len(found["objects"]) == len(kept)
    assert (found["sdc"], found["predict"]) == (3, [2]), "one place further, since agent 1 is left out"
    for k, entry in zip(kept, found["objects"], strict=True):
        valid = tracks.valid[k]
        assert (entry["map"], entry["type"], entry["expert"]) == (7, 1, 0)
        np.testing.assert_array_equal(entry["valid"], valid)
        np.testing.assert_array_equal(entry["xyz"][valid], tracks.position[k][valid])
        assert (entry["xyz"][~valid] == -10_000).all()
        np.testing.assert_array_equal(entry["velocity"][:, :2], tracks.velocity[k])
        np.testing.assert_array_equal(np.float32(entry["heading"]), tracks.heading[k])
        first, last = np.flatnonzero(valid)[[0, -1]]
        np.testing.assert_array_equal(np.float32(entry["size"]), tracks.size[k, first][[1, 0, 2]])
        np.testing.assert_array_equal(entry["goal"], tracks.position[k, last])
    assert found["objects"][1]["goal"][0] == tracks.position[2, 59, 0]


def test_maps_hold_the_road(scenario):
    roads = parsed(pufferdrive_map.map_bytes(scenario))["roads"]
    road = scenario.map
    groups = {4: road.lanes.centre, 5: road.lines, 6: road.edges, 8: road.crosswalks}
    for kind, group in groups.items():
        of_kind = [entry for entry in roads if entry["type"] == kind]
        assert len(of_kind) == len(group) > 0
        for k, entry in enumerate(of_kind):
            whole = group.line(k)
            np.testing.assert_array_equal(entry["xyz"][[0, -1]], whole[[0, -1]])
            assert all((whole == point).all(1).any() for point in entry["xyz"])
    assert sum(entry["type"] == 7 for entry in roads) == len(road.stop_signs.position) > 0
    assert sum(len(e["xyz"]) for e in roads if e["type"] == 4) < len(road.lanes.centre.points) / 2


def test_marked_experts_are_told(scenario):
    marked = dataclasses.replace(scenario, notes={"mark_as_expert": [k == 2 for k in range(scenario.num_agents)]})
    found = parsed(pufferdrive_map.map_bytes(marked))
    assert [entry["expert"] for entry in found["objects"]][:3] == [0, 1, 0]


def test_lines_lose_only_points_that_hardly_bend_them():
    straight = np.linspace([0, 0, 0], [90, 30, 0], 40)
    assert len(pufferdrive_map.thinned(straight)) == 2
    corner = np.concatenate([straight, straight[-1] + np.linspace([-1, 3, 0], [-10, 30, 0], 10)])
    np.testing.assert_allclose(pufferdrive_map.thinned(corner), corner[[0, 39, 49]])
    angle = np.linspace(0, np.pi, 400)
    circle = 20 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    left = pufferdrive_map.thinned(circle)
    a, b = left[1:-1] - left[:-2], left[2:] - left[1:-1]
    assert (np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2 >= 0.1).all()
    assert 10 < len(left) < 60
    assert np.hypot(*((left[1:] + left[:-1]) / 2)[:, :2].T).min() > 19.5, "chords stay near the arc"


def test_agents_are_shared_out_evenly():
    assert pufferdrive.shared_out([2, 50, 9, 50], 40) == [2, 15, 9, 14]
    assert pufferdrive.shared_out([2, 3], 40) == [2, 3]
    assert pufferdrive.shared_out([5, 5, 5], 2) == [1, 1, 0]


STAND_IN = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "raylib.h"
#define CLASSIC 0
#define MAX_AGENTS 64
#define MAX_ROAD_SEGMENT_OBSERVATIONS 200
typedef struct { float n, collision_rate, offroad_rate; } Log;
struct Drive {
    float* actions;
    char* map_name;
    int num_agents;
    int active_agent_count;
    int num_objects;
    int num_roads;
    int scenario_length;
    float dt;
    Log log;
};
typedef struct Drive Drive;
void load_map_binary(const char* name, Drive* env) {
    int head[2], size[2];
    FILE* file = fopen(name, "rb");
    fread(head, 4, 2, file);
    fseek(file, 4 * head[1], SEEK_CUR);
    fread(size, 4, 2, file);
    fclose(file);
    env->num_objects = size[0];
    env->num_roads = size[1] + LOST;
}
void allocate(Drive* env) {
    load_map_binary(env->map_name, env);
    env->active_agent_count = env->num_agents ? env->num_agents : 5;
    env->actions = calloc(2 * env->active_agent_count, sizeof(float));
}
void c_reset(Drive* env) {}
void c_step(Drive* env) {
    struct timespec nap = {0, 2000000};
    nanosleep(&nap, NULL);
    for (int i = 0; i < 2 * env->active_agent_count; i++)
        if (env->actions[i] < -1 || env->actions[i] > 1) abort();
    if (env->scenario_length != 91 || env->dt != 0.1f) abort();
    env->log.n += env->active_agent_count;
    env->log.offroad_rate += env->active_agent_count / 2.0f;
}
struct Client {
    NotKnownHere camera;
};
"""
"""What the program calls, in 2 ms a step and scene; what draws does not compile."""

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a header in a checkout that `MAIRL_PUFFERDRIVE` names."""
    header = tmp_path / "checkout/pufferlib/ocean/drive/drive.h"
    header.parent.mkdir(parents=True)
    monkeypatch.setenv("MAIRL_PUFFERDRIVE", str(tmp_path / "checkout"))
    monkeypatch.delenv("CC", raising=False)

    def put(text: str) -> None:
        header.write_text(text, encoding="utf-8")

    return put


def measure(folder, agents=6):
    (folder / "build").mkdir()
    return pufferdrive.measured(generate_many(0, 2, "on_ramp"), 3, agents, 0.2, 2, folder / "build")


@needs_compiler
def test_steps_of_all_processes_are_counted(stand_in, tmp_path):
    stand_in(STAND_IN.replace("LOST", "0"))
    row = measure(tmp_path)
    assert (row["agents"], row["scenes"], row["different_scenes"], row["observation_floats"]) == (6, 3, 2, 1848)
    most = 6 / 0.006
    assert 0.2 * most < row["one_process"] <= most
    assert row["range"][0] <= row["agent_steps_per_s"] <= row["range"][1]
    assert row["agent_steps_per_s"] <= most * row["processes"]
    assert row["processes"] == 1 or row["agent_steps_per_s"] > 1.3 * row["one_process"], "naps do not share a core"
    assert (row["collided"], row["offroad"]) == (0.0, 0.5)
    assert row["cores_used"] < 0.5, "naps are no work"
    assert row["flags"].startswith("-O3")


@needs_compiler
def test_agents_are_as_many_as_there_are(stand_in, tmp_path):
    stand_in(STAND_IN.replace("LOST", "0"))
    assert measure(tmp_path, agents=518)["agents"] == 15


@needs_compiler
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (STAND_IN.replace("LOST", "1"), "another map format"),
        (STAND_IN.replace("LOST", "no_such_name"), "was not compiled"),
        (STAND_IN.replace("LOST", "0").replace(": 5", ": 0"), "controls nobody"),
        (STAND_IN.replace("LOST", "0").replace("!= 91", "== 91"), "crashed"),
        ("struct Agent { int id; };", "not PufferDrive 2's"),
    ],
)
def test_other_versions_are_refused(stand_in, tmp_path, text, why):
    stand_in(text)
    with pytest.raises(pufferdrive.Absent, match=why):
        measure(tmp_path)


def test_what_is_absent_is_named(stand_in, tmp_path, monkeypatch):
    with pytest.raises(pufferdrive.Absent, match="has no pufferlib"):
        measure(tmp_path)
    stand_in(STAND_IN)
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(pufferdrive.Absent, match="name a C compiler in CC"):
        pufferdrive.compiled(tmp_path / "checkout", tmp_path)
    monkeypatch.delenv("MAIRL_PUFFERDRIVE")
    assert "MAIRL_PUFFERDRIVE is not set" in peer.run_peer("pufferdrive", "mairl")["skipped"]


@pytest.mark.skipif("MAIRL_PUFFERDRIVE" not in os.environ, reason="needs a checkout of PufferDrive")
def test_pufferdrive_itself():
    row = peer.run_peer("pufferdrive", "mairl", "--scenes", "3", "--agents", "20", "--seconds", "0.2", "--repeats", "1")
    assert (row.get("skipped"), row["agents"], row["observation_floats"]) == (None, 20, 1848)
    assert 0 < row["offroad"] < 1


@pytest.mark.skipif(peer.interpreter_for("waymax") is None, reason="needs Waymax")
def test_waymax_itself():
    row = peer.run_peer("waymax_metrics", "waymax", "200", "--worlds", "2", "--repeats", "1")
    assert row.get("skipped") is None
    (rate,) = row["rates"]
    assert (rate["road_points"], rate["worlds"], rate["objects"], rate["steps"]) == (200, 2, 32, 80)
    assert 0 < rate["offroad"] < 1
    assert 0 < rate["overlap"] < 1


def test_waymax_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.delenv("MAIRL_WAYMAX_PYTHON", raising=False)
    monkeypatch.setattr(peer.importlib.util, "find_spec", lambda name: None)
    assert "MAIRL_WAYMAX_PYTHON" in peer.run_peer("waymax_metrics", "waymax")["skipped"]
