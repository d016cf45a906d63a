"""Made-up records of WOMD are what the reader reads, and the benchmark counts what was imported."""

import json
from pathlib import Path

import numpy as np
import pytest

from mairl.bench.scenarios import bench_scenarios
from mairl.bench.womd_records import record
from mairl.cli import main
from mairl.core.errors import InvalidData
from mairl.scenarios import tfrecord, waymo
from mairl.scenarios.generate import generate
from mairl.scenarios.schema import Scenario


@pytest.mark.parametrize("kind", ["four_way_signal", "t_stop", "on_ramp"])
def test_a_record_is_read_as_what_was_made(tmp_path, kind):
    made = generate(1, kind, steps=12, warm_up=10.0)
    file = tmp_path / "made.tfrecord"
    file.write_bytes(tfrecord.frame(record(made)))
    (read,) = waymo.read(file)
    assert isinstance(read, Scenario), read
    assert (read.scenario_id, read.dt, read.current) == (made.scenario_id, made.dt, made.current)
    for name in ("heading", "velocity", "size", "valid", "type"):
        np.testing.assert_array_equal(getattr(read.tracks, name), getattr(made.tracks, name), name)
    shift = made.offset - read.offset
    there = made.tracks.valid
    np.testing.assert_allclose(read.tracks.position[there], (made.tracks.position + shift)[there], atol=1e-4)
    assert read.roles.sdc == made.roles.sdc
    np.testing.assert_array_equal(read.roles.predict, made.roles.predict)
    ours, theirs = made.map, read.map
    for name in ("edges", "lines", "crosswalks"):
        a, b = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_array_equal(a.starts, b.starts, name)
        np.testing.assert_array_equal(a.kind, b.kind, name)
        np.testing.assert_allclose(a.points + shift, b.points, atol=1e-4)
    a, b = ours.lanes, theirs.lanes
    np.testing.assert_allclose(a.centre.points + shift, b.centre.points, atol=1e-4)
    np.testing.assert_array_equal(a.centre.kind, b.centre.kind)
    np.testing.assert_allclose(a.speed_limit, b.speed_limit, rtol=1e-6)
    for name in ("successors", "left_neighbours", "right_neighbours"):
        assert sorted(getattr(a, name).tolist()) == sorted(getattr(b, name).tolist()), name
    assert b.width_known.all()
    assert sorted(ours.stop_signs.controls.tolist()) == sorted(theirs.stop_signs.controls.tolist())
    order = np.argsort(made.signals.lane), np.argsort(read.signals.lane)
    np.testing.assert_array_equal(made.signals.lane[order[0]], read.signals.lane[order[1]])
    np.testing.assert_array_equal(made.signals.state[order[0]], read.signals.state[order[1]])


def test_counts_what_was_imported(tmp_path):
    made = [generate(k, "t_stop", steps=12, warm_up=10.0) for k in range(2)]
    file = tmp_path / "made.tfrecord"
    file.write_bytes(b"".join(tfrecord.frame(record(s)) for s in made))
    result = bench_scenarios(file, scenes=6, repeats=2)
    assert (result["scenes"], result["distinct_scenes"], result["repeats"]) == (6, 2, 2)
    assert result["agents_a_scene"] == np.mean([s.num_agents for s in made])
    low, high = result["scenes_per_core_s_range"]
    assert 0 < low <= result["scenes_per_core_s"] <= high
    whole = result["whole_dataset"]
    assert whole["core_hours"] * 3600 * result["scenes_per_core_s"] == pytest.approx(whole["scenes"])
    assert whole["gigabytes"] * 1e9 == pytest.approx(result["bytes_a_scene"] * whole["scenes"])
    assert bench_scenarios(file, scenes=1, repeats=1)["distinct_scenes"] == 1


def test_without_data_it_makes_its_own():
    result = bench_scenarios(scenes=2, repeats=1)
    assert result["distinct_scenes"] == 2
    assert result["map_points_a_scene"] > 1000


def test_damage_and_misuse(tmp_path, capsys):
    file = tmp_path / "cut.tfrecord"
    file.write_bytes(tfrecord.frame(b"x" * 100)[:50])
    with pytest.raises(InvalidData, match=r"cut\.tfrecord, record 0"):
        bench_scenarios(file)
    with pytest.raises(SystemExit):
        main(["bench", "games", "--data", str(file)])
    assert "--data is for scenarios" in capsys.readouterr().err


def test_the_kept_result_names_its_making():
    facts = json.loads((Path(__file__).parents[2] / "benchmarks/results/scenarios.json").read_text())
    assert facts["command"].startswith("mairl bench scenarios")
    assert facts["commit"]
    assert facts["machine"]["cpu"]
    assert facts["scenes_per_core_s"] >= facts["target_scenes_per_core_s"] == 20
