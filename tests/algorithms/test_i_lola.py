"""I-LOLA: which learners they are, how far they look ahead, and what they want."""

import numpy as np
import pytest

from mairl.algorithms.explain import ILOLA, Watched
from mairl.algorithms.family_fit import alternate, gauss_newton
from mairl.algorithms.i_lola import i_lola
from mairl.algorithms.i_lola_cmaes import i_lola_cmaes
from mairl.algorithms.update_model import Bilinear, Differentiated, update_model
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.learning_history import learning_history
from mairl.games.tabular import random_game
from mairl.games.tabular.features import linear_game, tabular_game
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


@pytest.mark.parametrize("steps", [4, 5])
def test_a_family_chosen_by_few_transitions_is_doubted(steps):
    history = learn(Small.game, "naive", Small.step_size * Small.truth, 0.0, steps=steps)
    chosen = i_lola(Small.game, history, families=("naive", "lookahead"))
    doubted = [note for note in chosen.notes if note.startswith("the family was chosen by fits to 2 of 4 transitions")]
    assert len(doubted) == (steps == 4)
    named = i_lola(Small.game, history, families=("naive",))
    assert not [note for note in named.notes if note.startswith("the family was chosen")]


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
    pairs = np.array([[0, 0.7], [0.2, 0]])
    np.testing.assert_allclose(polynomial.changes(weights, pairs), exact.changes(weights, pairs), atol=1e-12)
    slopes = exact.jacobian(weights, pairs)
    assert slopes.shape[1] == 6 + 2, "λ of every pair"
    np.testing.assert_allclose(polynomial.jacobian(weights, pairs), slopes, atol=1e-12)


def test_fewer_rows_are_the_same_least_squares():
    history = learn(Small.game, "lola-full", Small.step_size * Small.truth, 8.0, steps=20)
    logits = history.logits()
    model, target = update_model(Small.game, logits[:-1], "lola-taylor"), np.diff(logits, axis=0).ravel()
    small, small_target = model.compressed(target)
    assert len(small_target) == 2 * (3 + 9 + 1) < len(target)
    for seed in range(3):
        weights = np.random.default_rng(seed).normal(size=(2, 3))
        rest, few = target - model.changes(weights, 2.0), small_target - small.changes(weights, 2.0)
        assert few @ few == pytest.approx(rest @ rest, rel=1e-12)


@pytest.mark.parametrize(
    ("family", "step_size", "look_ahead", "seed"),
    [("lola-taylor", 0.05, 10, 3), ("first-order-complete", 0.05, 10, 3), ("lola-full", 0.005, 200, 4)],
)
def test_minima_that_are_none_are_left(family, step_size, look_ahead, seed):
    """The first start ends elsewhere, with much too small a look-ahead."""
    game, truth = linear_game("iterated-dilemma"), np.random.default_rng(seed).normal(size=(2, 4))
    history = learn(game, family, step_size * truth, look_ahead, steps=10, seed=seed)
    found = i_lola(game, history, families=(family,))
    assert found.relative_residual < 1e-20
    assert found.look_ahead == pytest.approx(look_ahead, rel=1e-6)
    assert found.look_ahead_pairs is None
    assert min(found.cosines(truth)) > 1 - 1e-8
    assert not any("unexplained" in note for note in found.notes)


@pytest.mark.parametrize("name", ["prisoners-dilemma", "stag-hunt", "coordination"])
def test_lola_in_matrix_games_is_told_from_first_order_complete(name):
    game, reward = linear_game(name, "joint"), tabular_game(name).tables().reward
    truth = reward.reshape(4, 2).T
    history = learn(game, "lola-taylor", 0.05 * truth, 10.0, steps=10)
    found = i_lola(game, history)
    assert found.family == "lola-taylor"
    assert found.look_ahead == pytest.approx(10, rel=1e-6)
    assert min(found.cosines(truth)) > 1 - 1e-8


@pytest.mark.parametrize("family", ["lola-taylor", "first-order-complete", "lola-full"])
def test_unlike_step_sizes_are_unlike_look_aheads(family):
    """Agents that expect steps of 0.6 of each other, and themselves take steps of 0.2 and 0.05."""
    sizes, expected = np.array([0.2, 0.05]), 0.6
    pairs = expected / sizes * (1 - np.eye(2))
    history = learn(Small.game, family, sizes[:, None] * Small.truth, pairs)
    found = i_lola(Small.game, history, families=(family,))
    assert found.relative_residual < 1e-20
    np.testing.assert_allclose(found.look_ahead_pairs, [[0, 12], [3, 0]], atol=1e-6)
    assert found.look_ahead == pytest.approx(7.5), "their mean"
    assert min(found.cosines(Small.truth)) > 1 - 1e-10
    assert "look-ahead differs between pairs of agents (0 of 1: 12, 1 of 0: 3)" in " ".join(found.notes)
    logits = history.logits()
    np.testing.assert_allclose(found.predict(Small.game, logits[4]), logits[5], atol=1e-8)


