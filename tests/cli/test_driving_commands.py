"""From a store of scenarios to drivers beside the logs, by the commands."""

import json

import pytest

from mairl.cli import main
from mairl.core.errors import MairlError
from mairl.scenarios import store
from mairl.scenarios.generating import generate_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of two scenarios, and the recording and run made from it."""
    folder = tmp_path_factory.mktemp("driving")
    generate_store(folder / "logs", worlds=2, seed=3, kinds=("t_stop",), workers=1)
    return folder


def call(capsys, *arguments):
    capsys.readouterr()
    main([str(a) for a in arguments])
    return json.loads(capsys.readouterr().out)


def test_logs_become_demonstrations_then_drivers_then_a_page(made, capsys):
    game = "driving:agents=4,others=12"
    options = ("--learner", "logs", "--worlds", made / "logs", "-o", made / "demos", "--json")
    recorded = call(capsys, "expert", game, *options)
    assert recorded["episodes"] == len(store.open(made / "logs")) == 2
    assert recorded["expert"] == "logged"
    assert str(made / "logs") in recorded["game"]
    # Who keeps to the logs is paid for every goal.
    assert recorded["return_mean"] > 0.3
    learn = ("learn", "bc", "--demos", made / "demos", "-o", made / "run", "--budget", "4", "--evaluations", "1")
    main([str(a) for a in (*learn, "--episodes", "2", "--quiet")])
    found = call(capsys, "evaluate", made / "run", "--episodes", "2", "--json")["driving"]
    assert found["controlled_agents"] > 2
    for name in ("goal_rate", "collision_rate", "off_road_rate", "infraction_rate"):
        assert 0.0 <= found[name]["mean"] <= 1.0
    assert found["fde"]["mean"] > 0.0
    assert {k for k in found if k.startswith("jsd_")} == {
        "jsd_acceleration",
        "jsd_speed",
        "jsd_lateral_offset",
        "jsd_lead_distance",
    }
    main(["render", str(made / "run"), "-o", str(made / "rollouts.html")])
    page = (made / "rollouts.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert all(scenario.scenario_id in page for scenario in store.open(made / "logs"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("expert", "gems", "--worlds", "logs", "-o", "x"), "--worlds is for driving"),
        (("expert", "gems", "--learner", "logs", "-o", "x"), "--learner logs is for driving"),
        (("bench", "games", "--data", "x"), "--data is for scenarios and driving"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((SystemExit, MairlError)) as error:
        main(list(arguments))
    shown = str(error.value) + capsys.readouterr().err
    assert message in shown
    assert not (tmp_path / "x").exists()
