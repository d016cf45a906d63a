"""MAMQL: its equations by hand, its gradients, and what it must and cannot recover."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mairl.algorithms.fit import fit
from mairl.algorithms.mamql import MAMQL
from mairl.algorithms.next_value import enumerated_next, sampled_next
from mairl.core.errors import Unsupported
from mairl.core.transition import observe
from mairl.data.collect import record
from mairl.games.tabular import TabularPolicy, random_game
from mairl.networks.build import NetworkConfig
from mairl.networks.rewards import joint_index, marginal_over_others
from mairl.ops.equilibrium import logit_equilibrium
from mairl.ops.soft_bellman import soft_value

LINEAR = NetworkConfig(kind="mlp", width=8, depth=0)
FAST = {"critic_network": LINEAR, "reward_network": LINEAR, "learning_rate": 2e-2, "reward_learning_rate": 2e-2,
        "discount": 0.9, "batch": 256, "updates": 10}  # fmt: skip


@pytest.fixture(scope="module")
def world():
    """A game, its logit equilibrium at λ = 3, and 8,000 steps of it."""
    game = random_game(3, num_states=4, num_actions=3, horizon=20, discount=0.9)
    equilibrium = logit_equilibrium(game.tables(), 3.0)
    expert = TabularPolicy.new(equilibrium.policies)
    return game, equilibrium, expert, record(game, expert, jax.random.key(0), num_steps=8000)


def test_the_two_forms_of_eq5_agree_at_one_only():
    q = jax.random.normal(jax.random.key(0), (5, 4))
    np.testing.assert_allclose(soft_value(q, 1.0), soft_value(q, 1.0, "paper_eq5"), rtol=1e-6)
    assert np.abs(soft_value(q, 2.0) - soft_value(q, 2.0, "paper_eq5")).max() > 0.05
    # Eq. 4 by hand: E_π[q - log π], entropy weight 1, π = softmax(λ q).
    policy = jax.nn.softmax(2.0 * q)
    by_hand = jnp.sum(policy * (q - jnp.log(policy)), axis=-1)
    np.testing.assert_allclose(soft_value(q, 2.0, "paper_eq5"), by_hand, rtol=1e-5)


def test_soft_value_leaves_forbidden_actions_out():
    q = jnp.array([1.0, 5.0, 2.0])
    allowed = jnp.array([True, False, True])
    np.testing.assert_allclose(soft_value(q, 2.0, "soft", allowed), soft_value(q[jnp.array([0, 2])], 2.0), rtol=1e-6)


def test_joint_tables_put_the_own_action_first():
    table = jnp.arange(2 * 9.0).reshape(2, 9)
    policy = jnp.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    mean = marginal_over_others(table, policy)
    np.testing.assert_allclose(mean[0], table[0].reshape(3, 3) @ policy[1])
    np.testing.assert_allclose(mean[1], table[1].reshape(3, 3) @ policy[0])
    np.testing.assert_array_equal(joint_index(jnp.array([2, 1]), 3), [2 * 3 + 1, 1 * 3 + 2])


def test_sampled_next_values_average_to_the_enumerated_ones(world):
    game, equilibrium, _, data = world
    values = jnp.asarray(equilibrium.values, jnp.float32)
    policy = jnp.asarray(equilibrium.policies, jnp.float32)
    step = data.transition(jnp.array(7))

    def value_at(state, terminated):
        return jnp.where(terminated, 0.0, values[:, state.index])

    here = policy[:, step.state.index]

    def enumerated(key):
        return enumerated_next(key, game, value_at, step.state, step.actions, here)

    def sampled(key):
        return sampled_next(key, game, value_at, step.state, step.actions, here)

    exact, _ = jax.jit(enumerated)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4000)
    first, second = jax.jit(jax.vmap(sampled))(keys)
    spread = np.asarray(first).std(0) / 4000**0.5
    np.testing.assert_array_less(np.abs(first.mean(0) - exact), 5 * spread + 1e-5)
    assert np.abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.06


@pytest.mark.parametrize(
    "options",
    [{}, {"value_form": "paper_eq5", "rationality": 2.0}, {"phi": "identity", "value_term": "policy"},
     {"chi2_on": "expert", "value_term": "initial"}],
    ids=["default", "paper", "identity", "initial"],
)  # fmt: skip
def test_gradients_against_finite_differences(world, options):
    game, _, _, data = world
    algorithm = MAMQL(critic_network=LINEAR, reward_network=LINEAR, alpha=0.5, **options)
    with jax.enable_x64(True):
        learnt = algorithm.init(jax.random.key(0), game, data).learnt
        arrays, static = eqx.partition(learnt.critic, eqx.is_array)
        flat, unravel = ravel_pytree(jax.tree.map(lambda x: x.astype(jnp.float64), arrays))
        flat = jax.random.normal(jax.random.key(1), flat.shape, jnp.float64)
        direction = jax.random.normal(jax.random.key(2), flat.shape, jnp.float64)
        expert = observe(game, data.sample(jax.random.key(3), 16))
        played = observe(game, data.sample(jax.random.key(4), 16))
        starts = observe(game, data.first(jax.random.key(5), 8))

        @jax.jit
        def critic_loss(flat):
            moved = eqx.tree_at(lambda x: x.critic, learnt, eqx.combine(unravel(flat), static))
            return algorithm.loss(moved, moved.critic, jax.random.key(6), game, expert, played, starts)[1][
                "critic_loss"
            ]

        analytic = jax.jit(jax.grad(critic_loss))(flat) @ direction
        step = 1e-6
        numeric = (critic_loss(flat + step * direction) - critic_loss(flat - step * direction)) / (2 * step)
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9)


def test_the_reward_and_its_scale_do_not_move_the_critic(world):
    game, _, _, data = world
    algorithm = MAMQL(critic_network=LINEAR, reward_network=LINEAR)
    learnt = algorithm.init(jax.random.key(0), game, data).learnt
    expert, played = (observe(game, data.sample(jax.random.key(k), 16)) for k in (1, 2))

    def of(learnt, part):
        loss, metrics = algorithm.loss(learnt, learnt.critic, jax.random.key(3), game, expert, played)
        return loss if part == "all" else metrics["critic_loss"] * game.num_agents

    slope = eqx.filter_jit(eqx.filter_grad(of))
    everything, critic_only = slope(learnt, "all").critic, slope(learnt, "critic").critic
    for a, b in zip(jax.tree.leaves(everything), jax.tree.leaves(critic_only)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def kl(expert, learned, game, weight):
    """Mean over agents and states (weighted by visits) of KL(expert ‖ learned)."""
    obs = jnp.broadcast_to(jnp.eye(game.num_states)[:, None], (game.num_states, 2, game.num_states))
    p, q = jax.vmap(expert.log_probs)(obs), jax.vmap(learned.log_probs)(obs)
    return float(jnp.sum(weight[:, None] * jnp.sum(jnp.exp(p) * (p - q), -1)) / 2)


@pytest.mark.parametrize(
    "options",
    [{"alpha": 30.0}, {"alpha": 30.0, "next_value": "two_sample"}, {"alpha": 30.0, "next_value": "enumerate"},
     {"alpha": 30.0, "offline": True, "value_term": "expert"}],
    ids=["one sample", "two samples", "enumerated", "offline"],
)  # fmt: skip
def test_recovers_the_policies_and_a_reward_that_explains_them(world, options):
    """It must recover policies; the joint reward must average to the induced one (Eq. 7). It cannot recover the
    constant, the shaping, or how the reward depends on the others beyond its mean."""
    game, _, expert, data = world
    algorithm = MAMQL(rationality=3.0, anneal=60, **FAST, **options)
    budget = 60 if options.get("offline") else 60 * algorithm.collection(game).size
    result = fit(algorithm, game, data, budget=budget, evaluations=1, episodes=0, select="last")
    learned = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, result.learned)
    steps = data.transition(jnp.arange(data.num_steps))
    weight = jnp.bincount(steps.state.index, length=game.num_states) / data.num_steps
    assert kl(expert, learned.policy, game, weight) < 0.01
    seen = observe(game, steps)
    induced = jax.vmap(learned.induced_reward)(seen.obs, seen.actions, seen.next_obs, seen.terminated)
    table = jax.vmap(learned.reward.net)(seen.obs)
    chance = jnp.exp(jax.vmap(learned.policy.log_probs)(seen.obs, None))
    mean = jax.vmap(marginal_over_others)(table, chance)
    by_hand = learned.reward.scale * jnp.take_along_axis(mean, seen.actions[..., None], -1)[..., 0]
    np.testing.assert_allclose(induced, by_hand, rtol=1e-4, atol=1e-5)
    implied = jax.vmap(learned.shaped_reward)(seen.obs, seen.actions, seen.next_obs, seen.terminated)
    induced, implied, actions, index = map(np.asarray, (induced, implied, seen.actions, seen.state.index))
    for i in range(2):
        per_pair = [
            (induced[at, i].mean(), implied[at, i].mean())
            for s in range(game.num_states)
            for a in range(3)
            if (at := (index == s) & (actions[:, i] == a)).sum() > 50
        ]
        found, wanted = np.array(per_pair).T
        assert np.corrcoef(found, wanted)[0, 1] > 0.97


def test_calibration_undoes_the_softness_that_phi_adds(world):
    """With a small α rewards are held small and policies soft: the scale that the reward already has brings both
    nearer to the expert's. It changes neither the play nor the reward."""
    game, _, expert, data = world
    plain = MAMQL(rationality=3.0, anneal=100, alpha=0.3, **FAST)
    budget = 100 * plain.collection(game).size
    found = {}
    for calibrated in (False, True):
        algorithm = dataclasses.replace(plain, calibrated=calibrated)
        result = fit(algorithm, game, data, budget=budget, evaluations=1, episodes=0, select="last")
        found[calibrated] = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, result.learned)
    steps = data.transition(jnp.arange(data.num_steps))
    weight = jnp.bincount(steps.state.index, length=game.num_states) / data.num_steps
    assert found[True].policy.sharpness.min() > 1.0
    assert kl(expert, found[True].policy, game, weight) < 0.5 * kl(expert, found[False].policy, game, weight)
    seen = observe(game, steps)
    rewards = [jax.vmap(found[c].induced_reward)(seen.obs, seen.actions, seen.next_obs, seen.terminated) for c in found]
    np.testing.assert_array_equal(*rewards)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"offline": True}, "no rollouts"), ({"next_value": "two_sample"}, "observations only")],
)
def test_refuses_what_cannot_work(world, options, why):
    game, _, _, data = world
    seen = data.observed(game)
    without_states = eqx.tree_at(lambda d: d.state, seen, None, is_leaf=lambda x: x is None)
    with pytest.raises(Unsupported, match=why):
        MAMQL(**options).check(game, without_states)
    with pytest.raises(Unsupported, match="demonstrations"):
        MAMQL().check(game, None)
