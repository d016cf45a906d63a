"""How far an explanation of learning agents can be trusted: what it predicts, how near it is to the truth, and what
agents become that learn from it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.explain import Predict
from mairl.algorithms.induced import induced_policies
from mairl.core.errors import Unsupported
from mairl.metrics.learning import interquartile_mean, normalised_return, skill, update_divergence
from mairl.metrics.reward_distance import pearson, spearman
from mairl.ops.equilibrium import evaluate
from mairl.ops.host_softmax import softmax
from mairl.ops.occupancy import state_occupancy
from mairl.ops.tables import Tables


def prediction_errors(
    tables: Tables, held_out: Float[np.ndarray, "step agent state action"], predict: Predict | None
) -> list[float]:
    """The divergence of each held-out step's policies from those that were predicted, in nats.

    States are weighted by the exact visits of the policy before the step.

    Args:
        held_out: logits of successive joint policies.
        predict: None: that nothing changes.
    """
    found = []
    for now, after in itertools.pairwise(held_out):
        visits = state_occupancy(tables, softmax(now))
        found.append(update_divergence(after, now if predict is None else predict(now), visits))
    return found


def resemblance(tables: Tables, rewards: Float[np.ndarray, "state *joint agent"]) -> dict[str, list[float | None]]:
    """Pearson's and Spearman's correlation of each agent's recovered table with the true one."""
    pairs = [(rewards[..., i].ravel(), tables.reward[..., i].ravel()) for i in range(tables.num_agents)]
    return {"pearson": [pearson(*pair) for pair in pairs], "spearman": [spearman(*pair) for pair in pairs]}


def discounted_return(tables: Tables, policies: Float[np.ndarray, "agent state action"]) -> float:
    """The true discounted return from the start, mean over agents."""
    return float((evaluate(tables, policies) @ tables.start).mean())


def random_return(tables: Tables) -> float:
    """`discounted_return` of uniform play."""
    shape = (tables.num_agents, tables.num_states, tables.num_actions)
    return discounted_return(tables, np.full(shape, 1 / tables.num_actions))


def induced_return(tables: Tables, rewards: Float[np.ndarray, "state *joint agent"], seed: int) -> float:
    """What fresh agents that learn from `rewards` earn by the true reward."""
    return discounted_return(tables, induced_policies(tables, rewards, seed))


def learning_summary(
    tables: Tables,
    rewards: Sequence[Float[np.ndarray, "state *joint agent"]],
    seeds: Sequence[int],
    errors: Sequence[dict[str, list[float]]],
    with_truth: Sequence[Predict],
    held_out: Float[np.ndarray, "step agent state action"],
) -> dict[str, Any]:
    """A run's explanations against the truth: one figure over all seeds each.

    Args:
        rewards: recovered by each of `seeds`.
        errors: of each, "kl_1b" and "kl_0" as `prediction_errors` gives them.
        with_truth: what each seed's method predicts with the true reward.

    Returns:
        "kl_1a", "kl_1b", "kl_0" (means over seeds and steps), "skill_1a", "skill_1b", "pearson", "spearman" (each
        agent's mean over seeds), "induced_return" with its interquartile mean, normalised with "ci95" (None, and "why",
        where the expert is hardly above random play), "expert_return", "random_return".
    """
    result: dict[str, Any] = {}
    if len(held_out) > 1:
        kl = {name: np.concatenate([one[name] for one in errors]) for name in ("kl_1b", "kl_0")}
        kl["kl_1a"] = np.concatenate([prediction_errors(tables, held_out, predict) for predict in with_truth])
        result = {name: float(kl[name].mean()) for name in ("kl_1a", "kl_1b", "kl_0")}
        result |= {f"skill_{x}": skill(kl[f"kl_{x}"], kl["kl_0"]) for x in ("1a", "1b")}
    alike = [resemblance(tables, one) for one in rewards]
    for name in ("pearson", "spearman"):
        by_agent = zip(*(one[name] for one in alike))
        known = [[v for v in values if v is not None] for values in by_agent]
        result[name] = [float(np.mean(values)) if values else None for values in known]
    earned = np.array([induced_return(tables, one, seed) for one, seed in zip(rewards, seeds)])
    expert = interquartile_mean(np.array([induced_return(tables, tables.reward, seed) for seed in seeds]))[0]
    random = random_return(tables)
    result |= {"induced_return": interquartile_mean(earned)[0], "expert_return": expert, "random_return": random}
    result["per_seed_induced_return"] = earned.tolist()
    try:
        share, interval = interquartile_mean(normalised_return(earned, expert, random))
        return {**result, "induced_return_normalised": share, "ci95": interval}
    except Unsupported as error:
        return {**result, "induced_return_normalised": None, "ci95": [None, None], "why": str(error)}
