"""The command line as other programs see it: JSON, exit codes, one line on bad input."""

import json
import re
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
        (["expert", "overcooked:horizon=abc", "-o", "nowhere"], "horizon must be a whole number, got 'abc'"),
        (["expert", "gems", "-o", "nowhere", "--steps", "0"], "steps must be at least 1, got 0"),
        (["expert", "gems", "-o", "nowhere", "--steps", "-5"], "steps must be at least 1, got -5"),
        (["expert", "gems", "-o", "nowhere", "--episodes", "0"], "episodes must be at least 1, got 0"),
        (["expert", "gems", "-o", "/proc/nope/x"], "/proc/nope"),
        (["expert", "gems", "-o", "nowhere", "--seed", "-3"], "--seed is -3, expected 0 or more"),
        (["evaluate", "nowhere", "--seed", "-5"], "seed must be at least 0, got -5"),
        (["evaluate", "nowhere", "--exploitability", "-5"], "--exploitability is -5 steps, expected 0 or more"),
        (["render", "nowhere", "-o", "nodir/x.gif"], "there is no folder nodir to write x.gif into"),
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


def test_files_that_cannot_be_written_end_in_one_line(capsys, monkeypatch):
    def fail(arguments):
        raise PermissionError(13, "Permission denied", "x/y")

    monkeypatch.setattr("mairl.cli.list_command.main", fail)
    code, _, err = call(capsys, "list")
    assert (code, err) == (2, "mairl: [Errno 13] Permission denied: 'x/y'\n")


def test_returns_are_of_whole_episodes(capsys, tmp_path):
    game = "overcooked:horizon=50"
    code, out, _ = call(capsys, "expert", game, "-o", str(tmp_path / "a"), "--steps", "110", "--greedy", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["episodes"], facts["steps"], facts["whole_episodes"]) == (3, 110, 2)
    whole = call(capsys, "expert", game, "-o", str(tmp_path / "b"), "--episodes", "2", "--greedy", "--json")[1]
    assert facts["return_mean"] == json.loads(whole)["return_mean"]
    assert json.loads(whole)["whole_episodes"] == 2
    code, out, _ = call(capsys, "expert", game, "-o", str(tmp_path / "c"), "--steps", "60")
    assert code == 0
    assert "return, mean per agent, whole episodes only (1): " in out
    code, out, _ = call(capsys, "expert", game, "-o", str(tmp_path / "d"), "--steps", "20")
    assert code == 0
    assert "no return: no episode was recorded to its end" in out


def test_a_demo_replaces_nothing_unless_told(capsys, tmp_path):
    (tmp_path / "mine-demos").mkdir()
    code, _, err = call(capsys, "demo", "-o", str(tmp_path / "mine"))
    assert code == 2
    assert "mine-demos exists" in err


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
    code, _, err = call(capsys, "render", str(run), "-o", str(picture))
    assert code == 2
    assert "exists: choose another file" in err
    assert call(capsys, "render", str(run), "-o", str(picture), "--overwrite")[0] == 0
    sheet = tmp_path / "sheet.png"
    assert call(capsys, "render", str(demos), "-o", str(sheet), "--json")[:2] == (0, f'{{"out": "{sheet}"}}\n')
    assert call(capsys, "render", str(demos), "-o", str(tmp_path / "played.html"))[0] == 0
    played = (tmp_path / "played.html").read_text()
    frames = json.loads(re.search(r"const episode = (.*);", played)[1])
    assert len(frames["frames"]) == len(frames["paid"]) == len(frames["steps"]) > 2
    assert played.count('class="paid"') == 2
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", played)
    code, _, err = call(capsys, "render", str(run), "-o", str(tmp_path / "x.bmp"))
    assert code == 2
    assert ".gif" in err


def test_learns_offline_from_a_recording_alone(capsys, demos, tmp_path):
    # States without a game cannot be observed: the recording must hold observations.
    code, _, err = call(capsys, "learn", "bc", "--game", "none", "--demos", str(demos), "-o", str(tmp_path / "r"))
    assert code == 2
    assert "states" in err
