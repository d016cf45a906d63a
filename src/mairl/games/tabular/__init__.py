"""Small games with exact answers: tables, matrices, a gridworld."""

from mairl.games.tabular.game import TabularGame, TabularState
from mairl.games.tabular.gridworld import gridworld
from mairl.games.tabular.matrix import coordination, matching_pennies, matrix_game, prisoners_dilemma, stag_hunt
from mairl.games.tabular.policy import TabularPolicy
from mairl.games.tabular.random_games import random_game

__all__ = [
    "TabularGame",
    "TabularPolicy",
    "TabularState",
    "coordination",
    "gridworld",
    "matching_pennies",
    "matrix_game",
    "prisoners_dilemma",
    "random_game",
    "stag_hunt",
]
