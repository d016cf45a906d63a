"""Networks that read several sets: order does not matter, absent entities do not either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.networks.build import NetworkConfig, make_network
from mairl.networks.set_encoder import SetEncoder, set_names

SPEC = {
    "ego": jax.ShapeDtypeStruct((3,), jnp.float32),
    "cars": jax.ShapeDtypeStruct((7, 5), jnp.float32),
    "cars_mask": jax.ShapeDtypeStruct((5,), bool),
    "walls": jax.ShapeDtypeStruct((2, 4), jnp.float32),
    "walls_mask": jax.ShapeDtypeStruct((4,), bool),
}


def observation(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    return {
        "ego": jax.random.normal(keys[0], (3,)),
        "cars": jax.random.normal(keys[1], (7, 5)),
        "cars_mask": jnp.array([True, True, False, True, False]),
        "walls": jax.random.normal(keys[2], (2, 4)),
        "walls_mask": jnp.array([True, False, True, True]),
    }


def test_sets_are_known_by_their_form():
    assert set_names(SPEC) == ("cars", "walls")
    assert set_names({"ego": SPEC["ego"], "cars": SPEC["cars"]}) == ()
    assert set_names(SPEC["ego"]) == ()
    # How the entities of a set hang together is no set.
    links = {
        "cars_links": jax.ShapeDtypeStruct((2, 5), jnp.int32),
        "cars_links_mask": jax.ShapeDtypeStruct((2, 5), bool),
    }
    assert set_names(SPEC | links) == ("cars", "walls")
    net = make_network(SPEC, 6, NetworkConfig(width=16), jax.random.key(0))
    assert isinstance(net, SetEncoder)
    with pytest.raises(ValueError, match="NAME_mask"):
        make_network(SPEC["ego"], 6, NetworkConfig(kind="sets"), jax.random.key(0))


def test_order_and_absent_entities_do_not_matter():
    net = make_network(SPEC, 6, NetworkConfig(kind="sets", width=16), jax.random.key(0))
    seen = observation()
    out = net(seen)
    order = jnp.array([3, 0, 4, 1, 2])
    shuffled = {**seen, "cars": seen["cars"][:, order], "cars_mask": seen["cars_mask"][order]}
    np.testing.assert_allclose(net(shuffled), out, atol=1e-6)
    garbage = {**seen, "cars": jnp.where(seen["cars_mask"], seen["cars"], 1e3)}
    np.testing.assert_array_equal(net(garbage), out)
    moved = {**seen, "cars": seen["cars"].at[:, 0].add(1.0)}
    assert np.abs(net(moved) - out).max() > 1e-4


def test_an_empty_set_is_zeros_with_a_gradient():
    net = make_network(SPEC, 6, NetworkConfig(kind="sets", width=16), jax.random.key(0))
    seen = {**observation(), "cars_mask": jnp.zeros(5, bool)}
    slope = jax.grad(lambda cars: jnp.sum(net({**seen, "cars": cars})))(seen["cars"])
    np.testing.assert_array_equal(slope, 0.0)


def test_a_past_is_read_with_its_entity():
    spec = {
        "ego": SPEC["ego"],
        "past": jax.ShapeDtypeStruct((2, 3, 4), jnp.float32),
        "past_mask": jax.ShapeDtypeStruct((2, 4), bool),
    }
    net = make_network(spec, 6, NetworkConfig(kind="sets", width=16), jax.random.key(0))
    there = jnp.array([[True, True, False, False], [True, False, True, False]])
    past = jax.random.normal(jax.random.key(2), (2, 3, 4))
    seen = {"ego": jnp.arange(3.0), "past": past, "past_mask": there}
    out = net(seen)
    garbage = {**seen, "past": jnp.where(there[:, None], past, 1e3)}
    np.testing.assert_array_equal(net(garbage), out)
    order = jnp.array([2, 3, 1, 0])
    shuffled = {**seen, "past": past[..., order], "past_mask": there[:, order]}
    np.testing.assert_allclose(net(shuffled), out, atol=1e-6)
    # The order of the steps, and whose they are, does.
    backward = {**seen, "past": past[::-1], "past_mask": there[::-1]}
    assert np.abs(net(backward) - out).max() > 1e-4
    swapped = {**seen, "past": past.at[1].set(past[1, :, order].T), "past_mask": there.at[1].set(there[1, order])}
    assert np.abs(net(swapped) - out).max() > 1e-4
    nobody = {**seen, "past_mask": jnp.zeros((2, 4), bool)}
    assert np.isfinite(np.asarray(net(nobody))).all()
