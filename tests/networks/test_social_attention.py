"""Social attention: whom it looks at, and that it is blind to order and to the absent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.games import make_game
from mairl.networks.build import NetworkConfig, make_network
from mairl.networks.social_attention import SocialAttention

KEYS = jax.random.split(jax.random.key(0), 4)
NET = SocialAttention.new(5, 4, 3, width=8, depth=1, key=KEYS[0])


def seen(present):
    n = len(present)
    rows = jax.random.normal(KEYS[2], (n, 4))
    return {"ego": jax.random.normal(KEYS[1], (5,)), "entities": rows, "mask": jnp.array(present, bool)}


def test_weights_are_shares_among_those_present():
    weights = NET.weights(seen([True, False, True]))
    assert weights.shape == (2, 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-6)
    assert (weights[:, 2] == 0).all()
    assert (weights[:, [0, 1, 3]] > 0).all()
    np.testing.assert_array_equal(NET.weights(seen([False] * 3)), [[1, 0, 0, 0]] * 2)


def test_order_does_not_matter_and_the_absent_are_not_seen():
    obs = seen([True, False, True])
    order = jnp.array([2, 0, 1])
    moved = {"ego": obs["ego"], "entities": obs["entities"][order], "mask": obs["mask"][order]}
    np.testing.assert_allclose(NET(obs), NET(moved), atol=1e-6)
    np.testing.assert_allclose(NET.weights(obs)[:, 1:][:, order], NET.weights(moved)[:, 1:], atol=1e-6)
    ghost = obs | {"entities": obs["entities"].at[1].set(1e3)}
    np.testing.assert_array_equal(NET(obs), NET(ghost))
    there = obs | {"entities": obs["entities"].at[2].add(1.0)}
    assert np.abs(NET(obs) - NET(there)).max() > 1e-3


def test_one_head_by_hand():
    net = SocialAttention.new(5, 4, 3, width=8, depth=1, key=KEYS[3], heads=1)
    obs = seen([True, True])
    own = jax.nn.elu(net.ego_encoder(obs["ego"]))
    codes = [own, *(jax.nn.elu(net.encoder(row)) for row in obs["entities"])]
    scores = np.array([float(net.query(own) @ net.key(c)) / 8**0.5 for c in codes])
    weights = np.exp(scores) / np.exp(scores).sum()
    gathered = sum(w * net.value(c) for w, c in zip(weights, codes))
    np.testing.assert_allclose(net.weights(obs)[0], weights, rtol=1e-5)
    np.testing.assert_allclose(net(obs), net.decoder(own + net.combine(gathered)), rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_when_nobody_else_is_there():
    grads = jax.grad(lambda o: jnp.sum(NET(o | {"mask": jnp.zeros(2, bool)})), allow_int=True)(seen([False, False]))
    assert np.isfinite(grads["ego"]).all()
    assert (grads["entities"] == 0).all()


def test_built_by_kind_from_sets_alone():
    spec = make_game("intersection:observation=entities").observation_spec
    net = make_network(spec, 3, NetworkConfig(kind="attention", width=16), KEYS[0])
    assert isinstance(net, SocialAttention)
    with pytest.raises(ValueError, match="kind='attention' needs"):
        make_network(make_game("intersection").observation_spec, 3, NetworkConfig(kind="attention"), KEYS[0])
    with pytest.raises(ValueError, match="2 heads cannot share a width of 9"):
        SocialAttention.new(5, 4, 3, width=9, depth=1, key=KEYS[0])
