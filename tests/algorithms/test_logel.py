"""LOGEL and I-LOGEL: rewards and step sizes of exact policy gradients."""

import numpy as np
import pytest

from mairl.algorithms.explain import ILOGEL, LOGEL, Watched
from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.logel import gradient_jacobians, logel
from mairl.core.errors import InvalidGame, Unsupported
from mairl.data.learning_history import learning_history
from mairl.games.tabular import logel_features, logel_grid, ma_lfl_features, ma_lfl_grid, random_game
from mairl.games.tabular.logel_grid import WEIGHTS
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame

TRUTH = np.array([[-1.0, 1.0, 0, 0]] * 2)


def climb(game, weights, sizes, look_ahead=0.0, learner="naive", seed=0):
    """Exact learners; `sizes` are their steps."""
    rng = np.random.default_rng(seed)
    logits = [rng.normal(size=(game.num_agents, game.num_states, game.num_actions))]
    for size in sizes:
        logits.append(next_logits(learner, game, logits[-1], size * np.asarray(weights), look_ahead))
    return learning_history(np.stack(logits))


@pytest.fixture(scope="module")
def alone():
    return LinearGame.of(logel_grid().tables(), logel_features())


@pytest.fixture(scope="module")
def pair():
    return LinearGame.of(ma_lfl_grid().tables(), ma_lfl_features())


def test_known_steps_give_the_weights_up_to_a_constant(alone):
    history = climb(alone, [WEIGHTS], [0.1] * 5)
    found = logel(alone, history, step_sizes=[0.1] * 5)
    assert found.rank == (4,)
    assert found.relative_residual < 1e-20
    # The features sum to 1: a constant leaves no trace, and the shortest solution has none.
    np.testing.assert_allclose(found.weights[0], np.array(WEIGHTS) - np.mean(WEIGHTS), atol=1e-6)
    assert "1 of 5 directions" in found.notes[0]
    assert found.cosines([WEIGHTS])[0] == pytest.approx(1, abs=1e-12)
    constant = logel(alone, history)
    np.testing.assert_allclose(constant.weights, 0.1 * found.weights, rtol=1e-9)


def test_unknown_steps_are_found(alone):
    sizes = 0.2 / (1 + np.arange(8.0))
    found = logel(alone, climb(alone, [WEIGHTS], sizes), known=False)
    assert found.relative_residual < 1e-20
    np.testing.assert_allclose(found.step_sizes[:, 0], sizes / sizes.mean(), rtol=1e-6)
    assert found.cosines([WEIGHTS])[0] == pytest.approx(1, abs=1e-10)
    # The check can fail: one constant step does not explain shrinking ones.
    assert logel(alone, climb(alone, [WEIGHTS], sizes)).relative_residual > 1e-3


def test_noisy_steps_are_found_by_alternation(alone):
    sizes = np.array([0.1, 0.3, 0.2, 0.05, 0.25])
    history = climb(alone, [WEIGHTS], sizes)
    logits = history.logits() + 1e-4 * np.random.default_rng(0).normal(size=history.logits().shape)
    found = logel(alone, learning_history(logits), known=False)
    assert found.iterations > 1
    np.testing.assert_allclose(found.step_sizes[:, 0], sizes / sizes.mean(), rtol=0.05)
    assert found.cosines([WEIGHTS])[0] > 0.999


def test_a_step_backwards_is_named(alone):
    history = climb(alone, [WEIGHTS], [0.1, 0.1, -0.1, 0.1])
    with pytest.raises(Unsupported, match="agent 0: 1 of 4 steps, first step 2, have no positive size"):
        logel(alone, history, known=False)


def test_a_step_that_was_not_made_is_named(alone):
    logits = climb(alone, [WEIGHTS], [0.1, 0.1, 0.1]).logits()
    twice = learning_history(np.concatenate([logits[:2], logits[1:]]))
    with pytest.raises(Unsupported, match=r"1 of 4 steps, first step 1, .* the agent did not move"):
        logel(alone, twice, known=False)


@pytest.mark.parametrize("known", [True, False])
def test_predictions_take_the_last_step_size(alone, pair, known):
    sizes = 0.2 / (1 + np.arange(6.0))
    given = sizes if known else None
    for game, method, weights in ((alone, logel, [WEIGHTS]), (pair, i_logel, TRUTH)):
        history = climb(game, weights, sizes)
        found = method(game, history, step_sizes=given, known=known)
        logits = history.logits()
        np.testing.assert_allclose(found.predict(game, logits[-2]), logits[-1], atol=1e-8)


