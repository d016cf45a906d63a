"""Outside environments become games: unlike agents padded, masks kept, leaving told apart from running out of time."""

import functools

import numpy as np
import pytest

pytest.importorskip("pettingzoo")
from gymnasium import spaces
from pettingzoo.test import parallel_api_test

from mairl.core.errors import InvalidGame, Unsupported
from mairl.core.spaces import Box, Discrete
from mairl.games.adapters import from_gymnasium, from_pettingzoo
from mairl.testing.errand import make_errand


class Two:
    """Two agents with given spaces; only what a probe needs."""

    metadata = {"name": "two"}  # noqa: RUF012
    max_cycles = 3

    def __init__(self, see, act, reset=None):
        self.see, self.act = see, act
        self.possible_agents = ["a", "b"]
        self.unwrapped = self

    def observation_space(self, agent):
        return self.see[agent]

    def action_space(self, agent):
        return self.act[agent]

    def reset(self, seed=None, options=None):
        self.agents = ["a", "b"]
        return {n: self.see[n].sample() for n in self.agents}, {n: {} for n in self.agents}

    def step(self, actions):
        self.taken = actions
        obs = {n: self.see[n].sample() for n in self.agents}
        each = dict.fromkeys
        return obs, each(actions, 1.0), each(actions, False), each(actions, False), each(actions, {})

    def close(self):
        pass


def two(see, act):
    both = {"a": see, "b": see} if not isinstance(see, dict) else see
    return Two(both, {"a": act, "b": act} if not isinstance(act, dict) else act)


def test_the_probe_itself_is_sound(capsys):
    parallel_api_test(make_errand(strict=False), num_cycles=40)


