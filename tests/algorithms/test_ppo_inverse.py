"""PPO's updates as functions of the reward: repeated exactly, differentiated, inverted."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.explain_ppo import deviation, linear, make_case, to_learn_from
from mairl.algorithms.fit import fit
from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_gradients import designs, fit_gradients, fit_step, moved
from mairl.algorithms.ppo_inverse import DAMPINGS, SCALES, as_told, deviations, invert_ppo, on_sphere, residuals, untold
from mairl.algorithms.ppo_inverse_cmaes import invert_ppo_cmaes
from mairl.algorithms.ppo_observations import observation_bases
from mairl.algorithms.ppo_paid import LinearPayment
from mairl.algorithms.ppo_record import ppo_record, record_ppo
from mairl.algorithms.ppo_replay import as_weights, moves, observed_moves, parameters, products, stretches
from mairl.algorithms.recorder import Recorder
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.learning_history import learning_history
from mairl.games.simple_spread.game import SimpleSpread
from mairl.networks.build import NetworkConfig

GAME = SimpleSpread(local_ratio=0.2)
LEARNER = PPO(
    num_envs=16,
    num_steps=25,
    minibatches=2,
    epochs=2,
    learning_rate=2e-3,
    discount=0.9,
    network=NetworkConfig(kind="mlp", width=12, depth=1, activation="tanh"),
)


@pytest.fixture(autouse=True, scope="module")
def not_cached():
    """Replays of whole updates make programs so large that jaxlib 0.10.2 can crash when it writes them to a cache."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, float("inf"))
    yield
    jax.config.update(name, before)


@pytest.fixture(scope="module")
def record():
    return eqx.filter_jit(record_ppo)(LEARNER, GAME, jax.random.key(3), skip=6, steps=5)


@pytest.fixture(scope="module")
def table(record):
    return designs(LEARNER, record, "joint")


@pytest.fixture(scope="module")
def gradient(record, table):
    return fit_gradients(table, record)


def cosines(record, weights):
    scale = deviations(record)
    a, b = on_sphere(np.asarray(weights), scale) * scale, on_sphere(GAME.feature_weights(), scale) * scale
    return np.sum(a * b, axis=1)


def in_all(record, weights):
    """The same weights in every update."""
    return jnp.broadcast_to(jnp.asarray(weights, jnp.float32), (record.num_steps, *np.shape(weights)))


def missed(record, weights):
    run = eqx.filter_jit(moves)
    apart = run(LEARNER, record, in_all(record, weights), "all", None) - observed_moves(record)
    return np.asarray(jnp.sum(apart**2, axis=(0, 2)) / jnp.sum(observed_moves(record) ** 2, axis=(0, 2)))


def test_the_true_reward_repeats_the_updates_and_another_does_not(record):
    truth = GAME.feature_weights()
    assert missed(record, truth).max() < 1e-8
    wrong = np.array(truth)
    wrong[1] = -wrong[1]
    # Only the agent whose reward is wrong goes elsewhere.
    assert missed(record, wrong)[[0, 2]].max() < 1e-8
    assert missed(record, wrong)[1] > 0.5


def test_derivatives_agree_with_finite_differences(record):
    first = record.steps(slice(0, 1))
    weights = jnp.asarray(GAME.feature_weights(), jnp.float32)
    direction = jnp.zeros_like(weights).at[:, 2].set(1.0)

    @eqx.filter_jit
    def both(shift):
        def run(w):
            return moves(LEARNER, first, in_all(first, w), "all", None)

        return jax.jvp(run, (weights,), (direction,))[1], run(weights + shift * direction)

    slope, ahead = both(2e-3)
    _, behind = both(-2e-3)
    numeric = (ahead - behind) / 4e-3
    # Simple Spread shows zeros: weights that never have a gradient must not spoil the others' derivatives.
    assert float(jnp.linalg.norm(slope)) > 1e-3
    assert float(jnp.linalg.norm(slope - numeric)) < 0.03 * float(jnp.linalg.norm(slope))


def test_gradients_point_to_the_reward(record, table, gradient):
    assert cosines(record, gradient.weights).min() > 0.3
    assert cosines(record, gradient.weights).mean() > 0.5
    # The step that explains the changes best explains a part of them; against the truth no step is positive.
    assert gradient.relative_residual.max() < 0.99
    assert np.all(fit_step(table, record, -GAME.feature_weights()) == 0)