def test_an_agent_that_does_not_learn_is_named_and_the_others_are_explained(pair):
    history = climb(pair, TRUTH * [[1.0], [0.0]], [0.05] * 6)
    tables = ma_lfl_grid().tables()
    for method in (LOGEL(), LOGEL(known=False), ILOGEL(), ILOGEL(known=False)):
        found = method.explain(Watched(tables, pair, history))
        assert found.notes == (
            "agent 1: its policy did not change, so that nothing is told of what it wants; observe it before it has "
            "converged",
        )
        assert found.facts["rank"] == [4, 0]
        np.testing.assert_array_equal(found.weights[1], 0)
        if isinstance(method, ILOGEL):
            assert found.facts["relative_residual"] < 1e-20
        np.testing.assert_allclose(found.predict(history.logits()[0])[1], history.logits()[0][1], atol=1e-12)


def test_naive_agents_in_joint_play_are_explained(pair):
    found = i_logel(pair, climb(pair, TRUTH, [0.05] * 6))
    assert found.relative_residual < 1e-20
    assert min(found.cosines(TRUTH)) > 1 - 1e-12
    assert found.rank == (4, 4)
    sizes = np.array([[0.05, 0.01]] * 3)
    unlike = i_logel(pair, climb(pair, TRUTH, [0.05] * 3), step_sizes=sizes)
    np.testing.assert_allclose(unlike.weights[1], 5 * TRUTH[1], atol=1e-8)
    for one in (0.05, [0.05]):
        alike = i_logel(pair, climb(pair, TRUTH, [0.05] * 3), step_sizes=one)
        np.testing.assert_allclose(alike.weights, TRUTH, atol=1e-8)


def test_agents_that_anticipate_are_not(pair):
    """Taylor's LOLA with λ = 1 and 10 leaves about the residuals of the published check: 7e-5 and 7e-3."""
    residuals = []
    for look_ahead in (1.0, 10.0):
        found = i_logel(pair, climb(pair, TRUTH, [0.05] * 6, look_ahead, "lola-taylor"))
        residuals.append(found.relative_residual)
        assert min(found.cosines(TRUTH)) < 1 - 1e-5
    assert residuals[1] / residuals[0] == pytest.approx(100, rel=0.5)
    assert 1e-6 < residuals[0] < 1e-3


def test_one_snapshot_tells_less_than_two():
    """A reward of 81 states: rank 72 from one step, 80 from two; the constant never shows."""
    game = LinearGame.of(ma_lfl_grid().tables(), np.eye(81))
    truth = ma_lfl_grid().tables().reward[:, 0, 0].T
    history = climb(game, truth, [0.05] * 2)
    assert i_logel(game, history.snapshots(slice(0, 2))).rank == (72, 72)
    found = i_logel(game, history)
    assert found.rank == (80, 80)
    assert min(found.cosines(truth)) > 1 - 1e-10
    np.testing.assert_allclose(np.abs(found.null_space[0]), 1 / 9, atol=1e-8)
    np.testing.assert_allclose(found.identified(truth).mean(axis=1), 0, atol=1e-8)


def test_jacobians_are_the_steps_of_single_features(pair):
    history = climb(pair, TRUTH, [0.05])
    jacobians = gradient_jacobians(pair, history.logits()[:-1])
    weights = np.random.default_rng(1).normal(size=(2, 4))
    step = next_logits("naive", pair, history.logits()[0], weights, 0.0) - history.logits()[0]
    np.testing.assert_allclose(np.einsum("irk,ik->ir", jacobians[0], weights), step.reshape(2, -1), atol=1e-12)


def test_faults_are_named(alone, pair):
    history = climb(pair, TRUTH, [0.05] * 2)
    with pytest.raises(InvalidGame, match="the game has 2: use i_logel"):
        logel(pair, history)
    with pytest.raises(InvalidGame, match=r"the game is \(1, 25, 4\)"):
        logel(alone, history)
    with pytest.raises(Unsupported, match="step sizes must be positive, got -1"):
        i_logel(pair, history, step_sizes=[1.0, -1.0])
    for wrong in ([], [0.1] * 3, [[0.1] * 3] * 2):
        with pytest.raises(Unsupported, match="2 steps are explained, step sizes given are"):
            i_logel(pair, history, step_sizes=wrong)
    game = LinearGame.of(random_game(0).tables(), np.eye(5))
    with pytest.raises(Unsupported, match="policies changed by 0"):
        i_logel(game, learning_history(np.zeros((3, 2, 5, 3))))
