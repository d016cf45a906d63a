"""A game paid by a recovered reward: the same play, another payment, nothing of the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.cli.transfer_command import main as transfer
from mairl.core.errors import InvalidGame, Unsupported
from mairl.games import make_game
from mairl.games.rewarded import RewardedGame
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.rewards import ActionReward
from mairl.testing.game_contract import check_game


@pytest.fixture(scope="module")
def world():
    game = make_game("overcooked:horizon=10")
    net = per_agent_network(game, 6, NetworkConfig(kind="mlp", width=8, depth=1), jax.random.key(0))
    reward = ActionReward(net, jnp.array([1.0, 2.0]))
    return game, reward, RewardedGame(game, reward)


def test_contract(world):
    check_game(world[2], jax.random.key(0))


def test_pays_what_was_recovered_and_nothing_else(world):
    game, reward, paid = world
    state, obs = game.reset(jax.random.key(1))
    actions = jnp.array([2, 5])
    _, step = paid.step(jax.random.key(2), state, actions)
    _, true_step = game.step(jax.random.key(2), state, actions)
    np.testing.assert_allclose(step.reward, reward(obs, actions, true_step.obs, true_step.terminated), rtol=1e-6)
    np.testing.assert_array_equal(step.obs, true_step.obs)
    assert bool(step.truncated) == bool(true_step.truncated)


def test_transfer_refuses_runs_that_recovered_nothing(tmp_path):
    from mairl.algorithms.bc import BC
    from mairl.algorithms.fit import fit
    from mairl.core.policy import UniformPolicy
    from mairl.data.collect import record

    game = make_game("overcooked:horizon=10")
    demos = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=4)
    algorithm = BC(network=NetworkConfig(kind="mlp", width=8, depth=1))
    facts = {"algorithm_id": "bc", "game": "overcooked:horizon=10"}
    fit(algorithm, game, demos, budget=4, evaluations=1, episodes=0, out=tmp_path / "run", describe=facts)
    with pytest.raises(Unsupported, match="recovered no"):
        transfer([str(tmp_path / "run")])
    with pytest.raises(InvalidGame, match="other observations"):
        transfer([str(tmp_path / "run"), "--game", "overcooked:layout=coordination_ring"])
