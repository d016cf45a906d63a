"""MAMQL without sampling, against exact logit equilibria: what its objective recovers, how well, and what it cannot."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.mamql_exact import (
    critic_loss,
    exact_mamql,
    likely_scale,
    marginal_flow,
    recovery,
    without_shaping,
)
from mairl.core.errors import Unsupported
from mairl.games.tabular import gridworld, matching_pennies, random_game
from mairl.ops.equilibrium import logit_equilibrium, soft_response
from mairl.ops.tables import expect_others

GAMES = {
    "general-sum": (random_game(0), 1.0),
    "cooperative": (random_game(1, kind="cooperative"), 2.0),
    "zero-sum": (random_game(2, kind="zero-sum", num_actions=2), 1.0),
    "terminal": (random_game(3, num_states=6, num_terminal=2), 2.0),
    "three agents": (random_game(4, num_agents=3, num_states=3), 1.0),
    "deterministic": (random_game(5, deterministic=True), 3.0),
    "gridworld": (gridworld(("ab", "BA")), 2.0),
}
CASES = [(name, "both", "mixture") for name in GAMES] + [
    ("terminal", "both", "initial"),
    ("terminal", "expert", "expert"),
    ("general-sum", "expert", "policy"),
]


@pytest.mark.parametrize(("name", "chi2_on", "value_term"), CASES)
def test_recovers_policies_and_induced_rewards_of_exact_equilibria(name, chi2_on, value_term):
    game, rationality = GAMES[name]
    tables = game.tables()
    expert = logit_equilibrium(tables, rationality).policies
    found = exact_mamql(tables, expert, rationality=rationality, chi2_on=chi2_on, value_term=value_term, alpha=10.0)
    measured = recovery(tables, expert, found)
    assert measured["policy_kl"].max() < 1e-3
    assert measured["pearson"].min() > 0.99
    # What φ shrinks, by about 1 / (2αλ), the likelihood's scale gives back: most of it where states are visited alike,
    # a part in the gridworld, where the square weighs few states.
    left = 0.9 if name == "gridworld" else 0.25
    assert np.all(np.abs(measured["shrink_corrected"] - 1) < left * np.abs(measured["shrink"] - 1))


@pytest.mark.parametrize("value_term", ["mixture", "policy", "expert", "initial"])
def test_the_bias_vanishes_with_alpha(value_term):
    tables = GAMES["general-sum"][0].tables()
    expert = logit_equilibrium(tables, 1.0).policies
    kl, shrink = [], []
    for alpha in (1.0, 10.0, 100.0):
        measured = recovery(tables, expert, exact_mamql(tables, expert, alpha=alpha, value_term=value_term))
        kl.append(measured["policy_kl"].mean())
        shrink.append(measured["shrink"].mean() - 1)
    # KL falls as 1/α² and the shrinking as 1 / 2α once α is large.
    np.testing.assert_allclose(kl[1] / kl[2], 100, rtol=0.15)
    np.testing.assert_allclose(shrink[1:], [1 / 20, 1 / 200], rtol=0.1)
    assert kl[0] > 10 * kl[1]
    assert shrink[0] > 5 * shrink[1]


def test_without_the_square_it_is_likelihood():
    """φ(x) = x with exact flows equals cloning: the experts exactly, and a reward of exactly the true size."""
    tables = GAMES["terminal"][0].tables()
    expert = logit_equilibrium(tables, 2.0).policies
    found = exact_mamql(tables, expert, rationality=2.0, phi="identity", value_term="expert")
    measured = recovery(tables, expert, found)
    assert measured["policy_kl"].max() < 1e-9
    np.testing.assert_allclose(measured["shrink"], 1, atol=1e-5)


def test_shaping_and_partners_cannot_be_told():
    """Other rewards with the same induced ones, or shaped ones, have the same experts and so the same answer."""
    tables = GAMES["general-sum"][0].tables()
    expert = logit_equilibrium(tables, 1.0).policies
    found = exact_mamql(tables, expert)
    rng = np.random.default_rng(0)
    potential = rng.normal(size=(tables.num_states, 2))
    ahead = np.einsum("sabt,ti->sabi", tables.flow, potential)
    shaped = tables.with_reward(tables.reward + potential[:, None, None] - tables.discount * ahead)
    # Agent 0 is paid for what agent 1 does, 0 in the mean over agent 1's play.
    gossip = rng.normal(size=(tables.num_states, 1, 3))
    gossip = gossip - np.sum(gossip * expert[1][:, None], axis=-1, keepdims=True)
    envious = tables.with_reward(
        tables.reward + np.stack([np.broadcast_to(gossip, (5, 3, 3)), np.zeros((5, 3, 3))], -1)
    )
    for other in (shaped, envious):
        again = logit_equilibrium(other, 1.0, initial=expert).policies
        np.testing.assert_allclose(again, expert, atol=1e-8)
        np.testing.assert_allclose(exact_mamql(other, again).reward, found.reward, atol=1e-6)
        np.testing.assert_allclose(recovery(other, again, found)["pearson"], 1, atol=1e-3)


def test_purely_cooperative_agents_have_near_identical_rewards():
    tables = random_game(7, kind="cooperative", separable=True, num_states=4).tables()
    expert = logit_equilibrium(tables, 1.0).policies
    found = exact_mamql(tables, expert, alpha=30.0)
    # Each agent's induced reward is the shared one in the mean over the other.
    flow, weight = marginal_flow(tables, expert), found.visits[:, None] * expert
    ours = without_shaping(found.reward, flow, weight, tables.discount)
    shared = np.stack([expect_others(tables.reward[..., 0], expert, i) for i in range(2)])
    truth = without_shaping(shared, flow, weight, tables.discount)
    for i in range(2):
        assert np.corrcoef(ours[i].ravel(), truth[i].ravel())[0, 1] > 0.999


def test_experts_who_err_otherwise_are_not_inverted_exactly():
    """Quantal response without the entropy bonus is another model: soft inversion is close, not exact."""
    tables = GAMES["general-sum"][0].tables()
    policies = logit_equilibrium(tables, 2.0).policies
    for _ in range(500):
        joint = np.einsum("sa,sb->sab", *policies)
        paid = np.einsum("sab,sabi->si", joint, tables.reward)
        move = np.einsum("sab,sabt->st", joint, tables.flow)
        values = np.linalg.solve(np.eye(len(paid)) - tables.discount * move, paid)
        q = tables.reward + tables.discount * np.einsum("sabt,ti->sabi", tables.flow, values)
        policies = np.stack([soft_response(expect_others(q[..., i], policies, i), 2.0)[0] for i in range(2)])
    found = exact_mamql(tables, policies, rationality=2.0, alpha=1000.0)
    measured = recovery(tables, policies, found)
    assert measured["policy_kl"].max() < 1e-4
    assert 0.9 < measured["pearson"].min() < 0.99999


def test_uniform_experts_mean_no_reward():
    tables = matching_pennies().tables()
    expert = logit_equilibrium(tables, 1.0).policies
    found = exact_mamql(tables, expert)
    np.testing.assert_allclose(expert, 0.5, atol=1e-9)
    np.testing.assert_allclose(found.reward - found.reward[..., :1], 0, atol=1e-8)


def test_solution_by_hand():
    """One state, one agent, γ = 0, square over the expert: 1 - R / 2α = π(a) / π_expert(a), R = Q."""
    game = random_game(0, num_states=1, num_agents=1, num_actions=2, discount=0.0)
    expert = np.array([[[0.3, 0.7]]])
    found = exact_mamql(game.tables(), expert, alpha=2.0, chi2_on="expert", value_term="policy")
    np.testing.assert_allclose(1 - found.reward / 4, found.policies / expert, atol=1e-8)


def test_likely_scale():
    q = np.array([[0.0, 1.0, 0.5]])
    weight = soft_response(3.0 * q, 1.0)[0]
    assert likely_scale(q, weight, 1.0) == pytest.approx(3.0)
    assert likely_scale(q, weight, 2.0) == pytest.approx(1.5)
    assert likely_scale(-q, weight, 1.0) == 0.0


def test_agents_do_not_learn_through_each_other():
    """Each agent's loss, as the solver minimises it, is that of its own critic: its minimum is stationary."""
    tables = GAMES["terminal"][0].tables()
    expert = logit_equilibrium(tables, 2.0).policies
    found = exact_mamql(tables, expert, rationality=2.0)
    assert found.residual < 1e-10
    flow = marginal_flow(tables, found.policies)
    with jax.enable_x64(True):
        weight = jnp.asarray(found.visits[:, None] * expert[0])
        given = {
            "numbers": jnp.array([0.9, 2.0, 10.0, 0.1]),
            "start": jnp.asarray(tables.start),
            "expert": weight,
            "played": weight,
            "expert_flow": jnp.asarray(marginal_flow(tables, expert)[0]),
            "flow": jnp.asarray(flow[0]),
        }
        loss = partial(critic_loss, phi="chi2", chi2_on="both", form="expert")
        slope = jax.jit(jax.grad(loss))(jnp.asarray(found.q[0]), given)
        # With the expert's flow in place of the learner's own the square pulls elsewhere, but only by its bias.
        assert 1e-9 < float(np.abs(np.asarray(slope)).max()) < 0.02


def test_refusals():
    game = random_game(0)
    expert = logit_equilibrium(game.tables(), 1.0).policies
    with pytest.raises(Unsupported, match="discount below 1"):
        exact_mamql(random_game(0, discount=1.0).tables(), expert)
    with pytest.raises(Unsupported, match="not settled in 1 steps"):
        exact_mamql(game.tables(), expert, max_iterations=1)
