"""How far an explanation of PPO learners can be trusted: what it predicts, and how near it is to the true reward."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mairl.algorithms.explain_ppo import Answer, Case, ExplainsPPO, linear, paid, spread_out
from mairl.algorithms.ppo_inverse import deviations, untold
from mairl.algorithms.ppo_paid import LinearPayment, Payment
from mairl.metrics.learning import play_divergence
from mairl.metrics.reward_distance import pearson
from mairl.networks.policy_divergence import Distribution, sampled_divergence
from mairl.ops.least_squares import cosine

SAMPLES = 16
"""Actions for each observation in the Monte Carlo estimate of a divergence."""


def predicted(case: Case, answer: Answer) -> dict[str, Any]:
    """Divergences of the policies after each held-out update from what was predicted: "kl_1b" with the recovered
    reward, "kl_0" if nothing changed, and "kl_1b_monte_carlo" of Box actions; and the "weights" of "features" (numbers
    of the game's own) where the reward is linear in them, and each agent's "null_space", a basis `[feature, free]` of
    the weights that the fitted play does not tell. The true reward is not read."""
    same = spread_out(case.held_out, case.held_out.before.policy)
    result: dict[str, Any] = {
        "kl_1b": apart(case, answer.predicted).tolist(),
        "kl_0": apart(case, same).tolist(),
        **answer.extra,
    }
    if answer.predicted.mean is not None:
        real = spread_out(case.held_out, case.held_out.after)
        sampled = sampled_divergence(jax.random.key(case.seed), real, answer.predicted, SAMPLES)
        result["kl_1b_monte_carlo"] = float(np.mean(np.asarray(sampled)[np.asarray(case.held_out.rollout.mask)]))
    if isinstance(answer.payment, LinearPayment):
        weights = np.asarray(answer.payment.weights, np.float64)
        result |= {"weights": weights.tolist(), "features": list(case.used)}
        # In weights, not in deviations: a direction of the latter divided by the deviations.
        spaces = (space / deviations(case.seen)[:, None] for space in untold(case.seen))
        result["null_space"] = [np.linalg.qr(space)[0].tolist() for space in spaces]
    return result


def against_truth(
    case: Case, method: ExplainsPPO, payment: Payment, true: Float[np.ndarray, "agent feature"]
) -> dict[str, Any]:
    """ "kl_1a": as "kl_1b" with the true reward; "pearson" of both rewards over the held-out play, and the "cosine" of
    weights in deviations of the features, one an agent, after what the fitted play does not tell (`untold`) has been
    projected out.

    Args:
        payment: as recovered by the method.
        true: weights of the case's features.
    """
    result: dict[str, Any] = {"kl_1a": apart(case, method.next_with(case, true)).tolist()}
    unseen, wanted = (paid(case.held_out, p) for p in (payment, linear(true)))
    agents = range(len(true))
    result["pearson"] = [pearson(unseen[..., i].ravel(), wanted[..., i].ravel()) for i in agents]
    if isinstance(payment, LinearPayment):
        scale, weights = deviations(case.seen), np.asarray(payment.weights, np.float64)
        spaces = untold(case.seen)
        result["cosine"] = [cosine(weights[i] * scale, true[i] * scale, spaces[i]) for i in agents]
    return result


def apart(case: Case, guess: Distribution) -> Float[np.ndarray, " step"]:
    """KL of the policies after each held-out update from a guess, mean over agents and the update's play, in nats."""
    return play_divergence(spread_out(case.held_out, case.held_out.after), guess, case.held_out.rollout.mask)