def test_with_everything_recorded_the_reward_is_found_with_its_scale(record, gradient):
    found = invert_ppo(LEARNER, record, 1e3 * gradient.weights, "all", max_iterations=15)
    assert found.relative_residual.max() < 1e-3
    assert len(SCALES) < found.evaluations <= len(SCALES) + found.iterations * (1 + 2 * 6 + len(DAMPINGS))
    np.testing.assert_allclose(found.weights, GAME.feature_weights(), atol=0.03)
    assert cosines(record, found.weights).min() > 0.998


def test_derivatives_find_it_too_but_not_from_everywhere(record, gradient):
    near = invert_ppo(LEARNER, record, 1.2 * GAME.feature_weights(), "all", slopes="derivatives")
    assert near.relative_residual.max() < 1e-3
    assert near.evaluations <= len(SCALES) + near.iterations * (1 + 6 + len(DAMPINGS))
    far = invert_ppo(LEARNER, record, gradient.weights, "all", slopes="derivatives")
    assert np.median(far.relative_residual) < 1e-3


def test_from_play_alone_the_direction_is_found(record, gradient):
    found = invert_ppo(LEARNER, record, gradient.weights, "play", max_iterations=8)
    assert cosines(record, found.weights).min() > 0.8
    assert cosines(record, found.weights).mean() > cosines(record, gradient.weights).mean()
    assert found.relative_residual.max() < 0.5 < gradient.relative_residual.min()
    np.testing.assert_allclose(np.linalg.norm(found.weights * deviations(record), axis=1), 1.0, rtol=1e-6)
    # The truth needs a critic too. With the one that fits it best it explains hardly less.
    true = invert_ppo(LEARNER, record, GAME.feature_weights(), "play", only_learner=True, max_iterations=8)
    np.testing.assert_allclose(cosines(record, true.weights), 1.0, rtol=1e-6)
    assert np.all(np.abs(true.relative_residual - found.relative_residual) < 0.05)
    flat = true.unknowns(np.arange(record.num_steps)) * (np.arange(25) < 6)
    without = products(LEARNER, record, as_weights(flat), "play", observation_bases(record, 0))
    assert np.all(residuals(without, False)[1] > true.relative_residual + 0.05)


def test_without_derivatives_a_critic_says_the_same_of_every_observation(record):
    searched = invert_ppo_cmaes(LEARNER, record, "play", evaluations=180, population=12)
    assert searched.evaluations == 181
    assert cosines(record, searched.weights).min() > 0.8
    assert searched.relative_residual.max() < 0.65
    assert np.all(searched.critics[..., 0] != 0)
    assert np.all(searched.critics[..., 1:] == 0)


def test_parameters_and_moved_are_inverses(record):
    first = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, record)
    change = parameters(first.after) - parameters(first.before.policy)
    again = moved(first.before.policy, change)
    np.testing.assert_allclose(parameters(again), parameters(first.after), atol=1e-7)


def test_histories_recorded_by_fit_are_repeated(tmp_path):
    game = SimpleSpread(local_ratio=0.2, continuous=True)
    recorder = Recorder(tmp_path / "updates", every=2)
    fit(LEARNER, game, budget=6 * 400, seeds=[1], episodes=0, select="last", recorder=recorder)
    history = recorder.history(LEARNER, game)
    ppo, record = ppo_record(history, game)
    assert ppo == LEARNER
    assert record.num_steps == 3
    weights = jnp.asarray(game.feature_weights(), jnp.float32)
    again = eqx.filter_jit(moves)(ppo, record, weights, "all", None)
    np.testing.assert_allclose(again, observed_moves(record), atol=2e-6)
    bare = dataclasses.replace(history, optimiser=None)
    with pytest.raises(InvalidData, match="record-learning"):
        ppo_record(bare, game)
    with pytest.raises(InvalidData, match="no updates, PPO"):
        ppo_record(learning_history(np.zeros((2, 2, 4, 3))), game)


