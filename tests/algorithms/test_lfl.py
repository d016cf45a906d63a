"""LfL and MA-LfL: rewards of soft policy improvers, exactly."""

import numpy as np
import pytest

from mairl.algorithms.lfl import lfl
from mairl.algorithms.ma_lfl import ma_lfl
from mairl.core.errors import InvalidGame, Unsupported
from mairl.data.learning_history import learning_history
from mairl.games.tabular import lfl_grid, ma_lfl_grid, random_game
from mairl.ops.equilibrium import evaluate, logit_equilibrium
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame
from mairl.ops.tables import Tables


def improve(tables, temperature, steps, seed=None):
    """Soft policy improvers on a game's own rewards, from uniform play or from a random start."""
    game = LinearGame.of(tables, tables.reward[..., None])
    shape = (tables.num_agents, tables.num_states, tables.num_actions)
    logits = [np.zeros(shape) if seed is None else np.random.default_rng(seed).normal(size=shape)]
    for _ in range(steps):
        weights = np.full((tables.num_agents, 1), 1 / temperature)
        logits.append(next_logits("ma-spi", game, logits[-1], weights, 0.0))
    return learning_history(np.stack(logits))


@pytest.fixture(scope="module")
def grid():
    tables = lfl_grid().tables()
    return tables, improve(tables, 0.3, 3)


def test_the_learner_improves_as_published(grid):
    tables, history = grid
    policies = np.exp(history.logits())
    policies /= policies.sum(-1, keepdims=True)
    values = [evaluate(tables, p, rationality=1 / 0.3)[0, 0] for p in policies[1:]]
    np.testing.assert_allclose(values, [0.727, 1.416, 4.179], atol=5e-4)


@pytest.mark.parametrize("tie", ["state", "own"])
def test_one_step_of_one_learner_tells_its_reward(grid, tie):
    tables, history = grid
    found = lfl(tables, history.snapshots(slice(0, 2)), temperature=0.3, tie=tie)
    assert found.relative_residual < 1e-20
    best = logit_equilibrium(tables.with_reward(found.rewards), 1 / 0.3).policies
    optimum = logit_equilibrium(tables, 1 / 0.3).values[0, 0]
    assert optimum - evaluate(tables, best, rationality=1 / 0.3)[0, 0] == pytest.approx(0, abs=1e-8), "regret"
    truth, recovered = tables.reward[:, :, 0], found.rewards[:, :, 0]
    correlation = np.corrcoef(recovered.ravel(), truth.ravel())[0, 1]
    if tie == "state":
        assert found.rank == (24,)
        assert correlation == pytest.approx(1, abs=1e-10)
        np.testing.assert_allclose(recovered - truth, (recovered - truth)[0, 0], atol=1e-8)
    else:  # Shaped: equally good to learn from, but another table.
        assert found.rank == (75,)
        assert "25 of 100 directions" in found.notes[0]
        assert correlation < 0.9


def test_the_wrong_temperature_is_seen(grid):
    """The check above can fail: at another temperature the equations hold, for a reward that is not the true one."""
    tables, history = grid
    found = lfl(tables, history, temperature=0.6)
    assert np.abs(np.ptp(found.rewards) / np.ptp(tables.reward) - 2) < 0.5


@pytest.mark.parametrize("reward", ["disjoint", "joint"])
def test_tied_to_the_state_two_agents_rewards_are_exact(reward):
    tables = ma_lfl_grid(reward=reward).tables()
    history = improve(tables, 3.0, 5, seed=0)
    one = ma_lfl(tables, history.snapshots(slice(0, 2)), temperature=3.0)
    assert one.rank == (72, 72), "one step"
    found = ma_lfl(tables, history, temperature=3.0)
    assert found.rank == (80, 80), "the constant is missing"
    assert found.relative_residual < 1e-20
    for i in range(2):
        truth = tables.reward[:, 0, 0, i]
        assert np.corrcoef(found.rewards[:, 0, 0, i], truth)[0, 1] > 1 - 1e-9
        assert np.ptp(found.rewards[:, 0, 0, i] - truth) < 1e-7, "in the true units"


