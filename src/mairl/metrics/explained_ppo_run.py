"""A run that learned from PPO's recorded updates, against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from mairl.algorithms.explain_ppo import METHODS, linear, make_case
from mairl.algorithms.induced_ppo import last
from mairl.algorithms.ppo_paid import FreePayment, FreeReward
from mairl.algorithms.ppo_record import ppo_record
from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.core.policy import Policy, UniformPolicy
from mairl.core.stacked import one_of
from mairl.data.learning_history import LearningHistory
from mairl.games import make_game
from mairl.metrics.explained_ppo import against_truth
from mairl.metrics.learning import interquartile_mean, normalised_return, skill
from mairl.metrics.play import play_whole

EPISODES = 100
"""That each joint policy plays."""


def explained_ppo_run(facts: dict[str, Any], learned: Learned, history: LearningHistory) -> dict[str, Any]:
    """The run's rewards and predictions beside the true reward's, and what its fresh agents earn by it.

    Args:
        facts: the run's `run.json`.
        learned: its result, all seeds stacked.

    Returns:
        As `learning_summary`. Returns are undiscounted sums of whole episodes, mean over agents; the expert is the
        learners' last joint policy. Without fresh agents nothing is said of returns. "cosines" are those of the
        first seed's weights in deviations of the features, "true_weights" of the game's features.
    """
    world = make_game(facts["game"])
    ppo, record = ppo_record(history, world)
    case = make_case(ppo, record, range(record.num_steps)[record.num_steps - facts["held_out_transitions"] :], 0)
    method, true = METHODS[facts["algorithm_id"]], np.asarray(world.feature_weights(), np.float64)
    columns = np.asarray(case.used)
    truths = []
    for index, one in enumerate(facts["explained"]):
        payment: Any = linear(np.asarray(one["weights"])[:, columns]) if one["weights"] is not None else None
        if payment is None:
            reward = one_of(learned.reward, index)
            assert isinstance(reward, FreeReward)
            payment = FreePayment(reward)
        truths.append(against_truth(case, method, payment, true[:, columns]))
    result: dict[str, Any] = {"true_weights": true.tolist(), "discounted": False}
    if facts["held_out_transitions"]:
        kl = {name: np.concatenate([one[name] for one in facts["explained"]]) for name in ("kl_1b", "kl_0")}
        kl["kl_1a"] = np.concatenate([one["kl_1a"] for one in truths])
        result |= {name: float(kl[name].mean()) for name in ("kl_1a", "kl_1b", "kl_0")}
        result |= {f"skill_{x}": skill(kl[f"kl_{x}"], kl["kl_0"]) for x in ("1a", "1b")}
    agents = range(world.num_agents)
    known = [[one["pearson"][i] for one in truths if one["pearson"][i] is not None] for i in agents]
    result["pearson"] = [float(np.mean(values)) if values else None for values in known]
    result["cosines"] = truths[0].get("cosine", [None] * world.num_agents)
    if not facts["explained"][0]["induced"]:
        return result

    def earns(policy: Policy, seed: int) -> float:
        return float(play_whole(world, policy, EPISODES, seed=seed).returns.mean())

    earned = np.array([earns(one_of(learned.policy, k), 1 + k) for k in range(len(truths))])
    expert = earns(last(record.after), 0)
    random = earns(UniformPolicy(world.num_agents, world.action_space), 0)
    result |= {"induced_return": interquartile_mean(earned)[0], "expert_return": expert, "random_return": random}
    result["per_seed_induced_return"] = earned.tolist()
    try:
        share, interval = interquartile_mean(normalised_return(earned, expert, random))
        return {**result, "induced_return_normalised": share, "ci95": interval}
    except Unsupported as error:
        return {**result, "induced_return_normalised": None, "ci95": [None, None], "why": str(error)}
