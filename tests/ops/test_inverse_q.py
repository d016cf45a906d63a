"""IQ-Learn's objective: values by hand, unbiased squares, gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from mairl.ops.inverse_q import inverse_q_loss, value_term, weighted_mean


def test_loss_by_hand():
    q, after = jnp.array([[2.0], [1.0]]), jnp.array([[1.0], [3.0]])
    weight, expert = jnp.ones((2, 1)), jnp.array([True, False])
    options = {"weight": weight, "from_expert": expert, "discount": 0.5}
    value = jnp.array([[4.0], [2.0]])
    flow = {f: float(value_term(value, after, form=f, **options)[0]) for f in ("expert", "policy", "mixture")}
    # 4 - 0.5 · 1 and 2 - 0.5 · 3
    assert flow == {"expert": 3.5, "policy": 0.5, "mixture": 2.0}
    first = value_term(value, after, form="initial", initial_value=jnp.array([[6.0], [2.0]]), **options)
    assert float(first[0]) == 2.0
    # Rewards: expert 2 - 0.5 = 1.5, policy 1 - 1.5 = -0.5; squares over 4α with α = 1.
    for chi2_on, penalty in (("expert", 2.25 / 4), ("both", (2.25 + 0.25) / 8)):
        loss, parts = inverse_q_loss(
            q, after, after, jnp.array([2.0]), phi="chi2", alpha=1.0, chi2_on=chi2_on, **options
        )
        np.testing.assert_allclose(loss, 2.0 - 1.5 + penalty, rtol=1e-6)
        np.testing.assert_allclose(parts["expert_reward"], 1.5, rtol=1e-6)


def test_two_samples_make_the_square_unbiased():
    v = np.random.default_rng(0).normal(size=(2, 200_000, 1)).astype(np.float32)
    options = {
        "weight": jnp.ones(v.shape[1:]),
        "from_expert": jnp.ones(v.shape[1], bool),
        "discount": 1.0,
        "phi": "chi2",
        "alpha": 0.25,
        "chi2_on": "expert",
    }
    one, _ = inverse_q_loss(jnp.zeros(v.shape[1:]), v[0], v[0], jnp.zeros(1), **options)
    two, _ = inverse_q_loss(jnp.zeros(v.shape[1:]), v[0], v[1], jnp.zeros(1), **options)
    np.testing.assert_allclose(one, 1.0, atol=0.03)  # Var V(s'), though the mean reward is 0
    np.testing.assert_allclose(two, 0.0, atol=0.03)


@pytest.mark.parametrize("chi2_on", ["expert", "both"])
@pytest.mark.parametrize("form", ["mixture", "policy", "expert", "initial"])
def test_gradient(form, chi2_on):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(5, 6, 2)))
        weight = jnp.asarray(rng.uniform(size=(6, 2)))
        expert = jnp.arange(6) < 3

        def loss(x):
            options = {"weight": weight, "from_expert": expert, "discount": 0.9}
            flow = value_term(x[0], x[1], form=form, initial_value=x[4], **options)
            return jnp.sum(inverse_q_loss(x[2], x[1], x[3], flow, phi="chi2", alpha=0.7, chi2_on=chi2_on, **options)[0])

        check_grads(loss, (x,), order=1, modes=["rev"], atol=1e-7, rtol=1e-7)


def test_masked_entries_have_no_influence_even_if_not_finite():
    x = jnp.array([[1.0], [jnp.nan]])
    assert float(weighted_mean(x, jnp.array([[2.0], [0.0]]))[0]) == 1.0
    assert float(weighted_mean(x, jnp.zeros((2, 1)))[0]) == 0.0


def test_unknown_forms_are_named():
    x = jnp.zeros((2, 1))
    options = {"weight": x, "from_expert": jnp.ones(2, bool), "discount": 0.9}
    with pytest.raises(ValueError, match="unknown value term"):
        value_term(x, x, form="both", **options)
    with pytest.raises(ValueError, match="needs initial_value"):
        value_term(x, x, form="initial", **options)
    with pytest.raises(ValueError, match="unknown phi"):
        inverse_q_loss(x, x, x, x[0], phi="kl", alpha=1.0, chi2_on="both", **options)
    with pytest.raises(ValueError, match="unknown chi2_on"):
        inverse_q_loss(x, x, x, x[0], phi="chi2", alpha=1.0, chi2_on="policy", **options)