def test_gaps_in_a_history_and_a_falling_rate(tmp_path):
    learner = dataclasses.replace(LEARNER, anneal_updates=8)
    recorder = Recorder(tmp_path / "updates", every=3, stretch=2)
    fit(learner, GAME, budget=8 * 400, seeds=[1], episodes=0, select="last", recorder=recorder)
    ppo, record = ppo_record(recorder.history(learner, GAME), GAME)
    assert stretches(ppo, record).tolist() == [0, 0, 1, 1, 2, 2]
    assert stretches(ppo, record.steps([0, 1, 3, 5])).tolist() == [0, 0, 1, 2]
    # Moments that are not known begin empty after each gap, and the rate is where it was.
    again = eqx.filter_jit(moves)(ppo, record, in_all(record, GAME.feature_weights()), "critic", None)
    seen = observed_moves(record)
    size = np.asarray(jnp.linalg.norm(again, axis=2) / jnp.linalg.norm(seen, axis=2))
    assert ((size > 0.7) & (size < 2.2)).all()
    assert np.abs(size[:2] - 1).max() < 0.05
    turned = np.asarray(jnp.sum(again * seen, axis=2) / jnp.sum(seen**2, axis=2)) / size
    assert turned[:2].min() > 0.95
    assert turned[[2, 4]].min() > 0.3
    assert turned[[3, 5]].min() > 0.7
    assert float(jnp.linalg.norm(seen[-1]) / jnp.linalg.norm(seen[0])) < 0.4
    # Each stretch has a critic of its own, and with it more is explained than with one for all.
    fitted = record.steps([0, 2, 3, 4])
    found = invert_ppo(ppo, fitted, GAME.feature_weights(), "play", max_iterations=2)
    assert found.critics.shape == (4, 3, 19)
    np.testing.assert_array_equal(found.critics[1], found.critics[2])
    assert np.abs(found.critics[0] - found.critics[1]).max() > 1e-3
    assert found.unknowns(np.array([0, 0, 1, 2, 3, 3])).shape == (6, 3, 25)


def test_a_reward_with_a_scale_is_learned_from_as_it_is(record):
    case, truth = make_case(LEARNER, record, [4], 0), linear(GAME.feature_weights())
    unit, kept = to_learn_from(case, truth), to_learn_from(case, truth, has_scale=True)
    assert isinstance(unit, LinearPayment)
    assert isinstance(kept, LinearPayment)
    assert case.unused == ()
    np.testing.assert_allclose(kept.weights, truth.weights)
    np.testing.assert_allclose(deviation(case, unit), 1.0, rtol=1e-5)
    assert np.ptp(np.asarray(unit.weights / truth.weights)[0, :2]) < 1e-5


def test_features_that_always_come_together_are_told_as_one(record):
    twice = eqx.tree_at(
        lambda r: r.features, record, jnp.concatenate([record.features, 3 * record.features[..., :1]], -1)
    )
    for space in untold(twice):
        # In deviations of the features: one more of the one, one less of the other.
        np.testing.assert_allclose(np.abs(space[:, 0]), [0.5**0.5, 0, 0, 0, 0, 0, 0.5**0.5], atol=1e-4)
        assert space[0, 0] * space[-1, 0] < 0
    assert [space.shape for space in untold(record)] == 3 * [(6, 0)]
    # The least reward that pays the same: as much for the one as for the other, in deviations.
    weights = np.tile([1.0, 0, 0, 0, 0, 0, 2.0], (3, 1))
    np.testing.assert_allclose(as_told(twice, weights)[:, [0, 6]], [[3.5, 3.5 / 3]] * 3, rtol=1e-4)
    np.testing.assert_allclose(as_told(record, weights[:, :6]), weights[:, :6])


def test_what_cannot_be_told_is_refused(record):
    flat = eqx.tree_at(lambda r: r.features, record, record.features.at[..., 3].set(1.0))
    with pytest.raises(Unsupported, match=r"features \[3\] do not vary"):
        deviations(flat)
    with pytest.raises(Unsupported, match="first guess is 0"):
        on_sphere(np.zeros((2, 3)), np.ones(3))
    still = eqx.tree_at(lambda r: r.after, record, record.before.policy)
    with pytest.raises(Unsupported, match="no parameter changed"):
        fit_gradients(np.ones((5, 3, 1, 6)), still)