@pytest.mark.parametrize("absorbing", [False, True])
def test_terminal_states_have_no_equations(absorbing):
    """What stands in the tables behind the end, another round or a loop, is not played."""
    rng = np.random.default_rng(0)
    states, actions, ends = 5, 3, np.arange(5) == 4
    transitions = rng.dirichlet(np.ones(states), size=(states, actions, actions))
    transitions = np.where(ends[:, None, None, None] & absorbing, np.eye(states)[4], transitions)
    paid = np.broadcast_to(rng.normal(size=(states, 1, 1, 2)), (states, actions, actions, 2))
    tables = Tables(transitions, paid, np.eye(states)[0], ends, 0.9)
    found = ma_lfl(tables, improve(tables, 2.0, 6, seed=0), temperature=2.0)
    assert found.relative_residual < 1e-20
    assert found.rank == (4, 4), "nothing is paid in the last state; episodes that end tell the constant"
    np.testing.assert_allclose(found.rewards[~ends], paid[~ends], atol=1e-8)
    # Nor do policies there have to be those of learners.
    logits = improve(tables, 2.0, 6, seed=0).logits().copy()
    logits[:, :, 4] = rng.normal(size=logits[:, :, 4].shape)
    again = ma_lfl(tables, learning_history(logits), temperature=2.0)
    np.testing.assert_allclose(again.rewards[~ends], paid[~ends], atol=1e-8)


def test_a_free_joint_reward_is_under_determined_and_says_so():
    tables = random_game(1, num_states=3, num_actions=2, discount=0.9).tables()
    history = improve(tables, 1.0, 4, seed=0)
    found = ma_lfl(tables, history, tie="joint")
    assert found.relative_residual < 1e-20
    assert found.unknowns == 12
    assert all(rank < 12 for rank in found.rank)
    assert "directions of the reward leave no trace" in found.notes[0]
    # Still it explains the learning: with it agents improve as they did.
    game = LinearGame.of(tables, found.rewards[..., None])
    again = next_logits("ma-spi", game, history.logits()[2], np.ones((2, 1)), 0.0)
    np.testing.assert_allclose(again, history.logits()[3], atol=1e-6)


def test_rewards_of_own_actions_of_several_agents():
    tables = random_game(5, num_states=4, num_actions=2, num_agents=3, discount=0.7).tables()
    own = np.random.default_rng(0).normal(size=(3, 4, 2))
    axes = [(4, 2, 1, 1), (4, 1, 2, 1), (4, 1, 1, 2)]
    paid = np.stack([np.broadcast_to(own[i].reshape(axes[i]), (4, 2, 2, 2)) for i in range(3)], axis=-1)
    tables = tables.with_reward(paid)
    history = improve(tables, 1.0, 6, seed=0)
    found = ma_lfl(tables, history, tie="own")
    assert found.relative_residual < 1e-20
    assert found.rank == (7, 7, 7), "all but a constant: shaping would need the others' actions"
    for i in range(3):
        np.testing.assert_allclose(np.ptp(found.rewards[..., i] - paid[..., i]), 0, atol=1e-6)


def test_faults_are_named(grid):
    tables, history = grid
    with pytest.raises(Unsupported, match="positive temperature"):
        lfl(tables, history, temperature=0.0)
    with pytest.raises(InvalidGame, match="the game has 2: use ma_lfl"):
        lfl(ma_lfl_grid().tables(), history)
    with pytest.raises(InvalidGame, match=r"policies are \(1, 25, 4\) .* the game is \(2, 81, 5\)"):
        ma_lfl(ma_lfl_grid().tables(), history)
    still = learning_history(np.zeros((3, 1, 25, 4)))
    with pytest.raises(Unsupported, match="policies changed by 0"):
        lfl(tables, still)
