"""Simple Spread: its contract, and values worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.games import make_game
from mairl.games.simple_spread import FEATURES, SimpleSpread, SpreadState
from mairl.testing import check_game

KEY = jax.random.key(0)


def at(place, velocity=None, landmark=None, time=0):
    place = jnp.asarray(place, float)
    velocity = jnp.zeros_like(place) if velocity is None else jnp.asarray(velocity, float)
    landmark = place if landmark is None else jnp.asarray(landmark, float)
    return SpreadState(place, velocity, landmark, jnp.int32(time))


@pytest.mark.parametrize("name", ["simple-spread", "simple-spread:continuous=True,agents=2,local_ratio=0.2,horizon=7"])
def test_keeps_the_contract(name):
    check_game(make_game(name), KEY)


def test_a_push_acts_on_the_next_move():
    game = SimpleSpread(agents=2)
    state = at([[0, 0], [1, 1]], velocity=[[1, 0], [0, -2]])
    after, step = game.step(KEY, state, jnp.array([2, 3]))
    np.testing.assert_allclose(after.place, [[0.1, 0], [1, 0.8]], atol=1e-6)
    np.testing.assert_allclose(after.velocity, [[0.75 + 0.5, 0], [0, -1.5 - 0.5]], atol=1e-6)
    assert not step.terminated.any()
    assert not step.truncated


@pytest.mark.parametrize("action", range(5))
def test_both_kinds_of_actions_push_alike(action):
    state = at([[0, 0], [1, 1]])
    discrete, _ = SimpleSpread(agents=2).step(KEY, state, jnp.array([action, 0]))
    vector = jnp.zeros((2, 5)).at[0, action].set(1.0)
    continuous, _ = SimpleSpread(agents=2, continuous=True).step(KEY, state, vector)
    np.testing.assert_array_equal(discrete.velocity, continuous.velocity)
    half, _ = SimpleSpread(agents=2, continuous=True).step(KEY, state, vector / 2)
    np.testing.assert_allclose(half.velocity, continuous.velocity / 2, atol=1e-7)
    beyond, _ = SimpleSpread(agents=2, continuous=True).step(KEY, state, vector * 9)
    np.testing.assert_array_equal(beyond.velocity, continuous.velocity)


def test_agents_that_overlap_are_driven_apart():
    # Overlap 0.1, far beyond the margin of 0.001: force 100 * 0.1 along x for 0.1 s.
    after, step = SimpleSpread(agents=2).step(KEY, at([[0, 0], [0.2, 0]]), jnp.array([0, 0]))
    np.testing.assert_allclose(after.velocity, [[-1, 0], [1, 0]], atol=1e-4)
    np.testing.assert_array_equal(step.info["collisions"], [1, 1])
    # They just touch: the softplus of 0 is ln 2.
    after, _ = SimpleSpread(agents=2).step(KEY, at([[0, 0], [0.3, 0]]), jnp.array([0, 0]))
    np.testing.assert_allclose(after.velocity[1], [0.1 * 100 * 1e-3 * np.log(2), 0], atol=1e-5)


def test_rewards_and_features_by_hand():
    game = SimpleSpread(agents=3, local_ratio=0.25)
    state = at([[0, 0], [0.2, 0], [2, 0]], landmark=[[0, 0.3], [2, 1], [5, 0]], velocity=[[0, 0], [0, 0], [0, 1]])
    after, step = game.step(KEY, state, jnp.array([0, 0, 4]))
    np.testing.assert_allclose(after.place[2], [2, 0.1], atol=1e-6)
    coverage = -(0.3 + 0.9 + np.hypot(3, 0.1))
    np.testing.assert_allclose(step.reward, 0.75 * coverage - 0.25 * np.array([1, 1, 0]), rtol=1e-5)
    found = dict(zip(FEATURES, game.features(state, jnp.array([0, 0, 4]), after).T, strict=True))
    np.testing.assert_allclose(found["coverage"], [coverage] * 3, rtol=1e-6)
    np.testing.assert_array_equal(found["collisions"], [1, 1, 0])
    np.testing.assert_allclose(found["nearest"], [0.3, np.hypot(0.2, 0.3), 0.9], rtol=1e-5)
    np.testing.assert_allclose(found["apart"][2], (np.hypot(2, 0.1) + np.hypot(1.8, 0.1)) / 2, rtol=1e-5)
    np.testing.assert_allclose(found["speed"][2], 1.25, rtol=1e-6)
    np.testing.assert_array_equal(found["effort"], [0, 0, 1])
    np.testing.assert_array_equal(game.feature_weights(), [[0.75, -0.25, 0, 0, 0, 0]] * 3)


def test_what_is_seen():
    game = SimpleSpread()
    state = at([[0, 0], [1, 2], [3, 4]], velocity=[[5, 6], [0, 0], [0, 0]], landmark=[[7, 8], [9, 10], [11, 12]])
    seen = np.asarray(game.observe(state))
    np.testing.assert_array_equal(seen[0], [5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 0, 0, 0, 0])
    np.testing.assert_array_equal(seen[1, 10:14], [-1, -2, 2, 2])


def test_starts_fill_the_arena():
    states, _ = jax.vmap(SimpleSpread().reset)(jax.random.split(KEY, 2000))
    places = np.concatenate([states.place.reshape(-1), states.landmark.reshape(-1)])
    assert places.min() > -1
    assert places.max() < 1
    np.testing.assert_allclose([places.mean(), places.var()], [0, 1 / 3], atol=0.02)


def test_the_time_limit_truncates():
    _, step = SimpleSpread().step(KEY, at([[0, 0], [1, 1], [2, 2]], time=24), jnp.zeros(3, int))
    assert step.truncated
    assert not step.terminated.any()


def test_motion_can_be_differentiated_where_agents_meet():
    state = at([[0, 0], [0.2, 0]])
    game = SimpleSpread(agents=2)
    slope = jax.jit(jax.jacobian(lambda p: game.step(KEY, at(p), jnp.array([0, 0]))[0].velocity[0, 0]))(state.place)
    # 100 N per unit of overlap, for 0.1 s.
    np.testing.assert_allclose(slope[:, 0], [-10, 10], rtol=1e-3)
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("option", ["agents=1", "local_ratio=1.5", "horizon=0", "speed=3"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InvalidGame):
        make_game(f"simple-spread:{option}")


def test_the_picture_shows_who_is_where():
    game = SimpleSpread(agents=2)
    image = game.render(at([[-1, 0], [1, 0]], landmark=[[0, 1], [0, -1]]))
    blue, red = image[180, 60].astype(int), image[180, 300].astype(int)
    assert blue[2] > blue[0] + 40
    assert red[0] > red[2] + 40
