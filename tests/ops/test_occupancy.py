"""Visit counts: by hand, by their flow equation, and against play."""

import equinox as eqx
import jax
import numpy as np
import pytest

from mairl.core.errors import Unsupported
from mairl.data.collect import play_episodes
from mairl.games.tabular import TabularPolicy, matching_pennies, random_game
from mairl.ops.equilibrium import evaluate
from mairl.ops.occupancy import joint_occupancy, own_occupancy, state_occupancy
from mairl.testing.probes import chain


def test_chain_by_hand():
    probe = chain(3, discount=0.5)
    t = probe.game.tables()
    np.testing.assert_allclose(state_occupancy(t, probe.policies, normalise=False), [1, 0.5, 0.25, 0])
    np.testing.assert_allclose(state_occupancy(t, probe.policies), np.array([4, 2, 1, 0]) / 7)
    np.testing.assert_allclose(state_occupancy(t, probe.policies, horizon=2, discount=1.0), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(own_occupancy(t, probe.policies)[0, :, 1], np.array([4, 2, 1, 0]) / 7)


@pytest.mark.parametrize("seed", range(3))
def test_rewards_weighted_by_visits_are_the_return(seed):
    t = random_game(seed, num_agents=2 + seed % 2, num_terminal=1).tables()
    policies = np.random.default_rng(seed).dirichlet(np.ones(3), size=(t.num_agents, t.num_states))
    visits = joint_occupancy(t, policies, normalise=False)
    paid = np.tensordot(visits, t.reward, axes=visits.ndim)
    np.testing.assert_allclose(paid, evaluate(t, policies) @ t.start)
    np.testing.assert_allclose(joint_occupancy(t, policies).sum(), 1)
    limited = np.tensordot(joint_occupancy(t, policies, normalise=False, horizon=7), t.reward, axes=visits.ndim)
    np.testing.assert_allclose(limited, evaluate(t, policies, horizon=7) @ t.start)


def test_play_visits_what_is_computed():
    game = random_game(5, num_states=4, num_terminal=1, horizon=12)
    policies = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 4))
    episodes = eqx.filter_jit(play_episodes)(game, TabularPolicy.new(policies), jax.random.key(0), 4000)
    index = np.asarray(episodes.steps.state.index)[np.asarray(episodes.alive)]
    counted = np.bincount(index, minlength=4) / 4000
    want = state_occupancy(game.tables(), policies, horizon=12, discount=1.0, normalise=False)
    np.testing.assert_allclose(counted, want, atol=0.1)
    assert want[3] == 0


def test_endless_play_is_refused():
    with pytest.raises(Unsupported, match="may never end"):
        state_occupancy(matching_pennies(discount=1.0).tables(), np.full((2, 1, 2), 0.5))
