"""Methods that explain a learning history, in one form: what agents want, and how they will go on.

Each is a frozen configuration with two functions.

    explain(case, seed)       the rewards, and the next policies that they predict
    next_with(case, rewards)  the next policies if the agents wanted `rewards`: step sizes and look-ahead are fitted by
                              the same method, rewards are not. With the true ones: how far the method's learners are
                              from those that were seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float

from mairl.algorithms.family_fit import gauss_newton
from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.i_lola import GRID, i_lola
from mairl.algorithms.i_lola_cmaes import i_lola_cmaes
from mairl.algorithms.lfl import lfl
from mairl.algorithms.logel import check_moved, logel, nothing_told, still_agents
from mairl.algorithms.ma_lfl import SoftImprovementReward, ma_lfl
from mairl.algorithms.recovered import Recovered
from mairl.algorithms.update_model import update_model
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.ops.host_softmax import softmax
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame
from mairl.ops.tables import Tables, expect_others

Predict = Callable[[Float[np.ndarray, "agent state action"]], Float[np.ndarray, "agent state action"]]
"""From the logits of a joint policy to those after the agents' next step."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """What there is to be explained.

    Attributes:
        tables: the game; its reward is read by `next_with` of the true reward only, and by no `explain`.
        features: the same game with the features that rewards are sought in.
        history: everything that may be fitted or chosen by.
    """

    tables: Tables
    features: LinearGame
    history: LearningHistory


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a method says of a history.

    Attributes:
        rewards: `[S, A_1 … A_n, n]` as recovered.
        predict: how the agents go on.
        weights: `[agent, feature]` of the rewards, None where they are tables.
        null_space: for each agent a basis of what the history does not tell, of `weights` or of the table's unknowns.
        facts: figures: "family", "look_ahead", "look_ahead_pairs" (of I-LOLA, where they differ), "relative_residual",
            "held_out", "rank", "unknowns", "iterations".
        notes: what the user should know, in sentences.
        doubts: those of the notes that say why this may not be what happened.
    """

    rewards: Float[np.ndarray, "state *joint agent"]
    predict: Predict
    weights: Float[np.ndarray, "agent feature"] | None
    null_space: tuple[Float[np.ndarray, "unknown free"], ...]
    facts: dict[str, Any]
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()


class Explains(Protocol):
    """A method; see the module's docstring."""

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """The rewards. `seed` is of what is drawn, if anything is."""
        ...

    def next_with(self, case: Watched, rewards: Float[np.ndarray, "state *joint agent"]) -> Predict:
        """How the agents go on if they want `rewards`."""
        ...


@dataclasses.dataclass(frozen=True)
class LfL:
    """LfL: one agent that improves its policy softly (`mairl.algorithms.lfl`).

    Attributes:
        temperature: of the learner; where it is not known, rewards are in units of it.
        tie: what the reward may depend on: "state", or its "own" action too.
    """

    temperature: float = 1.0
    tie: Literal["state", "own"] = "state"

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """See `Explains`; nothing is drawn."""
        del seed
        found = lfl(case.tables, case.history, temperature=self.temperature, tie=self.tie)
        return _improving(case, found, self.temperature)

    def next_with(self, case: Watched, rewards) -> Predict:
        """See `Explains`: 1 / τ is fitted."""
        return _improving_with(case, rewards, self.temperature)


@dataclasses.dataclass(frozen=True)
class MALfL:
    """MA-LfL: agents that improve softly (`mairl.algorithms.ma_lfl`).

    Attributes:
        temperature: of the learners; where it is not known, rewards are in units of it.
        tie: what a reward may depend on: "state", "own" action too, or all actions ("joint").
    """

    temperature: float = 1.0
    tie: Literal["state", "own", "joint"] = "joint"

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """See `Explains`; nothing is drawn."""
        del seed
        found = ma_lfl(case.tables, case.history, temperature=self.temperature, tie=self.tie)
        return _improving(case, found, self.temperature)

    def next_with(self, case: Watched, rewards) -> Predict:
        """See `Explains`: 1 / τ of each agent is fitted."""
        return _improving_with(case, rewards, self.temperature)


