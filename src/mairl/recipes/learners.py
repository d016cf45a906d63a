"""Settings of the learners of rewards: one configuration for all games but for what is named."""

from __future__ import annotations

import dataclasses
from typing import Any

from mairl.algorithms.base import Algorithm
from mairl.algorithms.registry import make_algorithm
from mairl.networks.build import NetworkConfig

NETWORK = NetworkConfig(kind="mlp", width=128, depth=2)
"""For all learners and games: as good as the paper's networks on these observations, and many times faster."""

DEFAULT_BUDGET = {"bc": 10_000, "mamql": 200_000, "ma-airl": 1_000_000, "ma-gail": 1_000_000}
"""Environment steps (bc: updates) where no recipe says otherwise; 200,000 for what is not named."""

LEARNERS: dict[tuple[str, str], dict[str, Any]] = {
    ("mamql", "gems"): {"budget": 100_000},
    ("mamql", "gems-random"): {"budget": 150_000},
    ("mamql", "overcooked"): {"budget": 60_000},
    ("mamql", "overcooked-cook5"): {"budget": 100_000},
}
"""(algorithm id, game id) to fields that differ from the algorithm's defaults; "budget" is the number of steps."""


def learner_recipe(algorithm: str, game: str, budget: int | None = None) -> tuple[Algorithm, int]:
    """The tuned learner and its budget for a game (id with or without options); its defaults where none is tuned.

    Args:
        budget: if not the recipe's: learning rates fall over it.
    """
    fields = dict(LEARNERS.get((algorithm, game), LEARNERS.get((algorithm, game.partition(":")[0]), {})))
    recipe_budget = fields.pop("budget", DEFAULT_BUDGET.get(algorithm, 200_000))
    budget = int(recipe_budget if budget is None else budget)
    built = make_algorithm(algorithm)
    names = {f.name for f in dataclasses.fields(built)}
    for name in ("network", "critic_network", "reward_network"):
        if name in names:
            fields.setdefault(name, NETWORK)
    built = dataclasses.replace(built, **fields)
    if "anneal" in names:
        per_iteration = getattr(built, "num_envs", 1) * getattr(built, "num_steps", 1)
        built = dataclasses.replace(built, anneal=max(1, budget // per_iteration))
    return built, budget
