"""Exact values and equilibria: worked by hand, and held against their own equations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mairl.core.errors import InvalidGame, Unsupported
from mairl.games.tabular import (
    coordination,
    gridworld,
    matching_pennies,
    prisoners_dilemma,
    random_game,
    stag_hunt,
)
from mairl.ops.equilibrium import (
    action_values,
    best_response,
    evaluate,
    exploitability,
    logit_equilibrium,
    soft_response,
)
from mairl.ops.tables import expect_others, joint_policy
from mairl.testing.probes import PROBES, bandit

games = st.builds(
    random_game,
    seed=st.integers(0, 10_000),
    num_states=st.integers(2, 5),
    num_actions=st.integers(2, 3),
    num_agents=st.integers(1, 3),
    deterministic=st.booleans(),
    separable=st.booleans(),
    num_terminal=st.integers(0, 1),
    discount=st.sampled_from([0.0, 0.5, 0.9]),
)


def random_policies(tables, seed=0):
    shape = (tables.num_agents, tables.num_states)
    return np.random.default_rng(seed).dirichlet(np.ones(tables.num_actions), size=shape)


@given(games, st.sampled_from([0.3, 1.0, 4.0]))
@settings(max_examples=25, deadline=None)
def test_logit_equilibrium_satisfies_its_equations(game, rationality):
    t = game.tables()
    found = logit_equilibrium(t, rationality)
    assert found.converged
    # Written out anew, with explicit sums over the others' actions.
    for i in range(t.num_agents):
        for s in range(t.num_states):
            q = np.zeros(t.num_actions)
            for joint in np.ndindex(*[t.num_actions] * t.num_agents):
                others = np.prod([found.policies[j, s, joint[j]] for j in range(t.num_agents) if j != i])
                onward = t.transitions[(s, *joint)] @ (found.values[i] * ~t.terminal)
                q[joint[i]] += others * (t.reward[(s, *joint)][i] + t.discount * onward)
            np.testing.assert_allclose(
                found.policies[i, s], np.exp(rationality * q) / np.exp(rationality * q).sum(), atol=1e-8
            )
            if not t.terminal[s]:
                np.testing.assert_allclose(
                    found.values[i, s], np.log(np.exp(rationality * q).sum()) / rationality, atol=1e-8
                )
    # The value is also the entropy-regularised return of the joint policy.
    np.testing.assert_allclose(evaluate(t, found.policies, rationality=rationality), found.values, atol=1e-8)


def test_one_shot_logit_by_hand():
    found = logit_equilibrium(bandit().game.tables(), 2.0)
    want = np.exp([0.0, 1.0, 2.0])
    np.testing.assert_allclose(found.policies[:, 0], np.tile(want / want.sum(), (2, 1)), atol=1e-12)
    np.testing.assert_allclose(found.values[:, 0], np.log(want.sum()) / 2, atol=1e-12)


def test_prisoners_dilemma_logit_tends_to_defection():
    p = [logit_equilibrium(prisoners_dilemma().tables(), lam).policies[:, 0, 1] for lam in (0.1, 1.0, 10.0)]
    assert np.all(np.diff(p, axis=0) > 0)
    assert np.all(p[-1] > 0.9999)


def test_circling_games_are_solved():
    # Plain iteration circles on each of these; the zero-sum game circles under any damping.
    circling = random_game(1, kind="zero-sum", deterministic=True, num_terminal=1)
    for game, lam in [(circling, 1.0), (gridworld(), 5.0), (matching_pennies(), 50.0)]:
        assert logit_equilibrium(game.tables(), lam).residual <= 1e-12


def test_unsolved_is_said():
    t = random_game(1, kind="zero-sum", deterministic=True, num_terminal=1).tables()
    with pytest.raises(Unsupported, match=r"in 50 iterations at rationality 1\.0: residual"):
        logit_equilibrium(t, 1.0, max_iterations=50)
    assert not logit_equilibrium(t, 1.0, max_iterations=50, strict=False).converged
    with pytest.raises(Unsupported, match="rationality must be positive"):
        logit_equilibrium(t, 0.0)


def test_coordination_has_several_equilibria_and_the_start_decides():
    t = coordination().tables()
    middle = logit_equilibrium(t, 10.0)
    np.testing.assert_allclose(middle.policies, 0.5, atol=1e-9)
    for action in range(2):
        start = np.full((2, 1, 2), 0.1)
        start[..., action] = 0.9
        assert np.all(logit_equilibrium(t, 10.0, initial=start).policies[..., action] > 0.99)


def test_matrix_games_by_hand():
    pennies = matching_pennies(discount=0.5).tables()
    uniform = np.full((2, 1, 2), 0.5)
    np.testing.assert_allclose(exploitability(pennies, uniform), 0, atol=1e-12)
    # Always heads against always heads: agent 1 would gain 2 a step for ever, 2 / (1 - 1/2); agent 0 nothing.
    heads = np.tile([1.0, 0.0], (2, 1, 1))
    np.testing.assert_allclose(exploitability(pennies, heads), [0, 4])
    # Three steps at discount 1/2: 2 (1 + 1/2 + 1/4).
    np.testing.assert_allclose(exploitability(pennies, heads, horizon=3), [0, 3.5])
    dilemma = prisoners_dilemma(discount=0.0).tables()
    defect = np.tile([0.0, 1.0], (2, 1, 1))
    np.testing.assert_allclose(exploitability(dilemma, defect), 0)
    np.testing.assert_allclose(exploitability(dilemma, 1 - defect), 2)
    hunt = stag_hunt(discount=0.0).tables()
    for both in (defect, 1 - defect):
        np.testing.assert_allclose(exploitability(hunt, both), 0)
    np.testing.assert_allclose(evaluate(hunt, 1 - defect), 4)


@pytest.mark.parametrize("name", PROBES)
def test_probes_answers_are_exact(name):
    probe = PROBES[name]()
    t = probe.game.tables()
    np.testing.assert_allclose(evaluate(t, probe.policies), probe.values, atol=1e-6)
    np.testing.assert_allclose(exploitability(t, probe.policies), 0, atol=1e-6)
    # The check can fail: uniform play is no answer.
    assert exploitability(t, np.full_like(probe.policies, 1 / t.num_actions)).max() > 0.05


@given(games)
@settings(max_examples=25, deadline=None)
def test_best_response_is_best_and_attained(game):
    t = game.tables()
    policies = random_policies(t)
    for agent in range(t.num_agents):
        best, values = best_response(t, policies, agent)
        replaced = policies.copy()
        replaced[agent] = best
        np.testing.assert_allclose(evaluate(t, replaced)[agent], values, atol=1e-8)
        # No deviation in a single state gains anything: the optimality equation.
        q = action_values(t, replaced, evaluate(t, replaced))[agent]
        assert np.all(q.max(axis=-1)[~t.terminal] <= values[~t.terminal] + 1e-8)
    assert np.all(exploitability(t, policies) >= 0)


@given(games)
@settings(max_examples=10, deadline=None)
def test_long_horizons_meet_the_discounted_values(game):
    t = game.tables()
    policies = random_policies(t)
    np.testing.assert_allclose(evaluate(t, policies, horizon=400), evaluate(t, policies), atol=1e-8)
    long = best_response(t, policies, 0, horizon=400)[1]
    np.testing.assert_allclose(long, best_response(t, policies, 0)[1], atol=1e-8)


def test_expectations_against_explicit_sums():
    t = random_game(3, num_states=2, num_actions=2, num_agents=3).tables()
    p = random_policies(t)
    table = t.reward[..., 0]
    np.testing.assert_allclose(expect_others(table, p, 1), np.einsum("sabc,sa,sc->sb", table, p[0], p[2]))
    np.testing.assert_allclose(expect_others(table, p, 0, 2), np.einsum("sabc,sb->sac", table, p[1]))
    np.testing.assert_allclose(joint_policy(p), np.einsum("sa,sb,sc->sabc", *p))


def test_soft_response_is_safe_for_large_values():
    policies, values = soft_response(np.array([1e5, 1e5 - 1, -1e5]), 1.0)
    np.testing.assert_allclose(policies, [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], atol=1e-12)
    np.testing.assert_allclose(values, 1e5 + np.log(1 + np.exp(-1)))


def test_refusals_name_the_fix():
    t = prisoners_dilemma(discount=1.0).tables()
    defect = np.tile([0.0, 1.0], (2, 1, 1))
    with pytest.raises(Unsupported, match="lower the discount, or give a horizon"):
        evaluate(t, defect)
    np.testing.assert_allclose(evaluate(t, defect, horizon=10), 10)
    with pytest.raises(InvalidGame, match=r"\[agent, state, action\] = \(2, 1, 2\)"):
        evaluate(t, defect[:1])
    with pytest.raises(InvalidGame, match="no probabilities"):
        evaluate(t, 2 * defect)