def test_unlike_agents_are_padded_and_masked():
    game = from_pettingzoo(make_errand)
    assert (game.num_agents, game.action_space, game.horizon) == (2, Discrete(3), 8)
    assert game.observation_spec.shape == (6,)
    assert game.static_mask == ((True, True, False), (True, True, True))
    env = game.make()
    seen = env.reset(1)
    goal = int(np.argmax(seen.obs[0][:2]))
    np.testing.assert_array_equal(seen.obs[0], [goal == 0, goal == 1, 0, 0, 0, 0])  # One-hot, then zeros.
    np.testing.assert_array_equal(seen.obs[1], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(seen.action_mask, [[True, True, False], [True, True, True]])
    for k in (1, 2):
        seen = env.step(np.array([goal, 2 * goal]))
        assert seen.present.tolist() == [True, k == 1]
    assert seen.terminated.tolist() == [False, True]
    assert not seen.over
    np.testing.assert_allclose(seen.reward, [1.0, 5.0])
    np.testing.assert_array_equal(seen.obs[1], np.append(np.eye(5)[4 * goal], 2 * goal - 1))  # The final one is kept.
    for _ in range(6):
        assert not seen.over
        seen = env.step(np.array([goal, 1]))
        np.testing.assert_array_equal(seen.obs[1], 0)
    assert (bool(seen.over), bool(seen.truncated), seen.terminated.tolist()) == (True, True, [False, True])


def test_walls_are_in_the_mask():
    env = from_pettingzoo(make_errand).make()
    seen = env.reset(int(next(s for s in range(20) if np.random.default_rng(s).integers(2) == 1)))
    for _ in range(2):
        seen = env.step(np.array([0, 0]))
    assert seen.action_mask[1].tolist() == [False, True, True]


def test_masks_in_observations():
    see = spaces.Dict({"observation": spaces.Box(0, 1, (2,)), "action_mask": spaces.Box(1, 1, (4,), np.int8)})
    env = two(see, spaces.Discrete(4, start=3))
    game = from_pettingzoo(lambda: env)
    assert game.has_masks
    assert game.observation_spec.shape == (2,)
    assert game.make().reset(0).action_mask.shape == (2, 4)


@pytest.mark.parametrize(("beside", "size"), [(("obs",), 2), (("observation", "goal"), 4), (("goal", "obs"), 4)])
def test_masks_in_any_dictionary(beside, size):
    mask = np.array([1, 0, 1, 0], np.int8)
    parts = {name: spaces.Box(0, 1, (2,)) for name in beside}
    env = two(spaces.Dict({**parts, "action_mask": spaces.Box(mask, mask, dtype=np.int8)}), spaces.Discrete(4))
    game = from_pettingzoo(lambda: env)
    assert game.has_masks
    assert game.observation_spec.shape == (size,)
    np.testing.assert_array_equal(game.make().reset(0).action_mask, [mask, mask])


def test_a_mask_is_not_all_there_is_to_see():
    see = spaces.Dict({"action_mask": spaces.Box(0, 1, (4,), np.int8)})
    with pytest.raises(InvalidGame, match="observes nothing but its action mask"):
        from_pettingzoo(lambda: two(see, spaces.Discrete(4)))


def test_vector_actions_have_no_mask():
    see = spaces.Dict({"obs": spaces.Box(0, 1, (2,)), "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    game = from_pettingzoo(lambda: two(see, spaces.Box(-1.0, 1.0, (3,))))
    assert not game.has_masks
    assert game.observation_spec.shape == (5,)


def test_rewards_may_be_arrays_of_one_number():
    class Paid(Two):
        pay = np.array([2.5])

        def step(self, actions):
            obs, _, *ends = super().step(actions)
            return obs, dict.fromkeys(actions, self.pay), *ends

    host = from_pettingzoo(functools.partial(Paid, SEE, ACT)).make()
    host.reset(0)
    assert host.step(np.array([0, 0])).reward.tolist() == [2.5, 2.5]
    Paid.pay = np.array([1.0, 2.0])
    with pytest.raises(InvalidGame, match=r"a's reward has shape \(2,\)"):
        host.step(np.array([0, 0]))


def test_a_mask_that_allows_nothing_is_refused():
    see = spaces.Dict({"observation": spaces.Box(0, 1, (2,)), "action_mask": spaces.Box(0, 0, (4,), np.int8)})
    with pytest.raises(InvalidGame, match="a is in the game but its action mask allows nothing"):
        from_pettingzoo(lambda: two(see, spaces.Discrete(4)))


def test_discrete_offsets_and_enumerated_choices():
    env = two(spaces.Box(0, 1, (2,)), {"a": spaces.Discrete(4, start=3), "b": spaces.MultiDiscrete([2, 3])})
    game = from_pettingzoo(lambda: env)
    assert game.action_space == Discrete(6)
    host = game.make()
    host.reset(0)
    host.step(np.array([1, 5]))
    assert env.taken["a"] == 4
    assert env.taken["b"].tolist() == [1, 2]
    np.testing.assert_array_equal(host.encode(env.taken), [1, 5])


def test_vector_actions_keep_common_bounds_and_rescale_others():
    env = two(spaces.Box(0, 1, (2,)), spaces.Box(-2.0, 2.0, (3,)))
    assert from_pettingzoo(lambda: env).action_space == Box(3, -2.0, 2.0)
    mixed = two(spaces.Box(0, 1, (2,)), spaces.Box(np.array([0.0, -1.0]), np.array([10.0, 1.0]), dtype=np.float64))
    game = from_pettingzoo(lambda: mixed)
    assert game.action_space == Box(2, -1.0, 1.0)
    host = game.make()
    host.reset(0)
    host.step(np.array([[0.0, 0.5], [1.0, -7.0]], np.float32))
    np.testing.assert_allclose(mixed.taken["a"], [5.0, 0.5])
    np.testing.assert_allclose(mixed.taken["b"], [10.0, -1.0])
    np.testing.assert_allclose(host.encode(mixed.taken), [[0.0, 0.5], [1.0, -1.0]])


def test_images_stay_images():
    env = two(spaces.Box(0, 255, (4, 5, 3), np.uint8), spaces.Discrete(2))
    spec = from_pettingzoo(lambda: env).observation_spec
    assert (spec.shape, spec.dtype) == ((4, 5, 3), np.uint8)


class TurnBased:
    metadata = {"name": "chess"}  # noqa: RUF012
    possible_agents = ("w", "b")

    def agent_iter(self):
        return []


class Endless(Two):
    max_cycles = None


class Seedless(Two):
    def reset(self):
        return {}, {}


class Broken(Two):
    def reset(self, seed=None, options=None):
        obs, info = super().reset()
        return {n: np.full(2, np.nan, np.float32) for n in obs}, info


class OldReset(Two):
    def reset(self, seed=None, options=None):
        return super().reset()[0]


SEE = {"a": spaces.Box(0, 1, (2,)), "b": spaces.Box(0, 1, (2,))}
ACT = {"a": spaces.Discrete(2), "b": spaces.Discrete(2)}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (TurnBased, r"chess is turn-based \(AEC\): give pettingzoo.utils.aec_to_parallel"),
        (object, "is no PettingZoo parallel environment"),
        (functools.partial(Endless, SEE, ACT), "give horizon="),
        (functools.partial(Seedless, SEE, ACT), "takes no seed"),
        (functools.partial(Broken, SEE, ACT), "NaN or infinity"),
        (functools.partial(OldReset, SEE, ACT), "must give observations and a dictionary of infos"),
        (functools.partial(two, spaces.Sequence(spaces.Discrete(2)), spaces.Discrete(2)), "no fixed size"),
        (functools.partial(two, SEE, {"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (3,))}), "differ in size"),
        (functools.partial(two, SEE, {"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (3,))}), "Box and Discrete"),
        (functools.partial(two, SEE, spaces.Box(-np.inf, np.inf, (2,))), "without bounds"),
        (functools.partial(two, SEE, spaces.MultiDiscrete([20, 20, 20])), "at most 4096"),
    ],
)
def test_what_cannot_be_learned_from_is_one_clear_line(make, says):
    with pytest.raises(InvalidGame, match=says) as caught:
        from_pettingzoo(make)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("horizon", [0, -3, 2.5])
def test_a_horizon_is_a_number_of_steps(horizon):
    with pytest.raises(InvalidGame, match="expected a whole number of steps"):
        from_pettingzoo(make_errand, horizon=horizon)


def test_infos_may_be_missing():
    class Silent(Two):
        def reset(self, seed=None, options=None):
            return super().reset()[0], {"a": None}

    assert from_pettingzoo(functools.partial(Silent, SEE, ACT)).num_agents == 2


@pytest.mark.parametrize(("high", "dtype"), [(100, np.int32), (2**40, np.float32)])
def test_whole_numbers_of_64_bits_are_kept_as_they_fit(high, dtype):
    """None wraps: what 32 bits cannot hold becomes a float."""
    see = spaces.Box(0, high, (2,), np.int64)
    host = from_pettingzoo(functools.partial(two, see, spaces.Discrete(2))).make()
    host.reset(0)
    value, _ = host.codec.observe(0, np.array([high, 5], np.int64))
    assert value.dtype == dtype
    assert value.tolist() == [high, 5]


def test_each_kind_points_to_its_adapter():
    with pytest.raises(InvalidGame, match="is no Gymnasium environment"):
        from_gymnasium(lambda: 3)
    with pytest.raises(InvalidGame, match="give it to from_pettingzoo"):
        from_gymnasium(make_errand)


def test_it_cannot_be_stepped_in_compiled_code():
    game = from_pettingzoo(make_errand)
    with pytest.raises(Unsupported, match="errand is stepped by its own program"):
        game.reset(None)
