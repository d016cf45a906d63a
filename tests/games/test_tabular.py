"""Tabular games: what is played is what the tables say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mairl.core.errors import InvalidGame
from mairl.core.policy import UniformPolicy
from mairl.data.collect import play_episodes
from mairl.games.tabular import (
    TabularGame,
    TabularPolicy,
    TabularState,
    coordination,
    gridworld,
    matching_pennies,
    matrix_game,
    prisoners_dilemma,
    random_game,
    stag_hunt,
)
from mairl.games.tabular.gridworld import floor
from mairl.ops.equilibrium import evaluate, logit_equilibrium
from mairl.testing import check_game

KEY = jax.random.key(0)
UP, DOWN, LEFT, RIGHT, STAY = range(5)


@pytest.mark.parametrize(
    "game",
    [
        random_game(3, num_terminal=1, num_agents=3, horizon=8),
        gridworld(slip=0.2, horizon=8),
        matching_pennies(horizon=3),
    ],
    ids=["random", "gridworld", "matrix"],
)
def test_contract(game):
    check_game(game, KEY, num_envs=8)


def test_step_follows_the_tables():
    game = random_game(1, num_states=4, deterministic=True, num_terminal=1, horizon=9)
    step = eqx.filter_jit(game.step)
    for index in range(4):
        for actions in np.ndindex(3, 3):
            state = TabularState(jnp.int32(index), jnp.int32(0))
            after, played = step(KEY, state, jnp.array(actions))
            if index == 3:  # the terminal state is never left, and nothing is paid there
                assert int(after.index) == 3
                np.testing.assert_array_equal(played.reward, 0)
                assert not bool(played.mask.any())
            else:
                assert int(after.index) == int(np.argmax(game.transitions[(index, *actions)]))
                np.testing.assert_array_equal(played.reward, game.reward[(index, *actions)])
                assert bool(played.terminated.all()) == (int(after.index) == 3)


def test_successors_are_the_table_row():
    game = random_game(2, num_states=4, num_terminal=1)
    branches, over, p = game.successors(KEY, TabularState(jnp.int32(1), jnp.int32(5)), jnp.array([2, 0]))
    np.testing.assert_array_equal(branches.index, range(4))
    np.testing.assert_array_equal(branches.time, 6)
    np.testing.assert_allclose(p, game.transitions[1, 2, 0])
    np.testing.assert_array_equal(over, [[False] * 2] * 3 + [[True] * 2])


def test_truncated_at_the_horizon():
    episodes = play_episodes(matching_pennies(horizon=4), UniformPolicy(2, matching_pennies().action_space), KEY, 3)
    np.testing.assert_array_equal(episodes.lengths, 4)
    np.testing.assert_array_equal(episodes.steps.truncated[-1], True)
    assert not bool(episodes.steps.terminated.any())


def test_matrix_payoffs_by_hand():
    dilemma, hunt, pennies = (make().tables().reward[0] for make in (prisoners_dilemma, stag_hunt, matching_pennies))
    np.testing.assert_array_equal(dilemma[0, 1], [0, 5])
    np.testing.assert_array_equal(dilemma[1, 0], [5, 0])
    np.testing.assert_array_equal(hunt[0, 0], [4, 4])
    np.testing.assert_array_equal(hunt[1, 0], [3, 0])
    np.testing.assert_array_equal(pennies.sum(axis=-1), 0)
    np.testing.assert_array_equal(coordination(3).tables().reward[0, :, :, 1], np.eye(3))
    assert coordination().cooperative
    assert not stag_hunt().cooperative
    three = matrix_game(np.zeros((2, 2, 2, 3)))
    assert (three.num_agents, three.action_space.n, three.num_states) == (3, 2, 1)


@given(st.integers(0, 1000), st.booleans(), st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_random_games_are_what_they_say(seed, deterministic, num_terminal):
    def make(**options):
        return random_game(seed, deterministic=deterministic, num_terminal=num_terminal, **options)

    general = make().tables()
    np.testing.assert_array_equal(general.reward, make().tables().reward)
    assert np.any(general.reward != random_game(seed + 1).tables().reward)
    assert general.terminal.sum() == num_terminal
    assert np.all(general.start[general.terminal] == 0)
    assert np.all((general.transitions.max(axis=-1) == 1) == deterministic)
    np.testing.assert_array_equal(np.diff(make(kind="cooperative").tables().reward, axis=-1), 0)
    assert make(kind="cooperative").cooperative
    np.testing.assert_array_equal(make(kind="zero-sum").tables().reward.sum(axis=-1), 0)
    # Separable: no interaction between the agents' actions is left after both means are taken out.
    for separable in (True, False):
        r = make(separable=separable).tables().reward
        rest = r - r.mean(axis=1, keepdims=True) - r.mean(axis=2, keepdims=True) + r.mean(axis=(1, 2), keepdims=True)
        assert (np.abs(rest).max() < 1e-6) == separable


def test_equilibrium_play_earns_what_it_should():
    game = random_game(4, horizon=10, num_terminal=1)
    t = game.tables()
    policies = logit_equilibrium(t, 3.0).policies
    episodes = eqx.filter_jit(play_episodes)(game, TabularPolicy.new(policies), KEY, 4000)
    undiscounted = TabularGame(t.transitions, t.reward, t.start, t.terminal, horizon=10, discount=1.0).tables()
    want = evaluate(undiscounted, policies, horizon=10) @ t.start
    spread = np.asarray(episodes.returns).std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(np.asarray(episodes.returns).mean(axis=0) - want) < 5 * spread)


def test_tabular_policy_never_plays_what_has_no_probability():
    policy = TabularPolicy.new([[[0.0, 1.0], [0.25, 0.75]]])
    np.testing.assert_allclose(jnp.exp(policy.log_probs(jnp.array([[0.0, 1.0]]))), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(policy.log_probs(jnp.array([[1.0, 0.0]]))), [[0, 1]])
    assert int(policy.sample(KEY, jnp.array([[1.0, 0.0]]))[0]) == 1


class TestGridworld:
    layout = ("a#B", "b.A")
    # Cells by number: a = 0, B = 1, b = 2, floor = 3, A = 4.

    def after(self, game, i, j, *actions):
        state, step = game.step(KEY, TabularState(jnp.int32(5 * i + j), jnp.int32(0)), jnp.array(actions))
        return divmod(int(state.index), 5), np.asarray(step.reward), bool(step.done)

    def test_rules(self):
        game = gridworld(self.layout)
        assert floor(self.layout) == [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)]
        assert int(game.reset(KEY)[0].index) == 5 * 0 + 2
        for i, j, actions, places, paid, done in [
            (0, 2, (RIGHT, RIGHT), (0, 3), [-0.1, -0.1], False),  # a wall
            (0, 2, (DOWN, STAY), (0, 2), [-0.3, -0.3], False),  # into one who stays
            (0, 2, (DOWN, UP), (0, 2), [-0.3, -0.3], False),  # a swap
            (0, 2, (DOWN, RIGHT), (2, 3), [-0.1, -0.1], False),  # following
            (2, 4, (RIGHT, LEFT), (2, 4), [-0.3, -0.3], False),  # both want one cell
            (3, 4, (RIGHT, UP), (4, 1), [1, 1], True),  # both at home
            (4, 3, (STAY, LEFT), (4, 2), [0, -0.1], False),  # one at home
        ]:
            got = self.after(game, i, j, *actions)
            assert (got[0], got[2]) == (places, done)
            np.testing.assert_allclose(got[1], paid, atol=1e-6)

    def test_slip_mixes_with_staying(self):
        row = gridworld(self.layout, slip=0.25).tables().transitions[5 * 0 + 2, DOWN, RIGHT]
        # Both go 9/16; only b goes 3/16; only a would go: into b, both stay, 3/16 + 1/16.
        np.testing.assert_allclose(row[[5 * 2 + 3, 5 * 0 + 3, 5 * 0 + 2]], [9 / 16, 3 / 16, 4 / 16], atol=1e-6)

    def test_map_errors(self):
        for bad in (("a.B", "bA"), ("a#B", "b.x"), ("a#B", "b..")):
            with pytest.raises(InvalidGame, match="equally long lines"):
                gridworld(bad)

    def test_pictures(self):
        game = gridworld(self.layout)
        image = game.render(game.reset(KEY)[0])
        assert image.shape == (64, 96, 3)
        np.testing.assert_array_equal(image[16, 16], (38, 98, 190))
        np.testing.assert_array_equal(image[48, 16], (200, 55, 55))
        np.testing.assert_array_equal(image[16, 48], (70, 70, 78))
        row = random_game(0, num_states=3, num_terminal=1).render(TabularState(jnp.int32(1), jnp.int32(0)))
        assert row.shape == (32, 96, 3)
        assert tuple(row[16, 48]) != tuple(row[16, 16])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"transitions": np.full((2, 2, 2, 2), 0.4)}, "off by 0.2"),
        ({"transitions": np.stack([np.full((2, 2, 2), 1.5), np.full((2, 2, 2), -0.5)], -1)}, "negative"),
        ({"transitions": np.full((2, 2, 3, 2), 0.5)}, r"transitions have shape \(2, 2, 3, 2\)"),
        ({"reward": np.zeros((2, 2, 3, 2))}, "give every agent equally many actions"),
        ({"reward": np.full((2, 2, 2, 2), np.nan)}, "16 values that are not finite"),
        ({"terminal": [True, False]}, "state 0 is terminal and a start"),
        ({"start": [0.5, 0.2]}, "start sums to 0.7"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"discount": 1.5}, r"discount must be in \[0, 1\]"),
    ],
)
def test_faulty_tables_are_refused(change, says):
    good = {"transitions": np.full((2, 2, 2, 2), 0.5), "reward": np.zeros((2, 2, 2, 2))}
    TabularGame(**good)
    with pytest.raises(InvalidGame, match=says):
        TabularGame(**{**good, **change})
