"""`mairl data` for recordings: help where it is asked for, one line on bad input."""

import pytest

from mairl.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], ["import", "export", "generate", "info", "validate"]),
        (["import", "--help"], ["overcooked-human", "table", "minari", "waymo"]),
        (["export", "-h"], ["minari"]),
    ],
)
def test_help(capsys, arguments, said):
    main(["data", *arguments])
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: mairl data")
    assert all(name in printed.out for name in said)
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agents", "0"], "agents is 0: choose 1 or more"),
        (["--episode", "run"], "no episode column 'run' among episode, step, obs, action"),
        ([], "1 actions are out of range"),
    ],
)
def test_bad_tables_end_in_one_line(capsys, tmp_path, arguments, said):
    table = tmp_path / "t.csv"
    table.write_text("episode,step,obs,action\n0,0,1,-1\n0,1,2,1\n")
    with pytest.raises(SystemExit) as stop:
        main(["data", "import", "table", str(table), "-o", str(tmp_path / "store"), *arguments])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_a_recording_that_is_not_of_its_game_is_not_valid(tmp_path, capsys):
    """As learning says: two numbers are seen, the game shows 127."""
    (tmp_path / "play.csv").write_text("step,obs_0,obs_1,action_0,action_1\n0,0,1,0,1\n1,1,1,2,1\n")
    options = [str(tmp_path / "play.csv"), "--episode", "", "--action", "action_{agent}", "--agents", "2"]
    for game, fits in (("gems", False), ("somebody-elses", True)):
        out = tmp_path / game
        ended = None
        try:
            main(["data", "import", "table", *options, "--game", game, "-o", str(out)])
            main(["data", "validate", str(out)])
        except SystemExit as error:
            ended = error.code
        assert ended == (None if fits else 2)
        assert out.exists() == fits
    assert "recording and game do not fit" in capsys.readouterr().err
