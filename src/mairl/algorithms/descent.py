"""Gradient steps: what the update of every learner is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, Key, PyTree

from mairl.algorithms.base import Metrics
from mairl.algorithms.clip import clip_by_agent_norm

Tree = TypeVar("Tree")


def adam(
    rate: float,
    max_grad_norm: float,
    *,
    weight_decay: float = 0.0,
    anneal_steps: int = 0,
    final_rate: float = 0.05,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """Adam on gradients clipped for each agent on its own.

    Args:
        max_grad_norm: see `clip_by_agent_norm`.
        weight_decay: decoupled, as in AdamW.
        eps_root: added to the second moment. Far below its rounding it changes no step, but gives a step whose gradient
            has always been 0 (a weight of an input that is always 0) a derivative.
        anneal_steps: gradient steps over which the rate falls linearly to `final_rate` of itself; 0 keeps it.
    """
    paced: Any = optax.linear_schedule(rate, final_rate * rate, anneal_steps) if anneal_steps else rate
    return optax.chain(
        clip_by_agent_norm(max_grad_norm), optax.adamw(paced, eps=eps, eps_root=eps_root, weight_decay=weight_decay)
    )


def apply(optimiser: optax.GradientTransformation, params: Tree, opt_state: Any, grads: PyTree) -> tuple[Tree, Any]:
    """Parameters (any tree; what is no float array stays) and the optimiser's state after one step."""
    updates, opt_state = optimiser.update(grads, opt_state, trainable(params))
    return eqx.apply_updates(params, updates), opt_state


def trainable(params: PyTree) -> PyTree:
    """The float arrays of a tree, for an optimiser's `init`."""
    return eqx.filter(params, eqx.is_inexact_array)


def taking_part_first(key: Key[Array, ""], mask: Bool[Array, " sample"], count: int) -> Int[Array, " count"]:
    """Indices of `count` samples at random, those in the mask before others, without repetition."""
    rank = jax.random.uniform(key, mask.shape) + jnp.where(mask, 0.0, 1.0)
    return jnp.argsort(rank)[:count]


def follow(slow: Tree, fast: Tree, rate: float) -> Tree:
    """A slow copy moved towards the fast one by this share."""
    arrays, static = eqx.partition(slow, eqx.is_array)
    moved: Any = optax.incremental_update(eqx.filter(fast, eqx.is_array), arrays, rate)
    return eqx.combine(moved, static)


def descend(
    step: Callable[[Tree, Key[Array, ""]], tuple[Tree, Metrics]], learnt: Tree, key: Key[Array, ""], count: int
) -> tuple[Tree, Metrics]:
    """`count` times `learnt, metrics = step(learnt, key)`, each with a key of its own, as one scan.

    Returns:
        What is learnt in the end, and the mean of each metric.
    """
    arrays, static = eqx.partition(learnt, eqx.is_array)

    def one(arrays, key):
        after, metrics = step(eqx.combine(arrays, static), key)
        return eqx.filter(after, eqx.is_array), metrics

    arrays, metrics = jax.lax.scan(one, arrays, jax.random.split(key, count))
    return eqx.combine(arrays, static), {name: jnp.mean(values) for name, values in metrics.items()}
