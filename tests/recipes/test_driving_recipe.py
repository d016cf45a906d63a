"""The recipe for drivers: which network both stages get, and what is said of the result."""

import dataclasses
import json

import equinox as eqx
import jax
import pytest

from mairl.algorithms.fit import fit
from mairl.driving.prepare import drivable
from mairl.driving.ways import PLACES
from mairl.networks.build import Flat, make_network
from mairl.networks.set_encoder import SetEncoder
from mairl.recipes import driving
from mairl.recipes.driving import GUIDED, NETWORK, NETWORKS, DrivingRecipe, driven, driving_game, recipe_of
from mairl.scenarios import store
from mairl.scenarios.generate import generate


@pytest.mark.parametrize(("name", "kind"), [("mlp", Flat), ("sets", SetEncoder)])
def test_both_stages_learn_the_network_that_is_asked_for(name, kind):
    recipe = DrivingRecipe().with_network(NETWORKS[name])
    stages = recipe.teaching.copying.network, recipe.driving.network
    assert stages == (NETWORKS[name], NETWORKS[name])
    assert recipe.teaching.teacher is DrivingRecipe().teaching.teacher
    game, _, _ = driving_game("generated", 1, 0, 2, 4)
    for config in stages:
        net = eqx.filter_eval_shape(make_network, game.observation_spec, 91, config, jax.random.key(0))
        assert isinstance(net, kind)


def test_the_recipe_as_it_stands_reads_everything_in_one_row():
    assert DrivingRecipe().with_network(NETWORK) == DrivingRecipe()


@pytest.mark.parametrize("guided", [False, True])
def test_rows_are_of_the_vehicles_trained_and_of_all_and_can_be_measured_again(tmp_path, monkeypatch, capsys, guided):
    store.save([generate(3, "four_way_signal", steps=21)], tmp_path / "worlds")
    small = DrivingRecipe().driving
    small = dataclasses.replace(small, num_envs=2, num_steps=4, epochs=1, minibatches=1)
    options = ["driving", "-o", str(tmp_path / "out"), "--data", str(tmp_path / "worlds"), "--agents", "2"]
    options += ["--guided"] if guided else []

    def quickly(game, recipe, *, out, **_):
        assert bool(game.sight.way) == game.sight.clock == guided
        return fit(small, game, budget=8, seeds=[0], episodes=0, evaluations=1, out=out / driving.PPO_RUN).one()

    monkeypatch.setattr(driving, "train_driver", quickly)
    monkeypatch.setattr("sys.argv", [*options, "--measure"])
    with pytest.raises(SystemExit):
        driving.main()
    assert "train one without --measure" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", options)
    driving.main()
    rows = json.loads((tmp_path / "out" / "experts.json").read_text())
    assert [row["held_out"] for row in rows] == [False, False]
    assert rows[0]["places"] == rows[0]["controlled_agents"] == 2
    assert rows[0]["guided"] == ("--guided" in rows[0]["command"]) == guided
    (runs,) = (tmp_path / "out").glob("run-*")
    assert rows[0]["wall_s"] == rows[1]["wall_s"] == driving.learning_seconds(runs) > 0
    assert rows[1]["places"] == drivable(generate(3, "four_way_signal", steps=21)) > 2
    other = [x for x in options if x != "--guided"] + ([] if guided else ["--guided"])
    monkeypatch.setattr("sys.argv", [*other, "--measure"])
    with pytest.raises(SystemExit):
        driving.main()
    assert "measure it so" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*options, "--measure"])
    driving.main()
    again = json.loads((tmp_path / "out" / "experts.json").read_text())
    for old, new in zip(rows, again, strict=True):
        assert {k: v for k, v in old.items() if k != "date"} == {k: v for k, v in new.items() if k != "date"}


def test_guided_vehicles_are_paid_to_be_careful_and_look_farther_ahead():
    """Infractions cost more than the whole way of a world is worth."""
    game, _, _ = driving_game("generated", 1, 0, 2, 2, GUIDED)
    plain, _, _ = driving_game("generated", 1, 0, 2, 2)
    assert recipe_of(plain) == DrivingRecipe()
    assert recipe_of(game).driving.discount > recipe_of(plain).driving.discount
    farthest = float(game.worlds.ways.gap.max()) * (PLACES - 1)
    assert -game.reward.collision > farthest * game.reward.progress > 0
    assert game.reward.collision == game.reward.off_road


def test_full_worlds_take_fewer_steps_for_as_many_vehicles_steps():
    game, _, _ = driving_game("generated", 2, 0, 4, 4)
    recipe = DrivingRecipe(lessons=1000, steps=500)
    assert recipe.amounts(game) == (1000, 500)
    vehicles = driven(game)
    assert vehicles > 1
    lessons, steps = dataclasses.replace(recipe, full=vehicles / 4).amounts(game)
    assert (lessons, steps) == (250, 125)
