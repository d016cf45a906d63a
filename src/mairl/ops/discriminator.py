"""The mathematics of adversarial imitation: who did this step, the expert or the learner? Pure functions.

A discriminator's logit is log D - log(1 - D), D being the probability that the expert did it. GAIL (Ho & Ermon 2016),
AIRL (Fu et al. 2018), their multi-agent forms (Song et al. 2018, Yu et al. 2019).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mairl.ops.inverse_q import weighted_mean

REWARD_FORMS = ("softplus", "log", "logit")
"""What a policy may be paid, by name; see `reward_form`."""


def cross_entropy(
    expert_logit: Float[Array, "batch agent"],
    policy_logit: Float[Array, "batch agent"],
    expert_weight: Float[Array, "batch agent"],
    policy_weight: Float[Array, "batch agent"],
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, " agent"], dict[str, Float[Array, " agent"]]]:
    """-E_expert[log D] - E_policy[log(1 - D)] of each agent (nats), and the discriminator's accuracy on both sides.

    Args:
        expert_weight, policy_weight: 0 where the agent took no part.
        label_smoothing: probability of a wrong label, on both sides, in [0, 0.5).
    """
    e = label_smoothing
    on_expert = (1 - e) * jax.nn.softplus(-expert_logit) + e * jax.nn.softplus(expert_logit)
    on_policy = (1 - e) * jax.nn.softplus(policy_logit) + e * jax.nn.softplus(-policy_logit)
    loss = weighted_mean(on_expert, expert_weight) + weighted_mean(on_policy, policy_weight)
    facts = {
        "accuracy_expert": weighted_mean((expert_logit > 0).astype(loss.dtype), expert_weight),
        "accuracy_policy": weighted_mean((policy_logit < 0).astype(loss.dtype), policy_weight),
    }
    return loss, facts


def reward_form(logit: Float[Array, "*b"], form: str) -> Float[Array, "*b"]:
    """What the policy is paid for a step with this logit.

    "softplus" is -log(1 - D) > 0: every step survived pays, so it prefers long episodes. "log" is log D < 0: every step
    costs, so it prefers short ones. "logit" is their sum, of either sign: unbiased at the optimum, where it is 0.
    """
    if form == "softplus":
        return jax.nn.softplus(logit)
    if form == "log":
        return -jax.nn.softplus(-logit)
    if form == "logit":
        return logit
    raise ValueError(f"unknown reward form {form!r}: use one of {', '.join(REWARD_FORMS)}")


def shaped(
    g: Float[Array, "*b"], h: Float[Array, "*b"], next_h: Float[Array, "*b"], terminated, discount: float
) -> Float[Array, "*b"]:
    """f = g + γ h(s') - h(s), AIRL's Eq. 4, with h(s') = 0 after termination."""
    return g + discount * jnp.where(terminated, 0.0, next_h) - h


def absorbing_loss(
    absorbing: Float[Array, " agent"],
    expert_terminated: Float[Array, "batch agent"],
    policy_terminated: Float[Array, "batch agent"],
    expert_weight: Float[Array, "batch agent"],
    policy_weight: Float[Array, "batch agent"],
) -> Float[Array, " agent"]:
    """Cross-entropy of the logit of the absorbing state that follows termination (Kostrikov et al. 2019).

    Its optimum is log of the ratio of the rates at which expert's and policy's steps terminate.
    """
    expert = weighted_mean(expert_terminated, expert_weight)
    policy = weighted_mean(policy_terminated, policy_weight)
    return expert * jax.nn.softplus(-absorbing) + policy * jax.nn.softplus(absorbing)


def with_absorbing(
    reward: Float[Array, "*b agent"], absorbing_reward: Float[Array, " agent"], terminated, discount: float
) -> Float[Array, "*b agent"]:
    """Adds to terminating steps what the absorbing state pays for ever after, γ / (1 - γ) times its reward."""
    return reward + jnp.where(terminated, discount / (1 - discount) * absorbing_reward, 0.0)


def mixed(first: PyTree[Array], second: PyTree[Array], share: Float[Array, ""]) -> PyTree[Array]:
    """share · first + (1 - share) · second of float leaves; other leaves are `first`'s."""

    def mix(a, b):
        return share * a + (1 - share) * b if jnp.issubdtype(a.dtype, jnp.floating) else a

    return jax.tree.map(mix, first, second)


def gradient_penalty(function, inputs: PyTree[Array]) -> Float[Array, " agent"]:
    """Squared length of each agent's gradient with respect to the float leaves of its input. Zero-centred (Mescheder
    et al. 2018): a target length of 1 would forbid the flat optimum.

    Args:
        function: inputs, leaves `[agent, ...]`, to `[agent]`, where each output reads its own agent's input only.
    """
    floats, rest = eqx.partition(inputs, eqx.is_inexact_array)
    grads = jax.grad(lambda x: jnp.sum(function(eqx.combine(x, rest))))(floats)
    squares = [jnp.sum(jnp.square(x).reshape(x.shape[0], -1), axis=1) for x in jax.tree.leaves(grads)]
    return jnp.sum(jnp.stack(squares), axis=0)


def limit_spectral_norm(module: PyTree, limit: float, iterations: int = 8) -> PyTree:
    """Scales every weight matrix whose largest singular value exceeds `limit` down to it (a projection after a step,
    as in Gouk et al. 2021).

    Leaves of two axes or more are matrices `[..., in, out]`, batched over the leading ones; in per-agent stacks biases
    `[agent, out]` are told apart by being called so, and left alone. The singular value is found by power iteration.
    """

    def project(path, x):
        if not eqx.is_inexact_array(x) or x.ndim < 2 or "bias" in jax.tree_util.keystr(path):
            return x
        v = jnp.ones((*x.shape[:-2], x.shape[-1], 1), x.dtype)
        for _ in range(iterations):
            u = x @ v
            v = x.mT @ u
            v = v / jnp.maximum(jnp.linalg.norm(v, axis=-2, keepdims=True), 1e-12)
        top = jnp.linalg.norm(x @ v, axis=-2, keepdims=True)
        return x / jnp.maximum(jax.lax.stop_gradient(top) / limit, 1.0)

    return jax.tree_util.tree_map_with_path(project, module)


class Moments(eqx.Module):
    """Running mean and mean square, each leaf shaped as one sample, with the weight seen so far.

    Older samples fade: at most `horizon` units of weight are remembered, so that a moving distribution is followed.
    """

    mean: PyTree[Array]
    square: PyTree[Array]
    weight: Float[Array, ""]

    @classmethod
    def zeros(cls, like: PyTree) -> Moments:
        """Nothing seen yet; `like` is one sample, arrays or shapes."""
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), like)
        return cls(zeros, zeros, jnp.zeros(()))

    def seen(self, batch: PyTree[Array], weight: Float[Array, "*b"], horizon: float = 1e6) -> Moments:
        """With a batch added: leaves `[*b, ...]`, weighted by `weight`."""
        total = jnp.sum(weight)
        share = total / jnp.maximum(self.weight + total, 1e-8)

        def blend(old, x, power):
            w = weight.reshape(*weight.shape, *[1] * (x.ndim - weight.ndim))
            x = jnp.where(w > 0, x.astype(jnp.float32), 0.0) ** power
            axes = tuple(range(weight.ndim))
            return old + share * (jnp.sum(w * x, axis=axes) / jnp.maximum(total, 1e-8) - old)

        mean = jax.tree.map(lambda old, x: blend(old, x, 1), self.mean, batch)
        square = jax.tree.map(lambda old, x: blend(old, x, 2), self.square, batch)
        return Moments(mean, square, jnp.minimum(self.weight + total, horizon))

    def normalise(self, x: PyTree[Array], least: float = 0.1, clip: float = 10.0) -> PyTree[Array]:
        """(x - mean) / std, clipped; std is at least `least`, so that features that hardly vary are not blown up."""

        def one(x, mean, square):
            std = jnp.sqrt(jnp.maximum(square - mean**2, least**2))
            return jnp.clip((x - mean) / jnp.where(self.weight > 0, std, 1.0), -clip, clip)

        return jax.tree.map(one, x, self.mean, self.square)
