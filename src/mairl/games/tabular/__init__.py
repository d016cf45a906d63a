"""Small games with exact answers: tables, matrices, a gridworld."""

from mairl.games.tabular.game import TabularGame, TabularState
from mairl.games.tabular.gridworld import gridworld
from mairl.games.tabular.iterated_dilemma import iterated_dilemma, iterated_dilemma_features
from mairl.games.tabular.lfl_grid import lfl_grid
from mairl.games.tabular.logel_grid import logel_features, logel_grid
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features, ma_lfl_grid
from mairl.games.tabular.matrix import coordination, matching_pennies, matrix_game, prisoners_dilemma, stag_hunt
from mairl.games.tabular.policy import TabularPolicy
from mairl.games.tabular.random_games import random_game

__all__ = [
    "TabularGame",
    "TabularPolicy",
    "TabularState",
    "coordination",
    "gridworld",
    "iterated_dilemma",
    "iterated_dilemma_features",
    "lfl_grid",
    "logel_features",
    "logel_grid",
    "ma_lfl_features",
    "ma_lfl_grid",
    "matching_pennies",
    "matrix_game",
    "prisoners_dilemma",
    "random_game",
    "stag_hunt",
]
