"""What rewards of tabular games may be made of: the features in which their own rewards are linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from mairl.core.errors import InvalidGame
from mairl.games import make_game, options_of
from mairl.games.tabular.game import TabularGame
from mairl.games.tabular.iterated_dilemma import iterated_dilemma_features
from mairl.games.tabular.logel_grid import logel_features
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features
from mairl.ops.linear_game import LinearGame
from mairl.ops.tables import Tables

FEATURES: dict[str, Callable[[], np.ndarray]] = {
    "iterated-dilemma": iterated_dilemma_features,
    "logel-grid": logel_features,
    "ma-lfl-grid": ma_lfl_features,
}
"""Game id to the features of its reward; in other tables a reward may be anything that depends on the state or, where
no action changes the state, on the joint action."""

Kind = Literal["game", "state", "joint"]


def tabular_game(name: str) -> TabularGame:
    """A game that is a table, by id.

    Raises:
        InvalidGame: it is none.
    """
    game = make_game(name)
    if not isinstance(game, TabularGame):
        raise InvalidGame(f"{name} is no table: exact learning from learners needs its transitions; see mairl list")
    return game


def linear_game(name: str, kind: Kind = "game") -> LinearGame:
    """A tabular game by id, with the features that its rewards are sought in.

    Args:
        kind: "game": the game's own (`FEATURES`); where it has none one for each state, or "joint" if no action changes
            which state comes next, as in matrix games. "state": one for each state; "joint": one for each state and
            joint action.

    Raises:
        InvalidGame: the game is no table.
    """
    tables = tabular_game(name).tables()
    own = FEATURES.get(options_of(name)[0])
    if kind == "game" and own is not None:
        return LinearGame.of(tables, own())
    # What happens to agents whatever they do cannot move their policies: rewards of states would tell nothing.
    joint = kind == "joint" or (kind == "game" and not moves_states(tables))
    return LinearGame.of(tables, one_hot(tables.reward.shape, joint=joint))


def moves_states(tables: Tables) -> bool:
    """Whether some joint action changes which state comes next."""
    joint = tuple(range(1, 1 + tables.num_agents))
    return bool(np.ptp(tables.transitions, axis=joint).max() > 1e-12)


def one_hot(shape: tuple[int, ...], joint: bool) -> Float[np.ndarray, "..."]:
    """One feature for each state, or for each state and joint action.

    Args:
        shape: of the reward's table, `[S, A_1 … A_n, n]`.
    """
    if not joint:
        return np.eye(shape[0])
    rows = int(np.prod(shape[:-1]))
    table = np.eye(rows).reshape(*shape[:-1], 1, rows)
    return np.array(np.broadcast_to(table, (*shape, rows)))


def as_feature(rewards: Float[np.ndarray, "state *joint agent"]) -> Float[np.ndarray, "state *joint agent feature"]:
    """Rewards as the one feature of a game: its weight is then how large their steps are."""
    return np.asarray(rewards, np.float64)[..., None]


def check_same(game: LinearGame, shape: tuple[int, ...]) -> None:
    """Raises `InvalidGame` unless policies `[step, agent, state, action]` belong to the game."""
    want = (game.num_agents, game.num_states, game.num_actions)
    if shape[1:] != want:
        raise InvalidGame(
            f"the history's policies are {shape[1:]} = (agents, states, actions), the game is {want}: name the game "
            "and the options with which it was recorded"
        )
