"""`mairl sweep`: every configuration once, best first by what was held out."""

import json

import jax
import pytest

from mairl.algorithms.bc import BC
from mairl.algorithms.ma_airl import MAAIRL
from mairl.cli import main
from mairl.core.errors import Unsupported
from mairl.data import store
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata
from mairl.games import make_game
from mairl.recipes.equilibrium import equilibrium_expert
from mairl.recipes.sweep import configurations, name_of, ranked, with_fields


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    game = make_game("stag-hunt")
    policy = equilibrium_expert("stag-hunt").policy
    data = record(game, policy, jax.random.key(0), num_steps=400, metadata=Metadata.of("stag-hunt", "expert"))
    folder = tmp_path_factory.mktemp("sweep") / "demos"
    store.save(data, folder)
    return folder


def test_ranks_and_goes_on(demos, tmp_path, capsys):
    # A rate of 1e-9 learns nothing: its likelihood is that of the first, nearly uniform policies.
    call = ["sweep", "bc", "--demos", str(demos), "-o", str(tmp_path / "s"), "--budget", "40", "--evaluations", "2"]
    call += ["--episodes", "4", "--set", "learning_rate=1e-9,1e-2", "--json"]
    main(call)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [r["fields"]["learning_rate"] for r in rows] == [1e-2, 1e-9]
    assert rows[0]["heldout_log_likelihood"] > rows[1]["heldout_log_likelihood"]
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["rows"] == rows
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").glob("*/run.json")}
    assert len(before) == 2
    main(call)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    # What was learned with another budget is not taken for it.
    capsys.readouterr()
    main([*call[:-1], "--budget", "41", "--json"])
    errors = [r["error"] for r in json.loads(capsys.readouterr().out)["rows"]]
    assert all("has budget 40, not 41" in error for error in errors)


def test_settings():
    assert configurations(["a=1,x", "b=1e-3"]) == [{"a": 1, "b": 1e-3}, {"a": "x", "b": 1e-3}]
    assert name_of({"a": 1, "b": 1e-3}) == "a=1,b=0.001"
    changed = with_fields(MAAIRL(), {"ppo.clip": 0.3, "ppo.entropy": 0})
    assert (changed.ppo.clip, changed.ppo.entropy) == (0.3, 0.0)
    assert isinstance(changed.ppo.entropy, float)


@pytest.mark.parametrize(
    ("settings", "said"),
    [(["rate"], "field=value"), (["=1"], "field=value"), (["a=1,"], "field=value"), (["a=1", "a=2"], "set twice")],
)
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(Unsupported, match=said):
        configurations(settings)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"rate": 1.0}, "has no field 'rate'"), ({"learning_rate.x": 1}, "no fields"), ({"batch": "many"}, "cannot be")],
)
def test_fields_that_are_not_there(fields, said):
    with pytest.raises(Unsupported, match=said):
        with_fields(BC(), fields)


def test_frozen_and_unmeasured_come_last():
    def row(score, failures=()):
        return {"heldout_log_likelihood": score, "failures": list(failures)}

    rows = [row(None), row(-1.0, [1]), row(-2.0), row(-1.5)]
    assert ranked(rows) == [row(-1.5), row(-2.0), row(None), row(-1.0, [1])]
