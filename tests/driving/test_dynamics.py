"""Models of motion: by hand, back from their own motions, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.driving.dynamics import Bicycle, DeltaLocal, Grid, InvertibleBicycle, Jerk, Motion, motion, wrap
from mairl.driving.tracking import replay

MODELS = [Bicycle(), InvertibleBicycle(), DeltaLocal(), Jerk()]
LENGTH, DT = 5.0, 0.1


def start(count=200, seed=0, slowest=-3.0) -> Motion:
    rng = np.random.default_rng(seed)
    heading = rng.uniform(-np.pi, np.pi, count)
    speed = rng.uniform(slowest, 20, count)
    places = rng.uniform(-50, 50, (2, count))
    values = (*places, heading, speed * np.cos(heading), speed * np.sin(heading))
    return motion(*(jnp.asarray(v, jnp.float32) for v in values))


def actions(model, count=200, seed=1, share=0.9):
    low, high = np.array(model.low), np.array(model.high)
    drawn = np.random.default_rng(seed).uniform(-1, 1, (count, len(low))) * share
    return jnp.asarray((low + high) / 2 + drawn * (high - low) / 2, jnp.float32)


def test_bicycle_by_hand():
    # Eqs. 34-38 on the rear axle, 1.5 m behind the middle of a vehicle of 5 m.
    before = motion(*(jnp.asarray(v) for v in (1.5, 0.0, 0.0, 10.0, 0.0)))
    after = Bicycle().step(before, jnp.array([2.0, 0.1]), jnp.asarray(LENGTH), 0.5)
    turn = 10 / 3.0 * np.tan(0.1) * 0.5
    np.testing.assert_allclose(after.heading, turn, rtol=1e-6)
    np.testing.assert_allclose([after.x, after.y], [5.0 + 1.5 * np.cos(turn), 1.5 * np.sin(turn)], rtol=1e-5)
    np.testing.assert_allclose(after.speed, 11.0, rtol=1e-6)


def test_invertible_bicycle_by_hand():
    before = motion(*(jnp.asarray(v) for v in (0.0, 0.0, np.pi / 2, 0.0, 10.0)))
    after = InvertibleBicycle().step(before, jnp.array([-2.0, 0.1]), jnp.asarray(LENGTH), 0.5)
    d = 5.0 - 0.25
    np.testing.assert_allclose([after.x, after.y, after.speed], [0.0, d, 9.0], atol=1e-5)
    np.testing.assert_allclose(after.heading, np.pi / 2 + 0.1 * d, rtol=1e-6)


def test_jerk_by_hand():
    before = motion(*(jnp.asarray(v) for v in (0.0, 0.0, 0.0, 10.0, 0.0)))
    after = Jerk().step(before, jnp.array([10.0, 5.0]), jnp.asarray(LENGTH), 0.1)
    np.testing.assert_allclose([after.acceleration, after.speed], [1.0, 10.1], rtol=1e-6)
    np.testing.assert_allclose(after.curvature, 0.5 / 100, rtol=1e-6)
    np.testing.assert_allclose(after.heading, 0.005 * 1.005, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_the_inverse_gives_back_the_motion(model):
    before, taken = start(slowest=1.0), actions(model, share=0.3)
    after = model.step(before, taken, jnp.asarray(LENGTH), DT)
    again = model.step(before, model.inverse(before, after, jnp.asarray(LENGTH), DT), jnp.asarray(LENGTH), DT)
    for name in ("x", "y", "heading", "vx", "vy"):
        np.testing.assert_allclose(getattr(again, name), getattr(after, name), atol=2e-4)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_actions_out_of_bounds_are_those_at_the_bounds(model):
    before = start(4)
    far, edge = (jnp.tile(jnp.asarray(model.high) * f, (4, 1)) for f in (3.0, 1.0))
    there = (model.step(before, a, jnp.asarray(LENGTH), DT) for a in (far, edge))
    for x, y in zip(*(jax.tree.leaves(m) for m in there), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_gradients_through_80_steps_against_finite_differences(model):
    with jax.enable_x64(True):
        first = jax.tree.map(lambda x: x[0].astype(jnp.float64), start(1, seed=5, slowest=8.0))
        low, high = np.array(model.low), np.array(model.high)
        wave = np.sin(np.arange(80)[:, None] / 7 + np.arange(len(low)))
        plan = jnp.asarray((low + high) / 2 + 0.02 * wave * (high - low))

        def end(plan):
            def one(now, action):
                return model.step(now, action, jnp.asarray(LENGTH), DT), None

            last, _ = jax.lax.scan(one, first, plan)
            return last.x + 2 * last.y + 3 * jnp.sin(last.heading)

        slope = jax.grad(end)(plan)
        rng = np.random.default_rng(0)
        for _ in range(3):
            way = jnp.asarray(rng.normal(size=plan.shape))
            expected = (end(plan + 1e-5 * way) - end(plan - 1e-5 * way)) / 2e-5
            np.testing.assert_allclose(jnp.sum(slope * way), expected, rtol=1e-5)


def test_gradients_are_finite_at_a_standstill():
    for model in MODELS:
        still = motion(*(jnp.zeros(()) for _ in range(5)))

        def go(action, model=model, still=still):
            after = model.step(still, action, jnp.asarray(LENGTH), DT)
            back = model.inverse(still, after, jnp.asarray(LENGTH), DT)
            return after.x + after.heading + jnp.sum(back)

        assert np.isfinite(jax.jit(jax.grad(go))(jnp.zeros(len(model.low)))).all()


def test_discrete_actions_hold_nothing_and_the_bounds():
    grid = Grid(InvertibleBicycle(), (7, 13))
    every = np.asarray(grid.continuous(jnp.arange(grid.num_actions)))
    assert every.shape == (91, 2)
    assert (every == 0).all(1).any()
    np.testing.assert_allclose(every.max(0), grid.model.high, rtol=1e-6)
    np.testing.assert_array_equal(grid.nearest(jnp.asarray(every)), np.arange(91))


def test_angles_wrap():
    np.testing.assert_allclose(wrap(jnp.array([3.2, -3.2, 0.5])), [3.2 - 2 * np.pi, 2 * np.pi - 3.2, 0.5], atol=1e-6)


def test_the_same_action_of_displacement_is_as_fast_at_any_step():
    before, model = start(4), DeltaLocal()
    one, ten = (
        model.step(before, jnp.tile(jnp.array([8.0, 0.5, 0.2]), (4, 1)), jnp.asarray(LENGTH), dt) for dt in (0.1, 1.0)
    )
    for name in ("x", "y"):
        np.testing.assert_allclose(
            getattr(ten, name) - getattr(before, name), 10 * (getattr(one, name) - getattr(before, name)), atol=1e-4
        )
    np.testing.assert_allclose(wrap(ten.heading - before.heading), 0.2, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "mean"), [(Bicycle(), 0.1), (InvertibleBicycle(), 0.1), (DeltaLocal(), 1e-3), (Jerk(), 0.1)]
)
def test_a_replay_stays_near_what_was_driven(model, mean):
    # A vehicle that speeds up, turns and brakes, logged with noise in position, heading and speed.
    time = np.arange(91) * DT
    speed = 8 + 3 * np.sin(time / 2)
    heading = 0.8 * np.sin(time / 3)
    rng = np.random.default_rng(0)
    x = np.cumsum(speed * np.cos(heading) * DT) + rng.normal(0, 0.02, 91)
    y = np.cumsum(speed * np.sin(heading) * DT) + rng.normal(0, 0.02, 91)
    heading, speed = heading + rng.normal(0, 0.01, 91), speed + rng.normal(0, 0.1, 91)
    values = (x, y, heading, speed * np.cos(heading), speed * np.sin(heading))
    logged = motion(*(jnp.asarray(v, jnp.float32) for v in values))
    taken, driven = replay(model, logged, jnp.asarray(4.5), DT)
    error = np.hypot(driven.x - logged.x, driven.y - logged.y)
    assert taken.shape == (90, len(model.low))
    assert error.mean() < mean
    assert error.max() < 5 * mean


def test_discrete_actions_are_named_by_their_values():
    grid = Grid(Bicycle(), bins=(3, 3), bend=(1.0, 1.0))
    names = grid.names()
    assert len(set(names)) == grid.num_actions == 9
    assert names[4] == "+0, +0"
    for name, value in zip(names, np.asarray(grid.continuous(jnp.arange(9))), strict=True):
        np.testing.assert_allclose([float(part) for part in name.split(",")], value, rtol=0.05)
