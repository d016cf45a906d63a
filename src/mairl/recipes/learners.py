"""Settings of the learners of rewards, by algorithm and game: one configuration for all games but for what is named."""

from __future__ import annotations

from typing import Any

from mairl.algorithms.base import Algorithm
from mairl.algorithms.registry import make_algorithm

DEFAULT_BUDGET = 200_000
"""Environment steps where no recipe says otherwise (offline learners: a twentieth of it in updates)."""

LEARNERS: dict[tuple[str, str], dict[str, Any]] = {}
"""(algorithm id, game id) to fields that differ from the algorithm's defaults; "budget" is the number of steps."""


def learner_recipe(algorithm: str, game: str) -> tuple[Algorithm, int]:
    """The tuned learner and its budget for a game (id with or without options); its defaults where none is tuned."""
    fields = dict(LEARNERS.get((algorithm, game), LEARNERS.get((algorithm, game.partition(":")[0]), {})))
    budget = fields.pop("budget", None)
    built = make_algorithm(algorithm, **fields)
    offline = algorithm == "bc" or getattr(built, "offline", False)
    return built, budget if budget is not None else DEFAULT_BUDGET // (20 if offline else 1)
