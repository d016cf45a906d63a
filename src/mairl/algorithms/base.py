"""What every learner is: four pure functions that `fit` drives."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Key

from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.core.transition import Transition
from mairl.data.demonstrations import Demonstrations

Metrics = dict[str, Float[Array, ""]]
"""Named scalars of one update. The same names at every update."""


@dataclasses.dataclass(frozen=True)
class Collection:
    """How much play one update is handed: `num_steps` in each of `num_envs` environments."""

    num_envs: int
    num_steps: int

    @property
    def size(self) -> int:
        """Environment steps per update."""
        return self.num_envs * self.num_steps


class Algorithm(eqx.Module):
    """Base of all learners: a frozen configuration, and pure functions of a state.

    Fields are hyperparameters with defaults (static: part of the compiled program). The state is the learner's own
    `eqx.Module` of arrays, without a seed axis: `fit` adds it. `game` and `data` are passed to every call, shared
    by all seeds; a state never holds them.
    """

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses, with the reason, games and data that this learner cannot use. Called once, on the host."""

    def collection(self, game: MarkovGame) -> Collection | None:
        """The play that one update needs; None for offline learners, whose budget counts updates instead."""
        return None

    def init(self, key: Key[Array, ""], game: MarkovGame, data: Demonstrations | None) -> Any:
        """A fresh state."""
        raise NotImplementedError

    def behaviour(self, state: Any) -> Policy | None:
        """Who plays to collect the next rollout; None for offline learners."""
        return None

    def update(
        self,
        key: Key[Array, ""],
        state: Any,
        game: MarkovGame,
        data: Demonstrations | None,
        rollout: Transition | None,
    ) -> tuple[Any, Metrics]:
        """One iteration.

        Args:
            rollout: `[time, env, ...]` steps just played by `behaviour` (states, true rewards; observations not
                filled in), or None for offline learners. Steps whose `mask` is False everywhere are padding.
        """
        raise NotImplementedError

    def result(self, state: Any) -> Learned:
        """What has been learned so far: a policy, and the rewards as recovered and as used in training."""
        raise NotImplementedError
