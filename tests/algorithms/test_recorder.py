"""Learning histories of PPO: what is recorded repeats the update, on the device and from host games."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.dqn import DQN
from mairl.algorithms.fit import fit
from mairl.algorithms.ppo import PPO
from mairl.algorithms.recorder import Recorder, learner_states
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.transition import features
from mairl.data.learning_history import learning_history, load_history, save_history
from mairl.games import make_game
from mairl.networks.build import NetworkConfig

SMALL = NetworkConfig(kind="mlp", width=8, depth=1, activation="tanh")
LEARNER = PPO(num_envs=4, num_steps=5, minibatches=2, epochs=2, anneal_updates=6, network=SMALL)
GAME = make_game("simple-spread:agents=2,horizon=5")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Six updates of two seeds, every second kept; what fit found; the recorder."""
    recorder = Recorder(tmp_path_factory.mktemp("updates"), every=2)
    found = fit(LEARNER, GAME, budget=120, seeds=[3, 5], episodes=0, evaluations=2, select="last", recorder=recorder)
    return found, recorder


@pytest.fixture(scope="module")
def history(recorded):
    return recorded[1].history(LEARNER, GAME, index=1)


def same(a, b, atol=0.0):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=atol)


def test_shapes(history):
    assert history.num_snapshots == 3
    assert history.num_agents == 2
    assert history.updates.rollout.actions.shape == (3, 5, 4, 2)
    assert history.updates.features.shape == (3, 5, 4, 2, 6)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(history.updates.critic)} == {(3, 2)}


def repeated(history, game, t):
    state = jax.tree.map(lambda x: jnp.asarray(x[t]), learner_states(history))
    rollout = jax.tree.map(lambda x: jnp.asarray(x[t]), history.updates.rollout)
    key = jax.random.wrap_key_data(jnp.asarray(history.updates.keys[t]))
    return history.updates.learner.update(key, state, game, None, rollout)[0]


@pytest.mark.parametrize("t", [0, 2])
def test_the_recorded_update_can_be_repeated(history, t):
    after = jax.tree.map(lambda x: x[t], history.updates.after)
    same(repeated(history, GAME, t).policy, after, atol=1e-5)
    moved = [np.abs(x[t] - y).max() for x, y in zip(jax.tree.leaves(history.policies), jax.tree.leaves(after))]
    assert max(moved) > 3e-4
    other = dataclasses.replace(history.updates, keys=history.updates.keys + 1)
    elsewhere = repeated(dataclasses.replace(history, updates=other), GAME, t).policy
    assert max(np.abs(x - y).max() for x, y in zip(jax.tree.leaves(elsewhere), jax.tree.leaves(after))) > 5e-5


def test_learning_is_that_of_an_unrecorded_run(recorded):
    alone = fit(LEARNER, GAME, budget=120, seeds=[3, 5], episodes=0, evaluations=2, select="last")
    same(alone.learned.policy, recorded[0].learned.policy, atol=1e-4)


def test_consecutive_updates_join(tmp_path):
    recorder = Recorder(tmp_path / "updates")
    fit(LEARNER, GAME, budget=60, episodes=0, evaluations=1, recorder=recorder)
    history = recorder.history(LEARNER, GAME)
    same(jax.tree.map(lambda x: x[1:], history.policies), jax.tree.map(lambda x: x[:-1], history.updates.after))


def test_other_learners_are_recorded_too(tmp_path):
    learner = DQN(num_envs=2, batch=4, buffer=16, network=SMALL)
    recorder = Recorder(tmp_path / "updates", every=2)
    steps = learner.collection(GAME).size
    fit(learner, GAME, budget=4 * steps, episodes=0, evaluations=1, recorder=recorder)
    history = recorder.history(learner, GAME)
    assert history.num_snapshots == 2
    assert history.num_agents == 2
    assert history.optimiser is None
    assert history.updates.log_prob.shape == history.updates.rollout.actions.shape


def test_features_and_likelihoods_are_those_of_the_play(history):
    rollout = history.updates.rollout
    paid = (history.updates.features * GAME.feature_weights()).sum(-1)
    np.testing.assert_allclose(paid, rollout.reward, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda r: features(GAME, r))(rollout), history.updates.features, atol=1e-6)
    # At first all five actions are nearly alike.
    np.testing.assert_allclose(history.updates.log_prob[0], np.log(1 / 5), atol=0.1)


def test_survives_the_disk(history, tmp_path):
    save_history(history, tmp_path / "h")
    back = load_history(tmp_path / "h")
    same(back, history)
    assert back.updates.learner == LEARNER
    same(repeated(back, GAME, 1).policy, repeated(history, GAME, 1).policy)
    part = back.snapshots(slice(1, 3))
    assert part.num_snapshots == 2
    np.testing.assert_array_equal(part.updates.keys, history.updates.keys[1:])


def test_updates_that_do_not_fit_are_refused(history):
    updates = history.updates
    fewer = jax.tree.map(lambda x: x[:-1], updates)
    with pytest.raises(InvalidData, match="updates led to policies of shapes"):
        learning_history(history.policies, updates=fewer)
    short = dataclasses.replace(updates, keys=updates.keys[:-1])
    with pytest.raises(InvalidData, match=r"updates.keys has shape \(2, 2\): give one entry for each of 3"):
        learning_history(history.policies, updates=short)
    features = dataclasses.replace(updates, features=updates.features[:, :2])
    with pytest.raises(InvalidData, match=r"updates.features has shape .* the play \[step, time, env\] \(3, 5, 4\)"):
        learning_history(history.policies, updates=features)


def test_what_cannot_be_recorded_is_refused(tmp_path, history):
    shared = dataclasses.replace(LEARNER, network=dataclasses.replace(SMALL, shared=True))
    with pytest.raises(Unsupported, match="cannot be told apart"):
        fit(shared, GAME, budget=20, recorder=Recorder(tmp_path))
    with pytest.raises(Unsupported, match="give 1 or more"):
        Recorder(tmp_path, every=0)
    with pytest.raises(Unsupported, match="one stretch every 3: give 1 to 3"):
        Recorder(tmp_path, every=3, stretch=4)
    with pytest.raises(InvalidData, match="holds 0 updates: record two or more"):
        Recorder(tmp_path).history(LEARNER, GAME)
    with pytest.raises(InvalidData, match="no updates of PPO"):
        learner_states(dataclasses.replace(history, updates=None))
