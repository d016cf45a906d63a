"""Stores of scenarios on the command line: JSON, tables, one line on bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scenarios"))

from made_logs import FORMATS, write

from mairl.cli import main, scenario_data_command
from mairl.core.errors import InvalidData
from mairl.scenarios import store
from mairl.testing.scenarios import made_scenario

KEYS = [
    "scenario_id",
    "source",
    "num_agents",
    "num_steps",
    "dt",
    "valid_agent_steps",
    "num_lanes",
    "num_road_edges",
    "num_road_lines",
    "sdc_index",
]


def call(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    store.save([made_scenario(k, agents=k + 1, steps=8) for k in range(5)], folder)
    return folder


def test_info_lists_every_scenario(capsys, made):
    code, out, err = call(capsys, "data", "info", made, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert next(iter(facts)) == "scenarios"
    assert [list(row)[: len(KEYS)] for row in facts["scenarios"]] == [KEYS] * 5
    first = made_scenario(0, agents=1, steps=8)
    assert {k: facts["scenarios"][0][k] for k in KEYS} == {
        "scenario_id": "made-0",
        "source": "generated",
        "num_agents": 1,
        "num_steps": 8,
        "dt": 0.1,
        "valid_agent_steps": int(first.tracks.valid.sum()),
        "num_lanes": 3,
        "num_road_edges": 2,
        "num_road_lines": 1,
        "sdc_index": 0,
    }
    assert facts["agents"] == 15


def test_info_where(capsys, made):
    code, out, _ = call(capsys, "data", "info", made, "--where", "num_agents > 3", "--json")
    assert code == 0
    assert [row["scenario_id"] for row in json.loads(out)["scenarios"]] == ["made-3", "made-4"]
    code, out, err = call(capsys, "data", "info", made, "--where", "agents > 3")
    assert (code, out) == (2, "")
    assert "num_agents" in err
    assert len(err.splitlines()) == 1


def test_info_as_a_table(capsys, made):
    code, out, _ = call(capsys, "data", "info", made)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:3] == ["scenario_id", "source", "num_agents"]
    assert lines[5].split()[:3] == ["made-4", "generated", "5"]
    assert "5 of 5 scenarios" in lines[6]


def test_validate(capsys, made):
    code, out, _ = call(capsys, "data", "validate", made, "--json")
    assert code == 0
    assert json.loads(out) == {
        "valid": True,
        "scenarios": 5,
        "agents": 15,
        "valid_agent_steps": store.read_facts(made)["valid_agent_steps"],
    }
    shard = made / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    code, out, err = call(capsys, "data", "validate", made)
    assert (code, out) == (2, "")
    assert "shard-00000.parquet is damaged" in err
    (made / "metadata.json").write_text("{")
    code, _, err = call(capsys, "data", "info", made)
    assert code == 2
    assert "import the scenarios again" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "fax", "x"], "scenarionet"),
        (["generate", "-o", "nowhere", "--worlds", "1", "--kind", "lake"], "roundabout"),
        (["generate", "-o", "nowhere", "--worlds", "1", "--workers", "-1"], "--workers"),
        (["info", "nowhere", "--where", "num_agents > 3"], "nowhere is no store of scenarios"),
    ],
)
def test_bad_input_ends_in_one_line(capsys, arguments, said):
    code, out, err = call(capsys, "data", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def run(*arguments):
    scenario_data_command.main(["import", "made", *map(str, arguments)], FORMATS)


def test_import_prints_one_object(capsys, tmp_path):
    write(tmp_path / "logs" / "a.log", 1, {"bad": "nan"}, 2)
    write(tmp_path / "logs" / "b.log", 3)
    with pytest.raises(InvalidData, match=r"a\.log: record 1"):
        run(tmp_path / "logs", "-o", tmp_path / "store", "--workers", "1")
    run(tmp_path / "logs", "-o", tmp_path / "store", "--skip-bad", "--resume", "--json", "--workers", "1")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["scenarios"], facts["files"], facts["shards"]) == (3, 2, 1)
    assert "nan" in facts["skipped"][0]["reason"]
    code, out, _ = call(capsys, "data", "info", tmp_path / "store", "--json")
    assert code == 0
    assert [row["scenario_id"] for row in json.loads(out)["scenarios"]] == ["made-1", "made-2", "made-3"]


def test_import_for_people(capsys, tmp_path):
    write(tmp_path / "a.log", 1, 1)
    run(tmp_path / "a.log", "-o", tmp_path / "store", "--skip-bad")
    out = capsys.readouterr().out
    assert "1 scenarios of 1 files" in out
    assert "1 skipped" in out
    assert "made-1" in out


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    write(tmp_path / "a.log", 1)
    with pytest.raises(Exception, match=r"a\.log.*--resume"):
        run(tmp_path / "a.log", "-o", tmp_path / "a.log" / "store")
    with pytest.raises(InvalidData, match="--workers"):
        run(tmp_path / "a.log", "-o", tmp_path / "store", "--workers", "-1")


def test_generate(capsys, tmp_path):
    arguments = ["--worlds", "2", "--seed", "4", "--kind", "roundabout", "--steps", "3", "--workers", "1"]
    code, out, err = call(capsys, "data", "generate", "-o", tmp_path / "store", *arguments, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["scenarios"], facts["shards"], facts["generated"]["kinds"]) == (2, 1, ["roundabout"])
    assert [s.scenario_id for s in store.open(tmp_path / "store")] == ["roundabout-4", "roundabout-5"]
    assert call(capsys, "data", "generate", "-o", tmp_path / "store", *arguments)[0] == 2
    code, out, _ = call(capsys, "data", "generate", "-o", tmp_path / "store", *arguments, "--overwrite")
    assert code == 0
    assert "2 scenarios" in out


def test_stores_are_described_without_jax(made):
    code = (
        "import sys; from mairl.cli import main; main(['data', 'info', sys.argv[1]]); assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 scenarios" in done.stdout
