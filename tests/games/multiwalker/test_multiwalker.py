"""MultiWalker: in step with PettingZoo's own environment, its rewards as features, what is said where it is missing."""

import importlib
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.fit import fit
from mairl.algorithms.ppo import PPO
from mairl.algorithms.recorder import Recorder, learner_states
from mairl.core.errors import InvalidGame, MissingPackage
from mairl.games import make_game
from mairl.games.multiwalker import FEATURES, displacement, multiwalker
from mairl.networks.build import NetworkConfig


@pytest.fixture(scope="module")
def pettingzoo_env():
    """PettingZoo's constructor of the parallel environment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in ("Box2D", "pygame", "pettingzoo"):
            pytest.importorskip(module)
        return importlib.import_module("pettingzoo.sisl.multiwalker.multiwalker").parallel_env


def actions_of(seed, steps=200):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("shared", [True, False])
def test_in_step_with_pettingzoo(pettingzoo_env, shared):
    theirs = pettingzoo_env(shared_reward=shared)
    ours = make_game(f"multiwalker:shared_reward={shared}").make()
    ended = 0
    for seed in range(3):
        obs, _ = theirs.reset(seed=seed)
        seen = ours.reset(seed)
        np.testing.assert_array_equal(seen.obs, list(obs.values()))
        for joint in actions_of(seed):
            names = list(theirs.agents)
            obs, reward, terminated, truncated, _ = theirs.step(dict(zip(names, joint, strict=True)))
            seen = ours.step(joint)
            np.testing.assert_array_equal(seen.obs, [obs[n] for n in names])
            np.testing.assert_array_equal(seen.reward, np.array([reward[n] for n in names], np.float32))
            np.testing.assert_array_equal(seen.terminated, [terminated[n] for n in names])
            assert not any(truncated.values())
            if seen.over:
                ended += 1
                break
    theirs.close()
    ours.close()
    assert ended == 3


@pytest.mark.parametrize("options", ["", ":shared_reward=False", ":shared_reward=False,forward_reward=3.0,walkers=2"])
def test_features_give_the_reward_exactly(pettingzoo_env, options):
    game = make_game("multiwalker" + options)
    env, weights = game.make(), game.feature_weights()
    fell = 0.0
    for seed in range(3):
        seen, start = env.reset(seed), env.env.package.position.x
        total = np.zeros_like(weights)
        for joint in actions_of(seed):
            seen = env.step(joint[: game.num_agents])
            total += env.features
            np.testing.assert_allclose((env.features * weights).sum(1), env.env.last_rewards, atol=1e-11)
            if seen.over:
                break
        assert displacement(total) == pytest.approx(env.env.package.position.x - start, abs=1e-9)
        fell += total[:, FEATURES.index("fell")].sum()
    env.close()
    assert fell > 0


def test_features_say_what_happened(pettingzoo_env):
    env = make_game("multiwalker:shared_reward=False").make()
    seen = env.reset(4)
    for joint in actions_of(4):
        before = seen
        seen = env.step(joint)
        found = dict(zip(FEATURES, env.features.T, strict=True))
        np.testing.assert_allclose(found["upright"], np.abs(before.obs[:, 0]) - np.abs(seen.obs[:, 0]), atol=1e-6)
        np.testing.assert_allclose(found["effort"], (joint.astype(float) ** 2).mean(1), rtol=1e-6)
        np.testing.assert_allclose(found["speed"], seen.obs[:, 2] / 0.12, rtol=1e-5)
        np.testing.assert_array_equal(found["failed"], float(seen.over))
        if seen.over:
            break
    assert found["fell"].max() == 1
    env.close()


def test_the_time_limit_truncates(pettingzoo_env):
    env = make_game("multiwalker:horizon=3").make()
    env.reset(0)
    for _ in range(3):
        seen = env.step(np.zeros((3, 4)))
    assert seen.over
    assert seen.truncated
    assert not seen.terminated.any()
    env.close()


def test_episodes_repeat_themselves(pettingzoo_env):
    make = pickle.loads(pickle.dumps(make_game("multiwalker").make))
    runs = []
    for _ in range(2):
        env = make()
        runs.append([env.reset(9), *(env.step(a) for a in actions_of(9, 10))])
        env.close()
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a.obs, b.obs)
        np.testing.assert_array_equal(a.features, b.features)


def test_learning_is_recorded_with_the_features_of_play(pettingzoo_env, tmp_path):
    game = make_game("multiwalker:horizon=8")
    network = NetworkConfig(kind="mlp", width=8, depth=1, activation="tanh")
    learner = PPO(num_envs=2, num_steps=8, minibatches=1, epochs=1, network=network)
    recorder = Recorder(tmp_path / "updates")
    fit(learner, game, budget=32, episodes=0, evaluations=1, workers=0, recorder=recorder)
    history = recorder.history(learner, game)
    updates = history.updates
    assert history.num_snapshots == 2
    np.testing.assert_allclose(
        (updates.features * game.feature_weights()).sum(-1), updates.rollout.reward, rtol=1e-5, atol=1e-5
    )
    state, rollout = jax.tree.map(lambda x: jnp.asarray(x[1]), (learner_states(history), updates.rollout))
    after, _ = learner.update(jax.random.wrap_key_data(jnp.asarray(updates.keys[1])), state, game, None, rollout)
    for ours, theirs in zip(jax.tree.leaves(after.policy), jax.tree.leaves(updates.after), strict=True):
        np.testing.assert_allclose(ours, theirs[1], atol=1e-5)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "Box2D", None)
    with pytest.raises(MissingPackage, match=r"play MultiWalker: pip install 'mairl\[multiwalker\]'"):
        multiwalker()


@pytest.mark.parametrize("option", ["walkers=1", "horizon=0"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InvalidGame):
        make_game(f"multiwalker:{option}")
