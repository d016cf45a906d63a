"""Clipping by agent: each agent's norm on its own, shared networks together."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.clip import clip_by_agent_norm
from mairl.networks.build import PerAgent
from mairl.networks.mlp import MLP


def _net(shared: bool) -> PerAgent:
    net = PerAgent.new(lambda k: MLP.new(3, 2, width=4, depth=1, key=k), 2, jax.random.key(0), shared)
    return eqx.filter(net, eqx.is_inexact_array)


def test_one_agents_large_gradient_leaves_the_other_agents_alone():
    net = _net(False)
    grads = jax.tree.map(lambda x: jnp.ones_like(x).at[1].mul(1e-3), net)
    clipped, _ = clip_by_agent_norm(0.5).update(grads, None)
    norms = [np.sqrt(sum(float(jnp.sum(x[i] ** 2)) for x in jax.tree.leaves(clipped))) for i in range(2)]
    assert np.isclose(norms[0], 0.5, rtol=1e-5)
    for before, after in zip(jax.tree.leaves(grads), jax.tree.leaves(clipped), strict=True):
        np.testing.assert_array_equal(before[1], after[1])


def test_a_shared_network_is_clipped_as_a_whole_beside_an_own_one():
    grads = {"shared": jax.tree.map(jnp.ones_like, _net(True)), "own": jax.tree.map(lambda x: 1e-3 * x, _net(False))}
    clipped, _ = clip_by_agent_norm(0.5).update(grads, None)
    norm = np.sqrt(sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(clipped["shared"])))
    assert np.isclose(norm, 0.5, rtol=1e-5)
    for before, after in zip(jax.tree.leaves(grads["own"]), jax.tree.leaves(clipped["own"]), strict=True):
        np.testing.assert_array_equal(before, after)


def test_zero_gradients_stay_zero():
    clipped, _ = clip_by_agent_norm(0.5).update(jax.tree.map(jnp.zeros_like, _net(False)), None)
    assert all(float(jnp.abs(x).max()) == 0.0 for x in jax.tree.leaves(clipped))
