"""Gradient clipping that keeps independent agents independent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from mairl.networks.build import PerAgent


def clip_by_agent_norm(max_norm: float) -> optax.GradientTransformation:
    """Scales each agent's gradients to a norm of at most `max_norm`, each agent on its own.

    One norm for all would let one agent's large gradient slow the others down. Arrays have the agent as their first
    axis, as in an unshared `PerAgent`; the arrays of a shared one belong to everybody and are clipped together.
    """

    def update(updates, state, params=None):
        del params
        nodes, structure = jax.tree.flatten(updates, is_leaf=lambda x: isinstance(x, PerAgent))
        shared = [isinstance(n, PerAgent) and n.shared for n in nodes]

        def squares(x):
            return jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))

        own = [squares(x) for n, s in zip(nodes, shared, strict=True) if not s for x in jax.tree.leaves(n)]
        common = [jnp.sum(jnp.square(x)) for n, s in zip(nodes, shared, strict=True) if s for x in jax.tree.leaves(n)]

        def factor(total):
            norm = jnp.sqrt(total)
            return jnp.where(norm > max_norm, max_norm / jnp.where(norm > 0, norm, 1.0), 1.0)

        each = factor(jnp.asarray(sum(own)))
        together = factor(jnp.asarray(sum(common)))

        def scale(node, is_shared):
            if is_shared:
                return jax.tree.map(lambda x: x * together, node)
            return jax.tree.map(lambda x: x * each.reshape(-1, *[1] * (x.ndim - 1)), node)

        return jax.tree.unflatten(structure, [scale(n, s) for n, s in zip(nodes, shared, strict=True)]), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
