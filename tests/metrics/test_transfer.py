"""Fresh agents learn from a recovered reward: known games in which they must end somewhere."""

import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.ppo import PPO
from mairl.core.policy import UniformPolicy
from mairl.games.tabular.matrix import coordination, prisoners_dilemma, stag_hunt
from mairl.games.tabular.reward import TabularReward
from mairl.metrics import transfer as metric
from mairl.metrics.transfer import DEVIATION, cautious, normalised, scaled, spread_at_random, transfer, yardsticks
from mairl.networks.build import NetworkConfig
from mairl.networks.rewards import CautiousReward

LEARNER = PPO(num_envs=16, num_steps=10, learning_rate=1e-2, network=NetworkConfig(kind="mlp", width=16, depth=1))
BUDGET = 160 * 40


def learn(game, payments, **options):
    at_random = UniformPolicy(2, game.action_space)
    players, options = [at_random] * len(payments), {"budget": BUDGET, "discount": 0.9, "episodes": 64, **options}
    return transfer(game, payments, players, LEARNER, **options)


def test_the_true_reward_in_other_units_leads_to_the_equilibrium():
    game = prisoners_dilemma()
    found = learn(game, [TabularReward.new(1e-3 * np.asarray(game.reward)), TabularReward.new(-game.reward)])
    # Paid as in the game, both defect (1 a step); paid the opposite, both cooperate (3 a step).
    np.testing.assert_allclose(found.returns, [10.0, 30.0], atol=1.5)
    # By the recovered reward both equilibria are poor: who plays at random earns more of it.
    deviation = float(np.std([3.0, 0.0, 5.0, 1.0]))
    np.testing.assert_allclose(found.paid, DEVIATION / deviation * np.array([10.0, -30.0]), atol=1.5 * DEVIATION)
    np.testing.assert_allclose(found.paid_to_learned, DEVIATION / deviation * np.array([22.5, -22.5]), atol=DEVIATION)
    best, random = yardsticks(game, LEARNER, budget=BUDGET, seeds=1, episodes=256)
    assert best == pytest.approx(10.0, abs=1.5)
    assert random == pytest.approx(22.5, abs=1.0)


def test_seeds_that_are_done_are_kept(tmp_path, monkeypatch):
    game, kept = coordination(), tmp_path / "kept.json"
    payments = [TabularReward.new(k * np.asarray(game.reward)) for k in (1.0, 2.0)]
    trained = []

    def at_random(learner, world, seed, *_):
        trained.append(seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return UniformPolicy(2, game.action_space)

    monkeypatch.setattr(metric, "_trained", at_random)
    with pytest.raises(KeyboardInterrupt):
        learn(game, payments, keep=kept)
    found = learn(game, payments, keep=kept)
    assert trained == [0, 1, 1]
    assert len(set(found.returns)) == len(found.returns) == 2
    assert found == learn(game, payments), "as uninterrupted"
    del trained[2:]
    learn(game, payments[::-1], keep=kept)
    assert trained == [0, 1, 0, 1], "other rewards begin anew"


def test_payments_vary_alike_in_random_play():
    game = coordination()
    reward = TabularReward.new(50.0 * np.asarray(game.reward))
    # 0 or 50, equally often.
    assert spread_at_random(game, reward) == pytest.approx(25.0, rel=0.01)
    assert float(scaled(game, reward).scale) == pytest.approx(DEVIATION / 25.0, rel=0.01)
    assert spread_at_random(game, TabularReward.new(np.ones_like(game.reward))) == 1.0


def test_caution_keeps_agents_from_what_seeds_disagree_on():
    game = stag_hunt()
    # Of hunting the stag together one seed says 20, one -4: in the mean 8, which is worth a try (a hare is 3).
    tables = np.stack([np.asarray(game.reward)] * 2)
    tables[0, 0, 0, 0], tables[1, 0, 0, 0] = 20.0, -4.0
    bold, careful = (
        CautiousReward(TabularReward.new(tables), jnp.ones(2), jnp.float32(caution)) for caution in (0.0, 1.0)
    )
    stag, hare = (learn(game, [reward]).returns[0] for reward in (bold, careful))
    assert stag == pytest.approx(40.0, abs=2.0)
    assert hare == pytest.approx(30.0, abs=2.0)


def test_caution_takes_deviations_off_in_common_units():
    game = coordination()
    tables = np.stack([np.asarray(game.reward), 50.0 * np.asarray(game.reward) + 25.0])
    reward = cautious(game, TabularReward.new(tables), 2, 0.5)
    np.testing.assert_allclose(reward.scales, [2.0, 0.04], rtol=0.01)
    obs, nothing = jnp.ones((2, 1)), (jnp.ones((2, 1)), jnp.zeros(2, bool))
    # Alike 2 and 3, else 0 and 1, in deviations of random play: less half of 0.5.
    np.testing.assert_allclose(reward(obs, jnp.array([1, 1]), *nothing), [2.25, 2.25], atol=0.03)
    np.testing.assert_allclose(reward(obs, jnp.array([1, 0]), *nothing), [0.25, 0.25], atol=0.03)


def test_normalised():
    assert normalised(3.0, 1.0, 5.0) == 0.5
    assert normalised(3.0, 1.0, 1.0) is None
