"""`mairl learn METHOD --history HISTORY` where policies were not seen, only what they did in a game that is a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.cloning import action_counts, cloned
from mairl.algorithms.explain import ILOLA, Explains, MALfL
from mairl.algorithms.from_trajectories import from_counts
from mairl.algorithms.induced import induced_policies
from mairl.algorithms.ma_lfl import Tie
from mairl.algorithms.ma_lfl_sampled import ma_lfl_from_counts
from mairl.algorithms.recovered import open_directions
from mairl.algorithms.update_model import BILINEAR
from mairl.cli.learn_history import LearnHistory
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.learned import Learned
from mairl.data.learning_history import LearningHistory
from mairl.games.tabular import TabularPolicy
from mairl.games.tabular.features import linear_game, tabular_game
from mairl.games.tabular.reward import TabularReward
from mairl.ops.host_softmax import log_softmax
from mairl.ops.least_squares import null_space
from mairl.ops.soft_improvement import reward_design, shaping_design
from mairl.ops.tables import Tables


class RecordingsJob:
    """Exact learners that are seen through recordings; see `mairl.cli.learn_history.Job`.

    Nothing is held out: policies that were not seen cannot be held against predictions. I-LOLA's validation recordings
    choose its family by likelihood ("held_out", in nats an action).

    Raises:
        Unsupported: a method that needs policies.
        InvalidGame: the game is no table.
        InvalidData: recordings of another game.
    """

    learners, predicted = "exact", 0

    def __init__(self, options: LearnHistory, name: str, method: Explains, history: LearningHistory, game: str):
        if not isinstance(method, ILOLA | MALfL):
            raise Unsupported(
                f"{options.history} holds recordings alone, {name} needs policies: choose among i-lola, ma-lfl and "
                "ma-lfl-state, or give the policies"
            )
        self.tables, self.method = tabular_game(game).tables(), method
        self.features, self.discount = linear_game(game, options.features), self.tables.discount
        if history.num_agents != self.tables.num_agents:
            raise InvalidData(
                f"the recordings are of {history.num_agents} agents, {game} has {self.tables.num_agents}: name the "
                "game that was recorded"
            )
        self.counts = action_counts(history, self.tables.num_states, self.tables.num_actions)

    def explain(self, seed: int, work: Path) -> tuple[Learned, dict[str, Any]]:
        """See `Job`."""
        del work
        start = time.perf_counter()
        method = self.method
        rewards, facts = self._anticipating(method) if isinstance(method, ILOLA) else self._improving(method)
        facts |= {"seconds": time.perf_counter() - start, "kl_1b": [], "kl_0": [], "skill_1b": None}
        facts["notes"] += [*self._unseen(), "policies were not seen: how well they are predicted is not known"]
        induced = TabularPolicy.new(induced_policies(self.tables, rewards, seed))
        return Learned(induced, TabularReward.new(rewards)), facts

    def _anticipating(self, method: ILOLA) -> tuple[np.ndarray, dict[str, Any]]:
        found = from_counts(
            self.features,
            self.counts,
            families=method.families or BILINEAR,
            look_aheads=method.look_aheads,
            validation=method.validation,
        )
        return self.features.reward(found.weights), {
            "family": found.family,
            "look_ahead": found.look_ahead,
            "relative_residual": found.relative_residual,
            "held_out": found.held_out,
            "rank": list(found.rank),
            "unknowns": self.features.num_features,
            "iterations": found.iterations,
            "weights": found.weights.tolist(),
            "null_space": [space.tolist() for space in found.null_space],
            "notes": list(found.notes),
        }

    def _improving(self, method: MALfL) -> tuple[np.ndarray, dict[str, Any]]:
        found = ma_lfl_from_counts(self.tables, self.counts, temperature=method.temperature, tie=method.tie)
        spaces = untold(self.tables, self.counts, method.tie)
        return found.rewards, {
            "family": "ma-spi",
            "look_ahead": None,
            "relative_residual": found.relative_residual,
            "held_out": None,
            "rank": [len(space) - space.shape[1] for space in spaces],
            "unknowns": len(spaces[0]),
            "iterations": 1,
            "weights": None,
            "null_space": None,
            "notes": list(open_directions(spaces)),
        }

    def _unseen(self) -> list[str]:
        never = int(np.sum(self.counts.sum(axis=(0, 1, 3)) == 0))
        if not never:
            return []
        return [
            f"{never} of {self.tables.num_states} states were never visited, their rewards are guesses: record more "
            "episodes"
        ]


def untold(
    tables: Tables, counts: Float[np.ndarray, "step agent state action"], tie: Tie
) -> list[Float[np.ndarray, "unknown free"]]:
    """For each agent a basis of the rewards that leave no trace in the steps between visits of a state."""
    logs, seen, spaces = log_softmax(cloned(counts)), counts.sum(axis=-1) > 0, []
    for i in range(tables.num_agents):
        designs = []
        for step, now in enumerate(logs[:-1]):
            rows = np.repeat(seen[step, i] & seen[step + 1, i], tables.num_actions)
            shaping = shaping_design(tables, now, i)[rows]
            basis, sizes, _ = np.linalg.svd(shaping, full_matrices=False)
            basis = basis[:, sizes > 1e-10 * sizes.max(initial=0.0)]
            design = reward_design(now, i, tie)[rows]
            designs.append(design - basis @ (basis.T @ design))
        spaces.append(null_space(np.concatenate(designs)))
    return spaces
