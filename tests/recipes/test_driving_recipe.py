"""The recipe for drivers: which network both stages get."""

import equinox as eqx
import jax
import pytest

from mairl.networks.build import Flat, make_network
from mairl.networks.set_encoder import SetEncoder
from mairl.recipes.driving import NETWORK, NETWORKS, DrivingRecipe, driving_game


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
