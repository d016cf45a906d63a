"""The command line as other programs see it: JSON, exit codes, one line on bad input."""

import json
import subprocess
import sys

import pytest

from mairl.cli import COMMANDS, main


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    try:
        main(list(arguments))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demos")
    main(["expert", "gems", "-o", str(folder / "gems"), "--steps", "900", "--greedy"])
    return folder / "gems"


def test_help_names_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)
    done = subprocess.run([sys.executable, "-m", "mairl", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "there is no command 'fly'"),
        (["learn"], "name an algorithm first"),
        (["learn", "mamqll", "--demos", "x", "-o", "y"], "there is no algorithm 'mamqll'"),
        (["learn", "mamql", "--demos", "nowhere", "-o", "y"], "nowhere is no recording"),
        (["evaluate", "nowhere"], "nowhere is no run"),
        (["data", "info", "nowhere"], "nowhere is no recording"),
        (["data", "import", "fax", "x"], "the formats are"),
        (["expert", "chess", "-o", "nowhere"], "there is no game 'chess'"),
        (["expert", "gems:colour=3", "-o", "nowhere"], "unknown option colour"),
        (["expert", "gems", "-o", "nowhere", "--learner", "mamql"], "use one of ppo, dqn, maddpg"),
    ],
)
def test_bad_input_ends_in_one_line(capsys, arguments, said):
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_list_is_one_json_object(capsys):
    code, out, _ = call(capsys, "list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert "gems" in listed["games"]
    assert "mamql" in listed["algorithms"]
    assert "gems" in listed["experts"]


def test_data_info_and_validate(capsys, demos):
    code, out, _ = call(capsys, "data", "info", str(demos), "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["steps"] == 900
    assert facts["game"] == "gems"
    assert len(facts["return_per_agent"]) == 2
    assert call(capsys, "data", "validate", str(demos))[0] == 0


def test_learn_evaluate_render(capsys, demos, tmp_path):
    run = tmp_path / "run"
    small = ["--seeds", "2", "--evaluations", "2", "--episodes", "4", "--quiet", "--json"]
    sizes = ["--critic-network.width", "16", "--reward-network.width", "16", "--batch", "16", "--updates", "2"]
    code, out, _ = call(
        capsys, "learn", "mamql", "--demos", str(demos), "-o", str(run), "--budget", "256", *small, *sizes
    )
    assert code == 0
    summary = json.loads(out)
    assert summary["seeds"] == [0, 1]
    assert summary["failures"] == []
    assert sorted(p.name for p in run.iterdir() if p.name != "tensorboard") == [
        "learned",
        "metrics.parquet",
        "report.html",
        "run.json",
    ]
    config = json.loads((run / "run.json").read_text())["algorithm"]["config"]
    assert config["batch"] == 16
    code, out, _ = call(capsys, "evaluate", str(run), "--episodes", "20", "--json")
    assert code == 0
    measured = json.loads(out)
    assert len(measured["returns"]["sampled"]["ci95"]) == 2
    assert measured["returns"]["expert"]["mean"] > 14
    assert set(measured["returns"]["sampled"]["info"]) == {"own", "purple"}
    assert "on_learner_states" in measured["behaviour"]
    assert measured["reward"]["headline"] == "induced_reward"
    page = (run / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "").replace("https://matplotlib.org", "")
    code, _, err = call(capsys, "learn", "mamql", "--demos", str(demos), "-o", str(run), "--budget", "64")
    assert code == 2
    assert "exists" in err
    picture = tmp_path / "episode.gif"
    assert call(capsys, "render", str(run), "-o", str(picture))[0] == 0
    assert picture.read_bytes()[:4] == b"GIF8"
    assert call(capsys, "render", str(demos), "-o", str(tmp_path / "sheet.png"))[0] == 0
    code, _, err = call(capsys, "render", str(run), "-o", str(tmp_path / "x.bmp"))
    assert code == 2
    assert ".gif" in err


def test_learns_offline_from_a_recording_alone(capsys, demos, tmp_path):
    # States without a game cannot be observed: the recording must hold observations.
    code, _, err = call(capsys, "learn", "bc", "--game", "none", "--demos", str(demos), "-o", str(tmp_path / "r"))
    assert code == 2
    assert "states" in err
