"""I-LOLA: which learners they are, how far they look ahead, and what they want."""

import numpy as np
import pytest

from mairl.algorithms.family_fit import alternate, gauss_newton
from mairl.algorithms.i_lola import i_lola
from mairl.algorithms.i_lola_cmaes import i_lola_cmaes
from mairl.algorithms.update_model import Bilinear, Differentiated, update_model
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.learning_history import learning_history
from mairl.games.tabular import random_game
from mairl.ops.learners import LEARNERS
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame

FAMILIES = tuple(LEARNERS)


def learn(game, learner, weights, look_ahead, steps=8, seed=0):
    rng = np.random.default_rng(seed)
    logits = [rng.normal(size=(game.num_agents, game.num_states, game.num_actions))]
    for _ in range(steps):
        logits.append(next_logits(learner, game, logits[-1], weights, look_ahead))
    return learning_history(np.stack(logits))


class Small:
    """Two agents in a random game of three states; three features, one of which nobody wants."""

    game = LinearGame.of(
        random_game(2, num_states=3, num_actions=2, discount=0.8).tables(),
        np.random.default_rng(7).normal(size=(3, 2, 2, 2, 3)),
    )
    truth = np.array([[1.0, -0.5, 0.0], [0.3, 0.8, 0.0]])
    step_size = 0.2


@pytest.mark.parametrize("learner", FAMILIES)
def test_each_learner_is_told_from_the_others_and_inverted(learner):
    history = learn(Small.game, learner, Small.step_size * Small.truth, 3.0)
    found = i_lola(Small.game, history, families=FAMILIES, look_aheads=(0.0, 1.0, 8.0))
    assert found.family == learner
    assert found.relative_residual < 1e-20
    assert found.held_out < 1e-10, "of changes that may be tiny"
    np.testing.assert_allclose(found.weights, Small.step_size * Small.truth, atol=1e-8)
    assert min(found.cosines(Small.truth)) > 1 - 1e-10
    if learner in ("naive", "ma-spi"):
        assert found.look_ahead is None
    else:
        assert found.look_ahead == pytest.approx(3, abs=1e-6)


def test_naive_learners_look_nowhere_ahead():
    history = learn(Small.game, "naive", Small.step_size * Small.truth, 0.0)
    assert i_lola(Small.game, history, families=("lola-taylor",)).look_ahead == 0


def test_the_wrong_family_finds_wrong_rewards():
    """Full LOLA that looks far ahead, read as Taylor's, whose step lacks the others' movement."""
    history = learn(Small.game, "lola-full", Small.step_size * Small.truth, 8.0)
    taylor = i_lola(Small.game, history, families=("lola-taylor",))
    assert taylor.relative_residual > 1e-3
    assert min(taylor.cosines(Small.truth)) < 0.99
    # First order in full is nearer; it is not the thing itself.
    complete = i_lola(Small.game, history, families=("first-order-complete",))
    assert 1e-4 < complete.relative_residual < taylor.relative_residual
    assert min(complete.cosines(Small.truth)) < 1 - 1e-4


@pytest.mark.parametrize("family", ["naive", "first-order-complete"])
def test_coefficients_are_the_update(family):
    logits = np.random.default_rng(0).normal(size=(2, 2, 3, 2))
    logits -= logits.mean(-1, keepdims=True)
    exact, polynomial = Differentiated(Small.game, logits, family), Bilinear.of(Small.game, logits, family)
    weights = np.random.default_rng(1).normal(size=(2, 3))
    np.testing.assert_allclose(polynomial.changes(weights, 0.7), exact.changes(weights, 0.7), atol=1e-12)
    np.testing.assert_allclose(polynomial.jacobian(weights, 0.7), exact.jacobian(weights, 0.7), atol=1e-12)


def test_three_agents():
    game = LinearGame.of(
        random_game(4, num_states=2, num_actions=2, num_agents=3, discount=0.7).tables(),
        np.random.default_rng(3).normal(size=(2, 2, 2, 2, 3, 2)),
    )
    truth = np.array([[1.0, 0.2], [-0.4, 0.9], [0.6, -0.6]])
    history = learn(game, "lola-taylor", 0.3 * truth, 2.0, steps=6)
    found = i_lola(game, history, families=("lola-taylor",))
    assert found.look_ahead == pytest.approx(2, abs=1e-6)
    np.testing.assert_allclose(found.weights, 0.3 * truth, atol=1e-8)


def test_both_solvers_find_the_same():
    history = learn(Small.game, "lola-taylor", Small.step_size * Small.truth, 3.0)
    logits = history.logits() + 1e-4 * np.random.default_rng(0).normal(size=history.logits().shape)
    model, target = update_model(Small.game, logits[:-1], "lola-taylor"), np.diff(logits, axis=0).ravel()
    start = np.full((2, 3), 0.1)
    first = alternate(model, target, start, 3.0, tolerance=1e-13)
    second = gauss_newton(model, target, start, 3.0, free_look_ahead=False, tolerance=1e-13)
    assert first.relative_residual > 1e-8, "noise"
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-6)
    assert first.relative_residual == pytest.approx(second.relative_residual, rel=1e-6)


def test_without_derivatives_the_same_is_found():
    history = learn(Small.game, "lola-taylor", Small.step_size * Small.truth, 3.0)
    found = i_lola_cmaes(Small.game, history, evaluations=6000)
    assert found.relative_residual < 1e-6
    assert found.look_ahead == pytest.approx(3, rel=0.02)
    assert min(found.cosines(Small.truth)) > 0.9999


def test_directions_without_a_trace_are_named():
    features = np.array(Small.game.features)
    features[..., 2] = 1.0
    game = LinearGame(Small.game.flow, features, Small.game.start, Small.game.discount)
    history = learn(game, "lola-taylor", Small.step_size * Small.truth, 3.0)
    found = i_lola(game, history, families=("lola-taylor",))
    assert found.rank == (2, 2)
    np.testing.assert_allclose(np.abs(found.null_space[0][:, 0]), [0, 0, 1], atol=1e-9)
    assert found.notes[0].startswith("agent 0: 1 of 3 directions of the reward leave no trace")
    assert min(found.cosines(Small.truth + np.array([0, 0, 5.0]))) > 1 - 1e-10


def test_faults_are_named():
    history = learn(Small.game, "naive", Small.truth, 0.0, steps=3)
    with pytest.raises(InvalidData, match="3 transitions, 3 of them for validation"):
        i_lola(Small.game, history, validation=3)
    with pytest.raises(Unsupported, match="unknown learner lola; there are naive"):
        i_lola(Small.game, history, families=("lola",))
    with pytest.raises(Unsupported, match="0 or more"):
        i_lola(Small.game, history, look_aheads=(-1.0,))
    with pytest.raises(Unsupported, match="policies changed by 0"):
        i_lola(Small.game, learning_history(np.zeros((4, 2, 3, 2))))


class Exploding:
    """A model whose alternation cannot converge."""

    def changes(self, weights, look_ahead):
        return np.full(4, np.nan) if np.any(weights) else np.zeros(4)

    def jacobian(self, weights, look_ahead):
        return np.eye(4, 5)


def test_a_diverged_fit_is_named():
    target = np.ones(4)
    with pytest.raises(Unsupported, match=r"diverged at look-ahead 2: relative residual nan.*smaller look-ahead"):
        alternate(Exploding(), target, np.zeros((2, 2)), 2.0)
    with pytest.raises(Unsupported, match="diverged at look-ahead 2"):
        gauss_newton(Exploding(), target, np.ones((2, 2)), 2.0, free_look_ahead=True)
