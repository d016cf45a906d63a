"""Learners that are only seen through what they do."""

import jax
import numpy as np
import pytest

from mairl.algorithms.cloning import action_counts, cloned
from mairl.algorithms.family_fit import Fit
from mairl.algorithms.from_trajectories import (
    advantage,
    fitted_rows,
    from_counts,
    i_lola_from_trajectories,
    predicted,
)
from mairl.algorithms.logel import gradient_jacobians
from mairl.algorithms.trajectory_likelihood import most_likely
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.exact_learning import exact_learning
from mairl.games.tabular import random_game
from mairl.games.tabular.features import linear_game
from mairl.ops.gpomdp_tabular import gpomdp_jacobian
from mairl.ops.host_softmax import log_softmax, softmax
from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import roll_out
from mairl.recipes.learning import record_exact_learning

LOOK_AHEAD = 1.5


@pytest.fixture(scope="module")
def case():
    """Learners of a small game, and its true rewards times their step size."""
    rng = np.random.default_rng(1)
    tables = random_game(3, num_states=3, num_actions=2, discount=0.7).tables()
    game = LinearGame.of(tables, rng.normal(size=(3, 2, 2, 2, 2)))
    weights = 0.8 * rng.normal(size=(2, 2))
    history = exact_learning(game, "lola-taylor", weights, LOOK_AHEAD, transitions=8, seed=2)
    return game, weights, history


def drawn(history, samples, seed=0):
    return np.random.default_rng(seed).multinomial(samples, softmax(history.logits())).astype(float)


@pytest.mark.parametrize("method", ["per-step", "telescoped", "likelihood"])
def test_with_all_the_data_the_reward_is_found(case, method):
    """Frequencies that are the policies themselves: all three ways give the exact answer."""
    game, weights, history = case
    counts = 1e9 * softmax(history.logits())
    found = from_counts(game, counts, method=method, families=("lola-taylor",), validation=0, prior=1e-6)
    assert min(found.cosines(weights)) > 1 - 1e-4
    assert found.look_ahead == pytest.approx(LOOK_AHEAD, rel=0.05)


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("method", ["telescoped", "likelihood"])
def test_minima_that_are_none_are_left(seed, method):
    """The first start ends elsewhere, with rewards turned around and much too large a look-ahead."""
    game, truth = linear_game("iterated-dilemma"), 0.05 * np.random.default_rng(seed).normal(size=(2, 4))
    history = exact_learning(game, "lola-taylor", truth, 10.0, transitions=10, seed=seed)
    found = from_counts(game, drawn(history, 10_000, seed), method=method, families=("lola-taylor",), validation=0)
    assert found.look_ahead == pytest.approx(10, rel=0.15)
    assert min(found.cosines(truth)) > 0.98


def test_likelihood_uses_samples_best(case):
    game, weights, _ = case
    history = exact_learning(game, "naive", weights, 0.0, transitions=8, seed=2)
    errors = {}
    for method in ("per-step", "telescoped", "likelihood"):
        found = [
            from_counts(game, drawn(history, 400, seed), method=method, families=("naive",), validation=0)
            for seed in range(8)
        ]
        errors[method] = np.mean([np.arccos(np.clip(found_.cosines(weights), -1, 1)) for found_ in found])
    assert errors["likelihood"] < errors["telescoped"] < errors["per-step"]


def test_more_samples_are_better(case):
    game, weights, history = case
    few, many = (
        np.mean(
            [
                from_counts(game, drawn(history, n, s), method="telescoped", families=("naive",), validation=0).cosines(
                    weights
                )
                for s in range(4)
            ]
        )
        for n in (30, 30_000)
    )
    assert many > few


def test_the_family_is_chosen_by_held_out_likelihood(case):
    game, weights, history = case
    counts = drawn(history, 1_000_000)
    found = from_counts(game, counts, method="telescoped", families=("naive", "lola-taylor"), validation=3)
    assert found.family == "lola-taylor"
    # In nats an action of the last three snapshots: those of the learners themselves, but for the errors of the fit.
    least = -value_of(counts[-3:], history.logits()[-3:]) / counts[-3:].sum()
    assert found.held_out == pytest.approx(least, abs=1e-4)
    # And it can fail: learners without look-ahead are not taken for others.
    naive = exact_learning(game, "naive", weights, 0.0, transitions=8, seed=2)
    plain = from_counts(game, drawn(naive, 1_000_000), method="telescoped", families=("naive",), validation=3)
    anticipating = from_counts(
        game, drawn(naive, 1_000_000), method="telescoped", families=("lola-taylor",), look_aheads=(8.0,), validation=3
    )
    assert plain.held_out is not None
    assert anticipating.held_out is not None
    assert plain.held_out < anticipating.held_out


def test_naive_learners_are_told_unless_others_are_clearly_likelier(case):
    """Look-ahead explains samples of naive learners as well by chance; who does look ahead is still found."""
    game, weights, history = case
    options = {"method": "telescoped", "families": ("naive", "lola-taylor"), "look_aheads": (0.5, 2.0), "validation": 3}
    naive = exact_learning(game, "naive", weights, 0.0, transitions=8, seed=2)
    found = [from_counts(game, drawn(naive, 3000, seed), **options) for seed in range(10)]
    assert sum(f.family == "naive" for f in found) >= 8
    told = [f for f in found if any("the simpler family is told" in note for note in f.notes)]
    assert 1 <= len(told) < 10
    others = [from_counts(game, drawn(history, 30_000, seed), **options) for seed in range(5)]
    assert [f.family for f in others] == ["lola-taylor"] * 5


