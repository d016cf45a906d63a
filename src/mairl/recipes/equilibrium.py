"""Experts of tabular games: their exact logit equilibrium, computed when asked for."""

from __future__ import annotations

from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.games import make_game
from mairl.games.tabular import TabularGame, TabularPolicy
from mairl.ops.equilibrium import logit_equilibrium

RATIONALITY = {
    "coordination": 2.0,
    "gridworld": 25.0,
    "iterated-dilemma": 1.0,
    "lfl-grid": 1 / 0.3,
    "logel-grid": 2.0,
    "ma-lfl-grid": 1 / 3,
    "matching-pennies": 1.0,
    "prisoners-dilemma": 1.0,
    "stag-hunt": 1.0,
}
"""Game id to λ, in 1 / units of reward: the expert plays softmax(λ Q̄), near its best answer but not at it."""


def equilibrium_expert(name: str) -> Learned:
    """The expert of a tabular game (id, with or without options).

    Raises:
        Unsupported: another game, or no equilibrium was found.
    """
    game, kind = make_game(name), name.partition(":")[0]
    if not isinstance(game, TabularGame) or kind not in RATIONALITY:
        raise Unsupported(f"equilibria are computed in {', '.join(RATIONALITY)}, not in {name}")
    return Learned(TabularPolicy.new(logit_equilibrium(game.tables(), RATIONALITY[kind]).policies))
