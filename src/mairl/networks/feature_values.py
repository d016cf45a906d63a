"""Values of reward features: V^k(o) = E[Σ γ^t φ_k], so that the value of a reward φ · ω is V(o) · ω.

Least-squares temporal differences (Bradtke & Barto 1996) on random hidden units:

    b(o) = (1, o, tanh(o W + c)),   Σ b(o) [b(o) - γ (1 - terminated) b(o')]ᵀ C = Σ b(o) φᵀ

solved on the host in float64, with a ridge.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from mairl.networks.build import flatten


class Basis(eqx.Module):
    """1, the observation, and random hidden units of it.

    Attributes:
        centre, scale: of the observations, `[size]`.
        weight, bias: of the units.
    """

    centre: Float[Array, "*a size"]
    scale: Float[Array, "*a size"]
    weight: Float[Array, "*a size unit"]
    bias: Float[Array, "*a unit"]

    def __call__(self, obs: PyTree[Array]) -> Float[Array, " basis"]:
        """b(o) of one agent's observation."""
        x = (flatten(obs) - self.centre) / self.scale
        return jnp.concatenate([jnp.ones(1), x, jnp.tanh(x @ self.weight + self.bias)])


def make_basis(obs: Float[np.ndarray, "sample size"], units: int, seed: int) -> Basis:
    """Random units for observations that are like these."""
    rng = np.random.default_rng(seed)
    size = obs.shape[1]
    weight = rng.normal(size=(size, units)) * (1.5 / size**0.5)
    arrays = obs.mean(0), obs.std(0) + 1e-3, weight, rng.uniform(-1, 1, units)
    return Basis(*(jnp.asarray(x, jnp.float32) for x in arrays))


def feature_values(
    basis: Basis,
    obs: Float[np.ndarray, "sample size"],
    next_obs: Float[np.ndarray, "sample size"],
    terminated: np.ndarray,
    features: Float[np.ndarray, "sample feature"],
    discount: float,
    *,
    ridge: float = 1e-2,
) -> Float[np.ndarray, "basis feature"]:
    """C from steps of one agent.

    Args:
        terminated: `[sample]` the future after the step is worth 0.
        ridge: added to the diagonal, as a share of the mean square of b.
    """
    now, then = basis_on(basis, obs), basis_on(basis, next_obs)
    then = then * (1.0 - np.asarray(terminated, np.float64))[:, None]
    system = now.T @ (now - discount * then)
    system += ridge * (1 - discount) * float(np.mean(now**2)) * len(now) * np.eye(now.shape[1])
    return np.linalg.solve(system, now.T @ np.asarray(features, np.float64))


def basis_on(basis: Basis, obs: Float[np.ndarray, "sample size"]) -> Float[np.ndarray, "sample basis"]:
    """b of many observations, in float64 on the host."""
    return np.asarray(_on_samples(basis, jnp.asarray(obs)), np.float64)


@eqx.filter_jit
def _on_samples(basis: Basis, obs):
    return jax.vmap(basis)(obs)
