"""Environments that pay a recovered reward: what they pay is that reward of that step, in every form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("pettingzoo")
pytest.importorskip("gymnasium")
import gymnasium
from gymnasium import spaces
from pettingzoo.test import parallel_api_test

from mairl.core.errors import InvalidGame, Unsupported
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.export import reward_wrapper
from mairl.games.adapters import from_pettingzoo, to_gymnasium, to_pettingzoo
from mairl.games.gems import Gems
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.rewards import ActionReward, ImplicitReward, JointReward
from mairl.testing.errand import errand_expert, make_errand


@pytest.fixture(scope="module")
def gems():
    return Gems(layout="random", horizon=6)


def joint_reward(game):
    n = game.action_space.n
    net = per_agent_network(game, n**game.num_agents, NetworkConfig(width=8), jax.random.key(0))
    return JointReward(net, n, jnp.arange(1.0, 1.0 + game.num_agents))


def implicit_reward(game):
    net = per_agent_network(game, game.action_space.n, NetworkConfig(width=8), jax.random.key(3))
    return ImplicitReward(net, jnp.ones(game.num_agents), 1.0, 0.9)


@pytest.mark.parametrize("make", [joint_reward, implicit_reward])
def test_all_agents_of_our_game(gems, make):
    reward = make(gems)
    env, plain = reward_wrapper(to_pettingzoo(gems), reward), to_pettingzoo(gems)
    obs, _ = env.reset(seed=1)
    plain.reset(seed=1)
    rng, compiled = np.random.default_rng(0), eqx.filter_jit(lambda *step: reward(*step))
    for _ in range(gems.horizon):
        actions = {n: int(rng.integers(5)) for n in env.agents}
        after, paid, ended, _, infos = env.step(actions)
        true = plain.step(actions)[1]
        both = [jax.tree.map(lambda *x: np.stack(x), *o.values()) for o in (obs, after)]
        want = compiled(both[0], jnp.array(list(actions.values())), both[1], jnp.array(list(ended.values())))
        np.testing.assert_allclose(list(paid.values()), want, rtol=1e-5)
        assert {n: i["true_reward"] for n, i in infos.items()} == true
        obs = after
    assert env.agents == []


def test_it_is_still_a_pettingzoo_environment(gems, capsys):
    parallel_api_test(reward_wrapper(to_pettingzoo(gems), joint_reward(gems)), num_cycles=20)
    assert "Passed" in capsys.readouterr().out


def test_one_agent_of_our_game(gems):
    reward = joint_reward(gems)
    env = reward_wrapper(to_gymnasium(gems, 1, UniformPolicy(2, gems.action_space)), reward)
    env.reset(seed=0)
    for k in range(4):
        _, paid, _, _, info = env.step(k)
        seen, joint, after, over, *_ = env.unwrapped.joint_step
        assert int(joint[1]) == k
        assert paid == pytest.approx(float(reward(seen, joint, after, over)[1]))
        assert "true_reward" in info
    assert not np.allclose(reward(seen, joint, after, over)[1], reward(seen, joint.at[0].add(1), after, over)[1])


def test_outside_game_with_an_agent_that_leaves():
    game = from_pettingzoo(make_errand)
    reward = implicit_reward(game)
    env, host = reward_wrapper(make_errand(), reward), game.make()
    obs, _ = env.reset(seed=4)
    seen = host.reset(4)
    while env.agents:
        actions = {n: errand_expert(obs[n], n) for n in env.agents}
        joint = host.encode(actions)
        after = host.step(joint)
        masks = seen.action_mask, after.action_mask
        want = np.asarray(reward(seen.obs, joint, after.obs, after.terminated, *masks))
        assert not np.allclose(want, reward(seen.obs, joint, after.obs, after.terminated)), "what is forbidden counts"
        obs, paid, *_ = env.step(actions)
        assert {n: pytest.approx(want[game.names.index(n)], rel=1e-5) for n in actions} == paid
        seen = after


def test_a_leaving_agent_that_may_do_nothing_ends_no_episode():
    """Many environments give who has just left a mask of zeros."""

    class Emptied(type(make_errand())):
        def step(self, actions):
            obs, paid, over, cut, infos = super().step(actions)
            for n in obs:
                if over[n] or cut[n]:
                    infos[n] = {"action_mask": np.zeros(self.action_space(n).n)}
            return obs, paid, over, cut, infos

    game = from_pettingzoo(make_errand)
    plain, emptied = (reward_wrapper(env, implicit_reward(game)) for env in (make_errand(), Emptied()))
    (obs, _), _ = plain.reset(seed=4), emptied.reset(seed=4)
    while plain.agents:
        actions = {n: errand_expert(obs[n], n) for n in plain.agents}
        obs, paid, *_ = plain.step(actions)
        assert emptied.step(actions)[1] == pytest.approx(paid, rel=1e-5)
    assert emptied.agents == []


class Twins(gymnasium.Env):
    """Two agents in one Gymnasium environment."""

    def __init__(self):
        self.observation_space = spaces.Tuple([spaces.Box(-1.0, 1.0, (2,))] * 2)
        self.action_space = spaces.Tuple([spaces.Discrete(3)] * 2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return tuple(self.now), {}

    def step(self, action):
        self.now = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return tuple(self.now), 0.5, False, False, {}


def test_gymnasium_with_several_agents_and_with_one():
    from mairl.games.adapters import from_gymnasium

    game = from_gymnasium(Twins, horizon=5)
    reward = joint_reward(game)
    env = reward_wrapper(Twins(), reward)
    obs, _ = env.reset(seed=0)
    _, paid, _, _, info = env.step((1, 2))
    want = reward(np.stack(obs), jnp.array([1, 2]), None, None)
    np.testing.assert_allclose(paid, want, rtol=1e-5)
    assert info["true_reward"] == 0.5
    single = from_gymnasium(lambda: gymnasium.make("CartPole-v1"))
    wrapped = reward_wrapper(gymnasium.make("CartPole-v1"), joint_reward(single))
    wrapped.reset(seed=0)
    assert isinstance(wrapped.step(1)[1], float)


def test_agents_of_a_gymnasium_environment_may_be_left_out_when_gone():
    """As some libraries do, with masks that allow nothing at the end."""

    class Leaving(gymnasium.Env):
        observation_space = spaces.Dict({n: spaces.Box(-1.0, 1.0, (2,)) for n in "xy"})
        action_space = spaces.Dict({n: spaces.Discrete(3) for n in "xy"})

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return {n: np.zeros(2, np.float32) for n in "xy"}, {"action_mask": {n: np.ones(3) for n in "xy"}}

        def step(self, action):
            self.time += 1
            there = "xy" if self.time == 1 else "y"
            obs = {n: np.full(2, 0.1 * self.time, np.float32) for n in there}
            masks = {n: np.zeros(3) if n == "x" else np.ones(3) for n in there}
            return obs, 0.0, {"x": True, "y": False}, False, {"action_mask": masks}

    from mairl.games.adapters import from_gymnasium

    reward = implicit_reward(from_gymnasium(Leaving, horizon=5))
    env = reward_wrapper(Leaving(), reward)
    env.reset(seed=0)
    for _ in range(3):
        _, paid, *_ = env.step({"x": 0, "y": 1})
        assert set(paid) == {"x", "y"}
        assert np.isfinite(list(paid.values())).all()


def test_what_does_not_fit_is_one_clear_line(gems):
    policy = UniformPolicy(2, gems.action_space)
    with pytest.raises(Unsupported, match=r"no 'reward' reward in this result; it has none \(a policy only\)"):
        reward_wrapper(to_pettingzoo(gems), Learned(policy))
    with pytest.raises(Unsupported, match="no 'induced' reward in this result; it has reward"):
        reward_wrapper(to_pettingzoo(gems), Learned(policy, joint_reward(gems)), "induced")
    foreign = ActionReward(
        per_agent_network(from_pettingzoo(make_errand), 3, NetworkConfig(), jax.random.key(0)), jnp.ones(2)
    )
    env = reward_wrapper(to_pettingzoo(gems), foreign)
    env.reset(seed=0)
    with pytest.raises(InvalidGame, match="other observations, actions or agents"):
        env.step(dict.fromkeys(env.agents, 0))