@dataclasses.dataclass(frozen=True)
class LOGEL:
    """LOGEL: policy gradients of one agent (`mairl.algorithms.logel`). Of several agents each is explained on its own,
    in a world where the others never change: they play their mean policy.

    Attributes:
        step_sizes: of every step, or one value for all of them; one constant step, not known, if none.
        known: False: every step has a size of its own, which is found as well.
    """

    step_sizes: tuple[float, ...] = ()
    known: bool = True

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """See `Explains`; nothing is drawn."""
        del seed
        return _combined(case.features, *self._each(case, case.features))

    def next_with(self, case: Watched, rewards) -> Predict:
        """See `Explains`."""
        game = LinearGame.of(case.tables, rewards[..., None])
        return _combined(game, *self._each(case, game)).predict

    def _each(self, case: Watched, game: LinearGame):
        logits = case.history.logits()
        mean = softmax(logits).mean(axis=0)
        worlds = [alone(case.tables, game, mean, i) for i in range(game.num_agents)]
        sizes = np.array(self.step_sizes) if self.step_sizes else None
        changes = np.diff(logits, axis=0)
        check_moved(changes)
        still = still_agents(changes)
        found = [
            nothing_told(world.num_features)
            if i in still
            else logel(world, learning_history(logits[:, i : i + 1]), step_sizes=sizes, known=self.known)
            for i, world in enumerate(worlds)
        ]
        return worlds, found


@dataclasses.dataclass(frozen=True)
class ILOGEL:
    """I-LOGEL: policy gradients of several agents in their joint play (`mairl.algorithms.i_logel`).

    Attributes:
        step_sizes: of every step, or one value for all of them, alike for all agents; one constant step for each
            agent, not known, if none.
        known: False: every step of every agent has a size of its own, which is found as well.
    """

    step_sizes: tuple[float, ...] = ()
    known: bool = True

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """See `Explains`; nothing is drawn."""
        del seed
        return _parametric(case.features, self._solve(case, case.features))

    def next_with(self, case: Watched, rewards) -> Predict:
        """See `Explains`."""
        game = LinearGame.of(case.tables, rewards[..., None])
        return _parametric(game, self._solve(case, game)).predict

    def _solve(self, case: Watched, game: LinearGame) -> Recovered:
        sizes = np.array(self.step_sizes) if self.step_sizes else None
        return i_logel(game, case.history, step_sizes=sizes, known=self.known)


@dataclasses.dataclass(frozen=True)
class ILOLA:
    """I-LOLA: agents that anticipate each other's learning (`mairl.algorithms.i_lola`).

    Attributes:
        families: learners among which the validation transitions choose; default: those that are bilinear in the
            rewards, and where they do not explain the history soft improvement and the others.
        look_aheads: λ that are tried before it goes free; one value: λ is known, and stays.
        validation: how many of the last transitions choose. They are not fitted.
    """

    families: tuple[str, ...] | None = None
    look_aheads: tuple[float, ...] = GRID
    validation: int = 2

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """See `Explains`; nothing is drawn."""
        del seed
        return _parametric(case.features, self._solve(case, case.features))

    def next_with(self, case: Watched, rewards) -> Predict:
        """See `Explains`."""
        game = LinearGame.of(case.tables, rewards[..., None])
        return _parametric(game, self._solve(case, game)).predict

    def _solve(self, case: Watched, game: LinearGame) -> Recovered:
        return i_lola(
            game, case.history, families=self.families, look_aheads=self.look_aheads, validation=self.validation
        )


@dataclasses.dataclass(frozen=True)
class ILOLACMAES:
    """I-LOLA of one family by CMA-ES, without derivatives (`mairl.algorithms.i_lola_cmaes`).

    Attributes:
        family: the learner that is assumed.
        evaluations, population: of CMA-ES.
    """

    family: str = "lola-taylor"
    evaluations: int = 2400
    population: int = 16

    def explain(self, case: Watched, seed: int = 0) -> Explanation:
        """See `Explains`; points are drawn."""
        return _parametric(case.features, self._solve(case, case.features, seed))

    def next_with(self, case: Watched, rewards) -> Predict:
        """See `Explains`."""
        game = LinearGame.of(case.tables, rewards[..., None])
        return _parametric(game, self._solve(case, game, 0)).predict

    def _solve(self, case: Watched, game: LinearGame, seed: int) -> Recovered:
        return i_lola_cmaes(
            game,
            case.history,
            family=self.family,
            evaluations=self.evaluations,
            population=self.population,
            seed=seed,
        )


