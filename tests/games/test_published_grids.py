"""Grids on which learning from learners was published: moves, rewards and known values by hand."""

import jax
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.games.tabular import (
    iterated_dilemma,
    iterated_dilemma_features,
    lfl_grid,
    logel_features,
    logel_grid,
    ma_lfl_features,
    ma_lfl_grid,
)
from mairl.games.tabular.logel_grid import WEIGHTS
from mairl.games.tabular.open_grid import open_grid, steps_between
from mairl.ops.equilibrium import evaluate, logit_equilibrium
from mairl.ops.linear_game import LinearGame
from mairl.testing import check_game

DOWN, UP, LEFT, RIGHT, STAY = range(5)


@pytest.mark.parametrize("make", [ma_lfl_grid, lfl_grid, logel_grid, iterated_dilemma])
def test_contract(make):
    check_game(make(horizon=6), jax.random.key(0), num_envs=4, samples=200)


def test_moves_stop_at_the_border_and_go_back_from_the_goal():
    moves = open_grid(3, ("down", "up", "left", "right", "stay"), back_to_start=(8,))
    assert [int(np.argmax(moves[0, a])) for a in range(5)] == [3, 0, 0, 1, 0]
    assert [int(np.argmax(moves[4, a])) for a in range(5)] == [7, 1, 3, 5, 4]
    assert [int(np.argmax(moves[8, a])) for a in range(5)] == [0] * 5
    assert steps_between(3)[0].tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4]


def test_two_agents_by_hand():
    tables = {kind: ma_lfl_grid(reward=kind).tables() for kind in ("disjoint", "joint")}
    # Agent 0 on cell 1, agent 1 on cell 8, the goal, three moves away.
    state = 9 * 1 + 8
    assert tables["disjoint"].reward[state, STAY, STAY].tolist() == [-3 + 3, 0 + 3]
    assert tables["joint"].reward[state, STAY, STAY].tolist() == [-3 - 3, 0 - 3]
    # Agent 0 goes down to cell 4, agent 1 back to the start; they may share a cell.
    assert int(np.argmax(tables["joint"].transitions[state, DOWN, STAY])) == 9 * 4 + 0
    assert int(np.argmax(tables["joint"].transitions[0, RIGHT, RIGHT])) == 9 * 1 + 1
    assert tables["joint"].start[0] == 1
    for kind, sign in (("disjoint", 1.0), ("joint", -1.0)):
        weights = np.tile([-1.0, sign, 0, 0], (2, 1))
        game = LinearGame.of(tables[kind], ma_lfl_features())
        np.testing.assert_allclose(game.reward(weights), tables[kind].reward)
    with pytest.raises(InvalidGame, match="unknown reward 'both'"):
        ma_lfl_grid(reward="both")  # type: ignore[arg-type]


def test_the_lfl_grid_has_the_published_optimum():
    tables = lfl_grid().tables()
    assert tables.reward[:, 0, 0].reshape(5, 5)[[0, 0, 4, 4, 2], [0, 4, 0, 4, 2]].tolist() == [-1, -12, 0, 10, -1]
    assert int(np.argmax(tables.transitions[12, RIGHT])) == 0
    best = logit_equilibrium(tables, 1 / 0.3)
    assert best.values[0, 0] == pytest.approx(5.684, abs=5e-4)
    assert evaluate(tables, best.policies, rationality=1 / 0.3)[0, 0] == pytest.approx(5.684, abs=5e-4)


def test_the_logel_grid_pays_by_kind():
    reward = logel_grid().tables().reward[:, 0, 0].reshape(5, 5)
    assert reward[0].tolist() == [-1, -1, -1, 0, 0]
    assert reward[2].tolist() == [-1, -1, -5, -1, -1]
    assert reward[4].tolist() == [-3, -3, -1, -1, 7]
    np.testing.assert_allclose(logel_features() @ WEIGHTS, reward.ravel())


def test_the_iterated_dilemma_remembers_one_step():
    tables = iterated_dilemma(discount=0.5).tables()
    assert int(np.argmax(tables.transitions[0, 1, 0])) == 3
    weights = np.array([[-1.0, -3, 0, -2], [-1, 0, -3, -2]])
    np.testing.assert_allclose(LinearGame.of(tables, iterated_dilemma_features()).reward(weights), tables.reward)
    # Tit for tat against always defect: -3 once, then -2 for ever; the other 0, then -2.
    tit_for_tat = np.eye(2)[[0, 0, 1, 0, 1]]
    defect = np.eye(2)[[1] * 5]
    np.testing.assert_allclose(evaluate(tables, np.stack([tit_for_tat, defect]))[:, 0], [-3 - 2, 0 - 2])