@pytest.mark.parametrize("learner", ["ma-spi", "lookahead", "lola-full"])
def test_other_families_are_tried_where_the_bilinear_ones_fail(learner):
    history = learn(Small.game, learner, Small.step_size * Small.truth, 8.0)
    tables = random_game(2, num_states=3, num_actions=2, discount=0.8).tables()
    found = ILOLA().explain(Watched(tables, Small.game, history))
    assert found.facts["family"] == learner
    assert found.facts["relative_residual"] < 1e-20
    assert not any("unexplained" in note for note in found.notes)


def test_what_a_family_does_not_explain_is_said():
    full = learn(Small.game, "lola-full", Small.step_size * Small.truth, 8.0)
    found = i_lola(Small.game, full, families=("lola-taylor",))
    assert found.relative_residual > 1e-4
    assert "these are other learners or a local minimum" in found.notes[-1]
    far = learn(Small.game, "lola-full", Small.step_size * Small.truth, 40.0)
    found = i_lola(Small.game, far, families=("naive",))
    assert found.relative_residual > 1e-2
    assert "do not trust these rewards" in found.notes[-1]
    logits = np.random.default_rng(0).normal(size=(9, 2, 3, 2))
    noise = i_lola(Small.game, learning_history(logits), families=("naive",))
    assert noise.held_out > 1
    assert "naive learners do not describe this history" in noise.notes[-1]
    near = full.logits() + 1e-4 * logits
    found = i_lola(Small.game, learning_history(near), families=("lola-full",))
    assert found.look_ahead == pytest.approx(8, rel=0.01)
    assert "unless the snapshots are noisy" in found.notes[-1]


def test_step_sizes_that_change_are_not_taken_for_anticipation():
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(2, 3, 2))]
    for step in range(10):
        logits.append(next_logits("naive", Small.game, logits[-1], 0.4 / (1 + step) * Small.truth, 0.0))
    history = learning_history(np.stack(logits))
    found = i_lola(Small.game, history)
    assert found.family == "naive"
    assert found.relative_residual < 1e-20
    assert min(found.cosines(Small.truth)) > 1 - 1e-10
    np.testing.assert_allclose(found.step_sizes[0] / found.step_sizes[-1], 8, rtol=1e-6)
    assert any("step sizes change" in note for note in found.notes)
    assert i_lola(Small.game, history, families=("lola-taylor",)).relative_residual > 1e-4, "without them"


def test_one_number_a_step_is_not_explained_by_changing_sizes():
    """In a matrix game of two actions any learner is a naive one whose steps change."""
    game = linear_game("prisoners-dilemma", "joint")
    truth = tabular_game("prisoners-dilemma").tables().reward.reshape(4, 2).T
    history = learn(game, "lola-full", 0.05 * truth, 10.0, steps=10)
    assert i_lola(game, history, families=("naive",)).step_sizes is None


def test_features_that_move_nobody_tell_nothing():
    game = linear_game("matching-pennies", "state")
    assert game.num_features == 1, "one state"
    truth = tabular_game("matching-pennies").tables().reward
    payoffs = LinearGame.of(tabular_game("matching-pennies").tables(), truth[..., None])
    history = learn(payoffs, "lola-taylor", np.full((2, 1), 0.05), 1.0)
    for family in (None, ("naive",), ("lola-full",)):
        found = i_lola(game, history, families=family)
        assert found.rank == (0, 0)
        np.testing.assert_array_equal(found.weights, 0)
        assert "agent 0: none of the 1 directions of the reward leaves a trace" in found.notes[0]
        assert "unexplained" in found.notes[-1]


def test_an_agent_that_stands_still_is_named():
    history = learn(Small.game, "naive", Small.step_size * Small.truth * [[1.0], [0.0]], 0.0)
    found = i_lola(Small.game, history)
    assert found.rank == (3, 0)
    assert "agent 1: its policy did not change" in " ".join(found.notes)
    assert found.cosines(Small.truth)[1] is None


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
    for wrong in ((-1.0,), (0.0, np.nan), ()):
        with pytest.raises(Unsupported, match="0 or more"):
            i_lola(Small.game, history, look_aheads=wrong)
    with pytest.raises(Unsupported, match="name at least one of naive"):
        i_lola(Small.game, history, families=())
    with pytest.raises(Unsupported, match="unknown learner nope; there are naive"):
        i_lola_cmaes(Small.game, history, family="nope")
    for few in ({"population": 1}, {"evaluations": 0}):
        with pytest.raises(Unsupported, match="population of at least 2 and at least 1 evaluation"):
            i_lola_cmaes(Small.game, history, **few)
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