def test_the_advantage_has_the_standard_error_of_its_mean():
    rng = np.random.default_rng(0)
    ours, theirs = log_softmax(rng.normal(size=(2, 2, 1, 3, 2)))
    counts = rng.multinomial(40, softmax(theirs)).astype(float)
    gain, error = advantage(ours, theirs, counts)
    each = np.repeat((ours - theirs).ravel(), counts.ravel().astype(int))
    assert gain == pytest.approx(each.mean())
    assert error == pytest.approx(each.std() / len(each) ** 0.5)


def test_likelihood_is_that_of_the_path(case):
    """At the truth the reported path is the learners' own, and no other path is likelier by more than noise."""
    game, weights, history = case
    counts = drawn(history, 3000)
    truth = Fit(weights, LOOK_AHEAD, 1.0, 0)
    fit, path = most_likely(game, counts, "lola-taylor", truth, history.logits()[0], free_look_ahead=True)

    def value(logits):
        return float(np.sum(counts * log_softmax(logits)))

    gained = value(path) - value(history.logits())
    # Twice the gain is about chi-squared with as many degrees as there are unknowns.
    assert 0 < gained < 0.5 * (12 / 2 + 4 + 1) * 4
    assert fit.relative_residual < 0.5
    (later,) = predicted(game, "lola-taylor", truth, history.logits()[0], 1)
    np.testing.assert_allclose(later, log_softmax(history.logits()[1]), atol=1e-9)


def value_of(counts, logits):
    return float(np.sum(counts * log_softmax(logits)))


def test_rows_are_the_definition(case):
    """Telescoped rows: weighted sums of steps, orthogonal to every shift of the start."""
    game, weights, history = case
    counts = drawn(history, 50)
    logits = cloned(counts)
    rows, target = fitted_rows(game, counts, logits, "naive", telescoped=True)
    known = counts.sum(-1, keepdims=True) * softmax(logits)
    left = (target.reshape(known.shape) * np.sqrt(known)).sum(axis=0)
    np.testing.assert_allclose(left, 0, atol=1e-8)
    move = rows.jacobian(weights, 0.0)[:, :-1] @ weights.ravel()
    np.testing.assert_allclose(move, rows.changes(weights, 0.0), atol=1e-9)


def test_cloning(case):
    counts = np.array([[[[8.0, 2.0]]], [[[0.0, 0.0]]]])
    logits = cloned(counts, 1.0)
    np.testing.assert_allclose(softmax(logits)[0, 0, 0], [8.5 / 11, 2.5 / 11])
    np.testing.assert_allclose(logits[1], logits[0], err_msg="nothing seen, nothing changed")
    with pytest.raises(InvalidData, match="prior must be positive"):
        cloned(counts, 0.0)


def test_recordings_are_counted():
    history = record_exact_learning("iterated-dilemma", "naive", transitions=3, episodes=60)
    counts = action_counts(history, 5, 2)
    assert counts.shape == (4, 2, 5, 2)
    assert counts.sum() == 4 * 2 * 60 * 50
    np.testing.assert_array_equal(counts[:, 0].sum(-1), counts[:, 1].sum(-1))
    with pytest.raises(InvalidData, match="name the game that was recorded"):
        action_counts(history, 3, 2)


def test_faults_are_named(case):
    game, _, history = case
    with pytest.raises(InvalidData, match="no recordings"):
        i_lola_from_trajectories(game, history)
    with pytest.raises(InvalidData, match="at least one is needed to fit"):
        from_counts(game, drawn(history, 5), validation=8)
    with pytest.raises(Unsupported, match="unknown learner ppo"):
        from_counts(game, drawn(history, 5), families=("ppo",))
    with pytest.raises(Unsupported, match="0 or more"):
        from_counts(game, drawn(history, 5), look_aheads=(-1.0,))
    with pytest.raises(Unsupported, match="policies changed by"):
        from_counts(game, np.ones((4, 2, 3, 2)))


def test_gradients_from_play_are_the_exact_ones_on_average(case):
    game, _, history = case
    logits = history.logits()[3]
    with jax.enable_x64(True):
        play = roll_out(jax.random.key(0), game, logits, episodes=40_000, horizon=40)
    states, actions = np.asarray(play.states), np.asarray(play.actions)
    for agent in range(2):
        seen = game.features[states, actions[..., 0], actions[..., 1], agent]
        args = (states, actions[..., agent], seen, np.asarray(play.alive), logits[agent], game.discount)
        want = gradient_jacobians(game, logits[None])[0, agent]
        parts = [gpomdp_jacobian(*(x[k::10] for x in args[:4]), *args[4:]) for k in range(10)]
        error = np.std(parts, axis=0, ddof=1) / 10**0.5
        assert np.max(np.abs(np.mean(parts, axis=0) - want) / error) < 5
        # A discount that is not the game's is seen.
        wrong = gpomdp_jacobian(*args[:5], 0.9)
        assert np.max(np.abs(wrong - want) / error) > 10
