"""`mairl learn METHOD --history HISTORY` of PPO's recorded updates, in any game whose rewards have features."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.explain import EXPLAINERS, Explains
from mairl.algorithms.explain_ppo import METHODS, Case, make_case, scaled, to_learn_from
from mairl.algorithms.induced_ppo import last, learn_from
from mairl.algorithms.ppo_paid import FreePayment, LinearPayment
from mairl.algorithms.ppo_record import ppo_record
from mairl.cli.learn_history import LearnHistory
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.data.learning_history import LearningHistory
from mairl.games import make_game
from mairl.metrics.explained_ppo import predicted
from mairl.metrics.learning import skill


class PPOJob:
    """PPO's recorded updates; see `mairl.cli.learn_history.Job`.

    Raises:
        Unsupported: a method that there is for tables only, or options of tables.
        InvalidData: too few updates, or no updates to repeat.
        InvalidGame: updates made in another game.
    """

    learners = "ppo"

    def __init__(self, options: LearnHistory, name: str, method: Explains, history: LearningHistory, game: str):
        if name not in METHODS:
            raise Unsupported(f"{name} explains tables, this is a history of PPO: choose among {', '.join(METHODS)}")
        if method != EXPLAINERS[name] or options.features != "game":
            raise Unsupported(
                f"{options.history} is a history of PPO: --features and the options of {name} itself are for learners "
                "of tables; leave them out"
            )
        if options.induced is not None and options.induced < 0:
            raise InvalidData(f"--induced {options.induced}: give environment steps, or 0 for no fresh agents")
        self.world, self.name, self.quiet = make_game(game), name, options.quiet
        ppo, record = ppo_record(history, self.world)
        fitted = record.num_steps - options.held_out
        if options.held_out < 0 or fitted < 1:
            raise InvalidData(
                f"{record.num_steps} recorded updates, {options.held_out} of them held out: at least one must be left "
                "to learn from; record more updates, or hold out fewer (--held-out)"
            )
        self.predicted = options.held_out
        self.case, self.discount = make_case(ppo, record, range(fitted, record.num_steps), 0), ppo.discount
        learned_for = history.metadata.facts().get("env_steps")
        if options.induced is None and learned_for is None:
            raise InvalidData(
                f"{options.history} does not say for how many steps its agents learned: say for how many fresh agents "
                "shall (--induced STEPS; 0: none)"
            )
        self.budget = int(learned_for if options.induced is None else options.induced)  # type: ignore[arg-type]

    def explain(self, seed: int, work: Path) -> tuple[Learned, dict[str, Any]]:
        """See `Job`."""
        case = dataclasses.replace(self.case, seed=seed)
        start = time.perf_counter()
        answer = METHODS[self.name].explain(case)
        seconds = time.perf_counter() - start
        payment = to_learn_from(case, answer.payment, has_scale=answer.has_scale)
        facts = {**explained(self.world, case, predicted(case, answer)), "seconds": seconds, "induced": self.budget}
        if isinstance(payment, LinearPayment):
            facts["weights"] = np.asarray(payment.weights, np.float64).tolist()
        reward = payment.reward if isinstance(payment, FreePayment) else None
        if not self.budget:
            return Learned(last(case.record.after), reward), facts
        if answer.has_scale:
            # As PPO saw it: what its settings were made for.
            payment = scaled(payment, np.full(self.world.num_agents, case.ppo.reward_scale))
        policy = learn_from(self.world, case.ppo, payment, self.budget, seed, work, progress=not self.quiet)
        return Learned(policy, reward), facts


def explained(world: MarkovGame, case: Case, figures: dict[str, Any]) -> dict[str, Any]:
    """Figures of one seed, as runs keep them: residuals as one number, and what the history does not tell, in words."""
    names = world.feature_names()
    notes = []
    if case.unused:
        notes.append(
            f"{', '.join(names[k] for k in case.unused)}: the same in all recorded play, so that nothing tells what "
            "it is worth; it is paid 0"
        )
    if figures["kl_0"] and skill(figures["kl_1b"], figures["kl_0"]) <= 0:  # type: ignore[operator]
        notes.append("held-out updates are predicted no better than by expecting no change: do not trust this reward")
    residuals = figures.pop("relative_residual")
    figures.pop("features", None)
    spaces = [untold_of_all(case, np.asarray(s)) for s in figures.pop("null_space", [])]
    tied = [s.shape[1] - len(case.unused) for s in spaces]
    if any(tied):
        notes.append(
            "some features always come together in the recorded play: nothing tells what "
            f"{max(tied)} combination(s) of them are worth (null_space)"
        )
    return {
        "weights": None,
        "null_space": [s.tolist() for s in spaces] or None,
        **figures,
        "family": "ppo",
        "look_ahead": None,
        "held_out": None,
        "relative_residual": float(np.mean(residuals)),
        "relative_residuals": residuals,
        "skill_1b": skill(figures["kl_1b"], figures["kl_0"]) if figures["kl_0"] else None,
        "feature_names": list(names),
        "rank": [len(names) - s.shape[1] for s in spaces] or [len(case.used)] * world.num_agents,
        "unknowns": len(names),
        "iterations": figures.get("evaluations", 1),
        "notes": notes,
    }


def untold_of_all(case: Case, space: Float[np.ndarray, "used free"]) -> Float[np.ndarray, "feature untold"]:
    """A null space of the weights of the features in a case as one of the weights of all: those of the features that
    are not in it belong to it too."""
    whole = np.zeros((len(case.used) + len(case.unused), space.shape[1] + len(case.unused)))
    whole[np.ix_(case.used, range(space.shape[1]))] = space
    whole[list(case.unused), range(space.shape[1], whole.shape[1])] = 1.0
    return whole
