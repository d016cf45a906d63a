"""Every learner's step against differences of the return that it climbs, written out anew on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.games.tabular import iterated_dilemma, iterated_dilemma_features, random_game
from mairl.ops.equilibrium import action_values, evaluate, soft_response
from mairl.ops.learners import ANTICIPATING, LEARNERS
from mairl.ops.learners.step import compiled_step
from mairl.ops.linear_game import LinearGame, centred

STEP = 1e-4


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


class Case:
    """A random game, random policies, and its returns on the host."""

    def __init__(self, agents=2):
        rng = np.random.default_rng(agents)
        self.tables = random_game(2, num_states=2, num_actions=2, num_agents=agents, discount=0.8).tables()
        basis = rng.normal(size=(2, *[2] * agents, agents, 3))
        self.game = LinearGame.of(self.tables, basis)
        self.weights = rng.normal(size=(agents, 3))
        self.logits = centred(rng.normal(size=(agents, 2, 2)))
        self.paid = self.tables.with_reward(self.game.reward(self.weights))

    def returns(self, logits):
        return evaluate(self.paid, softmax(logits)) @ self.tables.start

    def slope(self, function):
        """Central differences of a scalar function of the logits, by every logit."""
        found = np.zeros_like(self.logits)
        for place in np.ndindex(found.shape):
            up, down = self.logits.copy(), self.logits.copy()
            up[place] += STEP
            down[place] -= STEP
            found[place] = (function(up) - function(down)) / (2 * STEP)
        return found

    def gradients(self, logits):
        """∂J_i / ∂θ_j for every pair, by differences around other logits."""
        here, self.logits = self.logits, logits
        found = np.stack([self.slope(lambda theta, i=i: self.returns(theta)[i]) for i in range(len(logits))])
        self.logits = here
        return found

    def own(self, logits):
        return np.stack([g[i] for i, g in enumerate(self.gradients(logits))])

    def step(self, name, look_ahead):
        with jax.enable_x64(True):
            given = jnp.asarray(self.logits), jnp.asarray(self.weights)
            pairs = np.broadcast_to(np.asarray(look_ahead, np.float64), (len(self.logits), len(self.logits)))
            return np.asarray(compiled_step(name)(self.game, *given, pairs))


def others(i, change):
    """A change of the others' logits, the own ones left."""
    change = change.copy()
    change[i] = 0
    return change


def differences(case, name, look_ahead):
    """Agent by agent, what the learner's definition says."""
    theta, pairs = case.logits, case.gradients(case.logits)
    own = np.stack([pairs[i, i] for i in range(len(theta))])
    found = []
    for i in range(len(theta)):
        if name == "naive":
            found.append(pairs[i, i])
        elif name == "lookahead":
            found.append(case.gradients(theta + look_ahead * others(i, own))[i, i])
        elif name == "lola-taylor":
            wanted = others(i, pairs[i])
            found.append(pairs[i, i] + look_ahead * case.slope(lambda t, w=wanted: np.sum(w * case.own(t)))[i])
        elif name == "first-order-complete":

            def surrogate(t, i=i):
                at = case.gradients(t)
                steps = np.stack([at[j, j] for j in range(len(t))])
                return case.returns(t)[i] + look_ahead * np.sum(others(i, at[i] * steps))

            found.append(case.slope(surrogate)[i])
        else:

            def after(t, i=i):
                return case.returns(t + look_ahead * others(i, case.own(t)))[i]

            found.append(case.slope(after)[i])
    return np.stack(found)


@pytest.mark.parametrize(
    ("name", "agents"),
    [*((name, 2) for name in ("naive", *ANTICIPATING)), ("lola-full", 3)],
)
def test_steps_by_differences(name, agents):
    case = Case(agents)
    want = differences(case, name, 0.7)
    np.testing.assert_allclose(case.step(name, 0.7), want, atol=2e-6 * max(1, np.abs(want).max()))


def test_differences_tell_the_families_apart():
    """The check above can fail: no family's step is another's."""
    case = Case()
    steps = [case.step(name, 0.7) for name in ("naive", *ANTICIPATING)]
    for k, a in enumerate(steps):
        for b in steps[:k]:
            assert np.abs(a - b).max() > 1e-3


def test_without_look_ahead_all_are_naive():
    case = Case()
    for name in ANTICIPATING:
        np.testing.assert_allclose(case.step(name, 0.0), case.step("naive", 0.0), atol=1e-14)


def test_first_order_complete_is_the_first_order_of_full():
    """What is left is of second order in λ: a tenth of λ leaves a hundredth."""
    case = Case()
    gaps = [np.abs(case.step("lola-full", x) - case.step("first-order-complete", x)).max() for x in (1e-1, 1e-2)]
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.15)
    taylor = [np.abs(case.step("lola-full", x) - case.step("lola-taylor", x)).max() for x in (1e-1, 1e-2)]
    assert taylor[0] / taylor[1] == pytest.approx(10, rel=0.15)


def test_look_ahead_of_a_pair_concerns_that_pair():
    case = Case(3)
    pairs = np.zeros((3, 3))
    pairs[0, 2] = 0.7
    step, naive = case.step("lola-full", pairs), case.step("lola-full", 0.0)
    np.testing.assert_allclose(step[1:], naive[1:], atol=1e-14)
    assert np.abs(step[0] - naive[0]).max() > 1e-4


@pytest.mark.parametrize("agents", [1, 2, 3])
def test_soft_improvement_against_the_host(agents):
    case = Case(agents)
    policies = softmax(case.logits)
    values = evaluate(case.paid, policies, rationality=1.0)
    q = action_values(case.paid, policies, values)
    after = case.logits + case.step("ma-spi", 0.0)
    np.testing.assert_allclose(after.sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose(softmax(after), soft_response(q, 1.0)[0], atol=1e-12)


def test_shaping_learners_cooperate_where_naive_ones_defect():
    """The iterated dilemma (Foerster et al. 2018): about -1 a step with LOLA, about -2 without."""
    tables = iterated_dilemma().tables()
    game = LinearGame.of(tables, iterated_dilemma_features())
    payoffs = np.array([[-1.0, -3, 0, -2], [-1, 0, -3, -2]])

    def play(name, look_ahead):
        def step(theta, _):
            return theta + LEARNERS[name](game, theta, payoffs, look_ahead), None

        start = centred(0.1 * np.random.default_rng(0).normal(size=(2, 5, 2)))
        with jax.enable_x64(True):
            theta = jax.jit(lambda t: jax.lax.scan(step, t, None, 150)[0])(jnp.asarray(start))
            return (1 - tables.discount) * evaluate(tables, softmax(np.asarray(theta)))[:, 0]

    np.testing.assert_array_less(-1.3, play("lola-taylor", 1.0))
    np.testing.assert_array_less(play("naive", 0.0), -1.8)
