"""Settings of the learners of rewards: one configuration for all games but for what is named."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from mairl.algorithms.base import Algorithm
from mairl.algorithms.registry import make_algorithm
from mairl.networks.build import NetworkConfig

Learner = TypeVar("Learner", bound=Algorithm)

NETWORK = NetworkConfig(kind="mlp", width=128, depth=2)
"""For all learners and games: as good as the paper's networks on these observations, and many times faster."""

UPDATES = 16
"""Gradient updates of the inverse Q-learners per 64 environment steps: as many again as eight, and half the play."""

LEARNERS: dict[str, dict[str, Any]] = {
    "bc": {"learning_rate": 3e-4, "weight_decay": 1e-2},
    "iq-independent": {"alpha": 10.0, "learning_rate": 1e-3, "updates": UPDATES},
    "iq-ma-joint": {"alpha": 100.0, "learning_rate": 1e-3, "updates": UPDATES},
    "iq-ma-slice": {"alpha": 10.0, "learning_rate": 3e-4, "updates": UPDATES},
    "mamql": {"alpha": 100.0, "learning_rate": 1e-3, "updates": UPDATES, "calibrated": True},
    "ma-airl": {"reward": "f"},
    "airl": {"reward": "f"},
}
"""Algorithm id to fields that differ from its defaults, in every game: the best of six configurations each when
they were compared (`experiments/mamql/tune.py`). AIRL's is MA-AIRL's."""

DEFAULT_BUDGET = {"bc": 1_500, "ma-airl": 1_000_000, "airl": 1_000_000, "ma-gail": 1_000_000, "gail": 1_000_000}
"""Environment steps (bc: rounds of 16 updates) where no recipe says otherwise; 100,000 for what is not named."""

OFFLINE_BUDGET = 2_000
"""Rounds of `updates` gradient updates of the inverse Q-learners, from a recording alone."""

BUDGET = {
    "gems": 40_000,
    "gems-random": 80_000,
    "overcooked": 25_000,
    "overcooked-cook5": 180_000,
    "intersection": 115_000,
    "intersection-entities": 115_000,
}
"""Game id to the environment steps of the inverse Q-learners, online."""

EXCHANGEABLE = ("intersection", "intersection-entities")
"""Games whose agents differ by what they see only: one network serves all of them."""

INVERSE_Q = ("iq-independent", "iq-ma-joint", "iq-ma-slice", "mamql")


def learner_recipe(algorithm: str, game: str, budget: int | None = None) -> tuple[Algorithm, int]:
    """The tuned learner and its budget for a game (id with or without options); its defaults where none is tuned.

    Args:
        budget: if not the recipe's: learning rates fall over it.
    """
    fields = dict(LEARNERS.get(algorithm, {}))
    recipe_budget = DEFAULT_BUDGET.get(algorithm, 100_000)
    if algorithm in INVERSE_Q:
        recipe_budget = BUDGET.get(game, BUDGET.get(game.partition(":")[0], recipe_budget))
    budget = int(recipe_budget if budget is None else budget)
    built = make_algorithm(algorithm)
    names = {f.name for f in dataclasses.fields(built)}
    for name in ("network", "critic_network", "reward_network"):
        if name in names:
            shared = game.partition(":")[0] in EXCHANGEABLE
            fields.setdefault(name, dataclasses.replace(NETWORK, shared=shared))
    return over_budget(dataclasses.replace(built, **fields), budget), budget


def over_budget(algorithm: Learner, budget: int) -> Learner:
    """The learner with rates that fall over the whole of a budget, if it is one whose rates fall (`anneal`)."""
    fields = {f.name for f in dataclasses.fields(algorithm)}
    if "anneal" not in fields:
        return algorithm
    played = 1 if getattr(algorithm, "offline", False) else algorithm.num_envs * algorithm.num_steps  # type: ignore[attr-defined]
    return dataclasses.replace(algorithm, anneal=max(1, budget // played))
