"""Gymnasium environments become games: one agent, or several as a Tuple or a Dict."""

import numpy as np
import pytest

pytest.importorskip("gymnasium")
import gymnasium
from gymnasium import spaces

from mairl.core.errors import InvalidGame
from mairl.core.spaces import Box, Discrete
from mairl.games.adapters import from_gymnasium


class Several(gymnasium.Env):
    """Two agents; rewards, endings and masks as the test asks."""

    def __init__(self, kind, reward=1.0, terminated=False, truncated=False, mask=None):
        see, act = spaces.Box(0.0, 1.0, (2,), np.float64), spaces.Discrete(3)
        if kind == "tuple":
            self.observation_space, self.action_space = spaces.Tuple((see, see)), spaces.Tuple((act, act))
        else:
            self.observation_space, self.action_space = (spaces.Dict({"x": s, "y": s}) for s in (see, act))
        self.kind, self.told = kind, (reward, terminated, truncated)
        self.info = {} if mask is None else {"action_mask": mask}

    def obs(self):
        parts = (np.zeros(2), np.ones(2))
        return parts if self.kind == "tuple" else dict(zip("xy", parts))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.obs(), self.info

    def step(self, action):
        self.taken = action
        return self.obs(), *self.told, self.info


def started(env, **options):
    game = from_gymnasium(lambda: env, horizon=3, **options)
    host = game.make()
    return game, host, host.reset(0)


def test_one_agent_of_a_registered_environment():
    game = from_gymnasium(lambda: gymnasium.make("CartPole-v1"))
    assert (game.num_agents, game.action_space, game.horizon) == (1, Discrete(2), 500)
    host, again = game.make(), game.make()
    seen = host.reset(3)
    np.testing.assert_array_equal(seen.obs, again.reset(3).obs)
    assert seen.obs.shape == (1, 4)
    while not seen.over:
        seen = host.step(np.array([1]))
    assert seen.terminated.all()
    assert not seen.truncated
    host.close()


def test_vector_actions_of_one_agent():
    game = from_gymnasium(lambda: gymnasium.make("Pendulum-v1"))
    assert game.action_space == Box(1, -2.0, 2.0)


def test_a_tuple_of_agents_shares_one_reward_and_runs_out_of_time():
    env = Several("tuple", reward=2.0)
    game, host, seen = started(env)
    assert game.names == ("agent_0", "agent_1")
    np.testing.assert_array_equal(seen.obs, [[0, 0], [1, 1]])
    for k in range(3):
        seen = host.step(np.array([2, 1]))
        assert bool(seen.over) == (k == 2)
    assert env.taken == (2, 1)
    np.testing.assert_array_equal(seen.reward, [2.0, 2.0])
    assert seen.truncated
    assert not seen.terminated.any()


def test_a_dict_of_agents_ends_one_by_one():
    told = {"reward": {"x": 1.0, "y": 4.0}, "terminated": {"x": True, "y": False, "__all__": False}, "truncated": False}
    env = Several("dict", **told)
    game, host, _ = started(env)
    assert game.names == ("x", "y")
    seen = host.step(np.array([0, 1]))
    assert env.taken == {"x": 0, "y": 1}
    assert (seen.reward.tolist(), seen.terminated.tolist()) == ([1.0, 4.0], [True, False])
    assert seen.present.tolist() == [False, True]
    assert not seen.over
    assert host.step(np.array([0, 1])).reward.tolist() == [0.0, 4.0]  # Who has left is paid no more.


def test_who_is_gone_may_be_left_out():
    told = {"reward": {"x": 1.0, "y": 4.0}, "terminated": {"x": True, "y": False}, "truncated": False}
    env = Several("dict", **told)
    _, host, _ = started(env)
    host.step(np.array([0, 1]))
    env.obs = lambda: {"y": np.ones(2)}
    seen = host.step(np.array([0, 1]))
    assert seen.present.tolist() == [False, True]
    assert seen.obs.tolist() == [[0, 0], [1, 1]]
    env.obs = lambda: {"x": np.zeros(2)}
    with pytest.raises(InvalidGame, match="y takes part and there is no observation of it"):
        host.step(np.array([0, 1]))


def test_an_end_for_all_ends_it_for_each():
    env = Several("dict", terminated={"x": False, "y": False, "__all__": True})
    _, host, _ = started(env)
    seen = host.step(np.array([0, 1]))
    assert seen.terminated.all()
    assert seen.over
    env = Several("dict", truncated={"x": False, "y": False, "__all__": True})
    _, host, _ = started(env)
    seen = host.step(np.array([0, 1]))
    assert (bool(seen.over), bool(seen.truncated), bool(seen.terminated.any())) == (True, True, False)


def test_rewards_may_be_arrays_of_one_number():
    env = Several("dict", reward={"x": np.array([1.0]), "y": np.array([[4.0]])})
    _, host, _ = started(env)
    assert host.step(np.array([0, 1])).reward.tolist() == [1.0, 4.0]


def test_rewards_hidden_in_the_info_and_masks():
    mask = (np.array([1, 0, 1], np.int8), np.array([1, 1, 1], np.int8))
    env = Several("tuple", mask=mask)
    game, host, seen = started(env, reward_of=lambda reward, info: info["action_mask"][0][:2])
    assert game.has_masks
    np.testing.assert_array_equal(seen.action_mask, [[True, False, True], [True] * 3])
    assert host.step(np.array([0, 0])).reward.tolist() == [1.0, 0.0]


def test_what_does_not_fit_is_one_clear_line():
    env = Several("tuple", reward=(1.0, 2.0, 3.0))
    _, host, _ = started(env)
    with pytest.raises(InvalidGame, match="reward has 3 values for 2 agents"):
        host.step(np.array([0, 0]))
    env = Several("tuple")
    env.observation_space = spaces.Box(0.0, 1.0, (2,))
    with pytest.raises(InvalidGame, match="a Tuple of 2 actions needs"):
        from_gymnasium(lambda: env, horizon=3)
    with pytest.raises(InvalidGame, match="give horizon="):
        from_gymnasium(lambda: Several("tuple"))
