"""Networks for every agent: on batches they compute what they compute on each step, values and gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.networks.build import NetworkConfig, PerAgent, make_network

SPEC = {
    "ego": jax.ShapeDtypeStruct((3,), jnp.float32),
    "entities": jax.ShapeDtypeStruct((4, 2), jnp.float32),
    "mask": jax.ShapeDtypeStruct((4,), bool),
}
BATCH, AGENTS = 6, 3


def observations(key):
    keys = jax.random.split(key, 3)
    return {
        "ego": jax.random.normal(keys[0], (BATCH, AGENTS, 3)),
        "entities": jax.random.normal(keys[1], (BATCH, AGENTS, 4, 2)),
        "mask": jax.random.bernoulli(keys[2], 0.7, (BATCH, AGENTS, 4)),
    }


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "entities"])
def test_on_batch_is_each_step(shared, kind):
    config = NetworkConfig(kind=kind, width=8)
    nets = PerAgent.new(lambda k: make_network(SPEC, 5, config, k), AGENTS, jax.random.key(0), shared)
    obs = observations(jax.random.key(1))
    wanted = jax.random.normal(jax.random.key(2), (BATCH, AGENTS, 5))

    def loss(nets, apply):
        return jnp.sum((apply(nets, obs) - wanted) ** 2)

    def each(nets, obs):
        return jax.vmap(nets)(obs)

    def together(nets, obs):
        return nets.on_batch(obs)

    outputs = (eqx.filter_jit(f)(nets, obs) for f in (together, each))
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-5)
    found, expected = (eqx.filter_jit(eqx.filter_grad(loss))(nets, f) for f in (together, each))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_on_batch_with_dropout(shared):
    config = NetworkConfig(kind="mlp", width=64, dropout=0.5)
    nets = PerAgent.new(lambda k: make_network(SPEC, 5, config, k), AGENTS, jax.random.key(0), shared)
    one = jax.tree.map(lambda x: x[:1], observations(jax.random.key(1)))
    obs = jax.tree.map(lambda x: jnp.repeat(x, BATCH, axis=0), one)
    dropped = nets.on_batch(obs, jax.random.key(3))
    # Everybody in every step drops units of its own.
    assert len(np.unique(np.asarray(dropped[..., 0]))) == BATCH * AGENTS
    np.testing.assert_array_equal(dropped, nets.on_batch(obs, jax.random.key(3)))