EXPLAINERS: dict[str, Explains] = {
    "lfl": LfL(),
    "ma-lfl": MALfL(tie="joint"),
    "ma-lfl-state": MALfL(tie="state"),
    "logel": LOGEL(),
    "i-logel": ILOGEL(),
    "i-lola": ILOLA(),
    "i-lola-cmaes": ILOLACMAES(),
}
"""Id to method, with its defaults. One visible dictionary; command-line choices, tests and documents derive from it."""

ABOUT = {
    "lfl": "the reward of one agent that improves its policy softly",
    "ma-lfl": "rewards of agents that improve softly, any function of state and joint action",
    "ma-lfl-state": "the same, tied to the state: told exactly",
    "logel": "rewards of agents by policy gradients, each explained on its own",
    "i-logel": "rewards of agents by policy gradients, in their joint play",
    "i-lola": "rewards and look-ahead of agents that anticipate each other's learning",
    "i-lola-cmaes": "the same without derivatives, by CMA-ES",
}
"""Id to one line for people."""


def alone(tables: Tables, game: LinearGame, policies: Float[np.ndarray, "agent state action"], agent: int):
    """The game of one agent among others that always play `policies`, with its own features."""
    features = np.broadcast_to(game.features[..., agent, :], (*tables.reward.shape[:-1], game.num_features))
    own = Tables(
        transitions=expect_others(tables.transitions, policies, agent),
        reward=expect_others(tables.reward[..., agent], policies, agent)[..., None],
        start=tables.start,
        terminal=tables.terminal,
        discount=tables.discount,
    )
    return LinearGame.of(own, expect_others(features, policies, agent)[:, :, None, :])


def _improving(case: Watched, found: SoftImprovementReward, temperature: float) -> Explanation:
    game = LinearGame.of(case.tables, found.rewards[..., None])
    weights = np.full((game.num_agents, 1), 1 / temperature)
    return Explanation(
        rewards=found.rewards,
        predict=lambda now: next_logits("ma-spi", game, now, weights, 0.0),
        weights=None,
        null_space=found.null_space,
        facts={
            "family": "ma-spi",
            "look_ahead": None,
            "relative_residual": found.relative_residual,
            "held_out": None,
            "rank": list(found.rank),
            "unknowns": found.unknowns,
            "iterations": 1,
        },
        notes=found.notes,
    )


def _improving_with(case: Watched, rewards, temperature: float) -> Predict:
    """Soft improvement on given rewards; the step is linear in 1 / τ, so that one Gauss-Newton step fits it."""
    game = LinearGame.of(case.tables, rewards[..., None])
    logits = case.history.logits()
    model = update_model(game, logits[:-1], "ma-spi")
    start = np.full((game.num_agents, 1), 1 / temperature)
    fit = gauss_newton(model, np.diff(logits, axis=0).ravel(), start, 0.0, free_look_ahead=False)
    return lambda now: next_logits("ma-spi", game, now, fit.weights, 0.0)


def _parametric(game: LinearGame, found: Recovered) -> Explanation:
    return Explanation(
        rewards=game.reward(found.weights),
        predict=lambda now: found.predict(game, now),
        weights=found.weights,
        null_space=found.null_space,
        facts={
            "family": found.family,
            "look_ahead": found.look_ahead,
            "look_ahead_pairs": None if found.look_ahead_pairs is None else found.look_ahead_pairs.tolist(),
            "relative_residual": found.relative_residual,
            "held_out": found.held_out,
            "rank": list(found.rank),
            "unknowns": game.num_features,
            "iterations": found.iterations,
        },
        notes=found.notes,
        doubts=found.doubts,
    )


def _combined(game: LinearGame, worlds: list[LinearGame], found: list[Recovered]) -> Explanation:
    """Agents that were explained one by one."""
    weights = np.concatenate([one.weights for one in found])
    return Explanation(
        rewards=game.reward(weights),
        predict=lambda now: np.concatenate(
            [one.predict(world, now[i : i + 1]) for i, (one, world) in enumerate(zip(found, worlds))]
        ),
        weights=weights,
        null_space=tuple(one.null_space[0] for one in found),
        facts={
            "family": "naive",
            "look_ahead": None,
            # Agents that did not learn leave nothing, and are no reason for trust.
            "relative_residual": float(np.mean([one.relative_residual for one in found if one.rank[0]] or [1.0])),
            "held_out": None,
            "rank": [one.rank[0] for one in found],
            "unknowns": game.num_features,
            "iterations": max(one.iterations for one in found),
        },
        notes=tuple(note.replace("agent 0:", f"agent {i}:", 1) for i, one in enumerate(found) for note in one.notes),
    )
