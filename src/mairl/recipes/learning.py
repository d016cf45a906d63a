"""Exact learners of games that are tables, with settings under which they learn: what `--record-learning` records."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from mairl.core.errors import InvalidData, Unsupported
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata
from mairl.data.exact_learning import exact_learning
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.games import options_of
from mairl.games.tabular import TabularPolicy
from mairl.games.tabular.features import as_feature, tabular_game
from mairl.ops.host_softmax import softmax
from mairl.ops.learners import ANTICIPATING, LEARNERS
from mairl.ops.linear_game import LinearGame


@dataclasses.dataclass(frozen=True)
class Setting:
    """How fast agents learn in a game.

    Attributes:
        step_size: α of learners by gradients.
        look_ahead: λ of those that anticipate: how many of their own steps they expect the others to move.
        temperature: of soft improvement.
    """

    step_size: float = 0.05
    look_ahead: float = 10.0
    temperature: float = 1.0


SETTINGS = {
    "iterated-dilemma": Setting(step_size=0.1),
    "lfl-grid": Setting(temperature=0.3),
    "logel-grid": Setting(step_size=0.1),
    "ma-lfl-grid": Setting(temperature=3.0),
}
"""Game id to setting: the published ones where there are any. Other tables have the defaults."""


def record_exact_learning(
    name: str,
    learner: str,
    *,
    transitions: int = 10,
    episodes: int = 0,
    step_size: float | None = None,
    look_ahead: float | None = None,
    seed: int = 0,
) -> LearningHistory:
    """Joint policies of exact learners of a game's own reward, from random ones, and what each of them does.

    Args:
        name: id and options of a tabular game.
        learner: a name in `mairl.ops.learners.LEARNERS`.
        transitions: learning steps.
        episodes: recorded of every joint policy; 0: policies alone.
        step_size, look_ahead: if not the game's setting; of "ma-spi" the step size is 1 / temperature.
        seed: of the first policies and of what is recorded.

    Raises:
        InvalidGame: the game is no table.
        Unsupported: an unknown learner, or a step size that is not positive.
        InvalidData: no transitions, or learning that diverges.
    """
    game = tabular_game(name)
    if learner not in LEARNERS:
        raise Unsupported(f"unknown learner {learner!r} of tables; there are {', '.join(LEARNERS)}")
    setting = SETTINGS.get(options_of(name)[0], Setting())
    usual = 1 / setting.temperature if learner == "ma-spi" else setting.step_size
    size = usual if step_size is None else step_size
    ahead = setting.look_ahead if look_ahead is None else look_ahead
    ahead = ahead if learner in ANTICIPATING else 0.0
    if not size > 0 or ahead < 0:
        raise Unsupported(f"step sizes must be positive and look-aheads 0 or more, got {size} and {ahead}")
    if episodes < 0:
        raise InvalidData(f"{episodes} episodes of every joint policy: give 0 or more")
    tables = game.tables()
    linear = LinearGame.of(tables, as_feature(tables.reward))
    weights = np.full((game.num_agents, 1), size)
    facts = Metadata.of(name, f"{learner} learners, exact", learner=learner, step_size=size, look_ahead=ahead)
    history = exact_learning(linear, learner, weights, ahead, transitions=transitions, seed=seed, metadata=facts)
    if not episodes:
        return history
    plays = [
        record(
            game,
            TabularPolicy.new(softmax(logits)),
            jax.random.fold_in(jax.random.key(seed + 1), k),
            num_episodes=episodes,
            metadata=Metadata.of(name, f"{learner} learners after {k} steps"),
        )
        for k, logits in enumerate(history.logits())
    ]
    return learning_history(history.policies, trajectories=plays, metadata=facts)
