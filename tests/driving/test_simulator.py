"""One step of driving: what follows from what, what replays its log, and that gradients are right."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.transition import observe as observed
from mairl.driving.dynamics import Bicycle, Grid, InvertibleBicycle, Jerk
from mairl.driving.game import Driving
from mairl.driving.load import GRIDS, load
from mairl.driving.observe import Sight
from mairl.driving.prepare import LOG, WorldConfig
from mairl.driving.record import following_actions, record_logs
from mairl.driving.rewards import FEATURES, RewardWeights, features
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import EVENTS, Rules, advance, scene_of
from mairl.metrics.driving import drive
from mairl.scenarios.generate import generate

SMALL = Sight(partners=3, edges=8, others=8)


@pytest.fixture(scope="module")
def worlds():
    scenes = [generate(3, "four_way_signal", steps=41), generate(5, "t_stop", steps=41)]
    return load(scenes, WorldConfig(num_agents=6, num_others=10, grid=GridConfig(edges=32, others=16)))[0]


@pytest.fixture(scope="module")
def game(worlds):
    return Driving(worlds, sight=SMALL)


def rolled(game, actions_of, world=0, steps=None):
    """States and steps of one world under `actions_of(game, state, time)`."""
    return run(game, actions_of, jnp.asarray(world), steps or game.horizon)


@eqx.filter_jit
def run(game, actions_of, world, steps):
    def tick(state, time):
        after, step = game.step(jax.random.key(0), state, actions_of(game, state, time))
        return after, (after, step)

    state, _ = game.reset_to(world)
    return jax.lax.scan(tick, state, jnp.arange(steps))[1]


@pytest.mark.parametrize("dynamics", GRIDS)
def test_every_grid_of_actions_can_follow_logs(worlds, dynamics):
    game = Driving(worlds, GRIDS[dynamics], sight=SMALL)
    _, steps = rolled(game, follow)
    driven = np.asarray(worlds.driven[0])
    assert np.asarray(steps.info["goal"]).any(0)[driven].mean() > 0.6


def hard_left(game, state, time):
    return jnp.full(game.num_agents, game.dynamics.num_actions - 1, jnp.int32)


def follow(game, state, time):
    return following_actions(game, state)


def test_keeping_to_the_logs_reaches_every_goal_and_hits_nothing(game, worlds):
    for dynamics in (Grid(Bicycle()), InvertibleBicycle(), Grid(Jerk(), bend=(1.0, 1.0))):
        own = dataclasses.replace(game, dynamics=dynamics)
        for world in range(2):
            _, steps = rolled(own, follow, world)
            driven = np.asarray(worlds.driven[world])
            reached = np.asarray(steps.info["goal"]).sum(0)
            np.testing.assert_array_equal(reached, driven.astype(int))
            assert not np.asarray(steps.info["collision"]).any()
            assert not np.asarray(steps.info["off_road"]).any()


@pytest.mark.parametrize("outcome", ["remove", "stop", "ignore"])
def test_what_follows_on_leaving_the_road(worlds, outcome):
    rules = Rules(at_off_road=outcome, at_collision="ignore", at_goal="ignore", red_lights=False)
    states, steps = rolled(Driving(worlds, rules=rules, sight=SMALL), hard_left)
    off, mask = np.asarray(steps.info["off_road"]), np.asarray(steps.mask)
    driven = np.asarray(worlds.driven[0])
    first = np.where(off.any(0), off.argmax(0), -1)
    assert (first[driven] >= 0).any()
    assert not off[:, ~driven].any()
    x = np.asarray(states.motion.x)
    for agent in np.flatnonzero(first >= 0):
        later = slice(first[agent] + 1, None)
        if outcome == "ignore":
            assert mask[:, agent].all()
        else:
            assert not mask[later, agent].any()
            assert off[later, agent].sum() == 0
            assert np.asarray(steps.terminated)[later, agent].all()
            assert len(np.unique(x[later, agent])) <= 1
            assert (np.asarray(states.away)[-1, agent]) == (outcome == "remove")
            assert (np.asarray(states.parked)[-1, agent]) == (outcome == "stop")


def test_who_is_taken_off_the_road_is_no_longer_there(game, worlds):
    states, _ = rolled(game, hard_left)
    last = jax.tree.map(lambda x: x[-1], states)
    away = np.asarray(last.away)
    assert away.any()
    scene = eqx.filter_jit(scene_of)(worlds, last)
    assert not np.asarray(scene.present)[: worlds.num_agents][away].any()


def test_everybody_else_replays_the_log(game, worlds):
    states, _ = rolled(game, hard_left, steps=20)
    scenes = jax.vmap(lambda s: scene_of(worlds, s))(states)
    log = np.asarray(worlds.log[0, 1:21])
    n = worlds.num_agents
    np.testing.assert_array_equal(scenes.x[:, n:], log[:, LOG.index("x"), n:])
    np.testing.assert_array_equal(scenes.present[:, n:], log[:, LOG.index("valid"), n:] > 0)


def test_a_goal_is_paid_once(worlds):
    rules = Rules(at_goal="ignore", goal_radius=1e3)
    _, steps = rolled(Driving(worlds, rules=rules, sight=SMALL, reward=RewardWeights(goal=1.0)), follow)
    np.testing.assert_array_equal(np.asarray(steps.reward).sum(0), np.asarray(worlds.driven[0]).astype(float))


def test_goals_may_ask_for_heading_and_speed(worlds):
    for rules in (Rules(goal_radius=1e3, goal_speed=-1.0), Rules(goal_radius=1e3, goal_heading=-1.0)):
        _, steps = rolled(Driving(worlds, rules=rules, sight=SMALL), follow, steps=3)
        assert not np.asarray(steps.info["goal"]).any()


def test_the_same_actions_give_the_same_play_at_any_batch_size(game):
    def run(count):
        def tick(states, key):
            actions = jax.random.randint(key, (game.num_agents,), 0, 91)
            after, step = jax.vmap(lambda s: game.step(key, s, actions))(states)
            return after, (step.obs, step.reward)

        first = jax.vmap(lambda k: game.reset_to(k % 2)[0])(jnp.arange(count))
        return jax.lax.scan(tick, first, jax.random.split(jax.random.key(3), 30))[1]

    two, again, six = jax.jit(run, static_argnums=0)(2), jax.jit(run, static_argnums=0)(2), None
    six = jax.jit(run, static_argnums=0)(6)
    for a, b, c in zip(*(jax.tree.leaves(x) for x in (two, again, six)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(c, float)[:, :2], atol=1e-5)


def test_rewards_are_features_times_weights(game, worlds):
    @eqx.filter_jit
    def one_step(game, worlds, state):
        action = game.continuous(following_actions(game, state))
        after, events, _ = advance(worlds, game.model, game.rules, state, action)
        return after, features(worlds, state, after, events)

    state, _ = eqx.filter_jit(game.reset_to)(0)
    after, value = jax.tree.map(np.asarray, one_step(game, worlds, state))
    driven = np.asarray(worlds.driven[0])
    assert (value[~driven] == 0).all()
    speed = np.asarray(after.motion.speed)[driven]
    np.testing.assert_allclose(value[driven, FEATURES.index("speed")], speed / 10, atol=1e-6)
    np.testing.assert_allclose(value[driven, FEATURES.index("time")], 1.0)
    weights = RewardWeights(speed=2.0, time=-1.0)
    own = dataclasses.replace(game, reward=weights)
    _, step = eqx.filter_jit(own.step)(jax.random.key(0), state, following_actions(game, state))
    np.testing.assert_allclose(np.asarray(step.reward)[driven], 0.2 * speed - 1.0, rtol=1e-5)
    assert set(step.info) == set(EVENTS)


def test_history_is_what_was_and_stands_in_the_present_frame(worlds):
    game = Driving(worlds, sight=dataclasses.replace(SMALL, partners=15, history=2))
    states, steps = rolled(game, follow, steps=4)
    past = np.asarray(states.past)
    assert past.shape[1:] == (2, 6, worlds.num_slots)
    before = scene_of(worlds, jax.tree.map(lambda x: x[2], states))
    np.testing.assert_allclose(past[3, 0, 0], before.x, atol=1e-6)
    np.testing.assert_allclose(past[3, 1], past[2, 0], atol=1e-6)
    seen = jax.tree.map(lambda x: np.asarray(x)[3], steps.obs)
    assert seen["past"].shape == (6, 2, 5, 15)
    # Whoever stands still was where it is.
    now, then = seen["partners"][:, :2], seen["past"][:, 0, :2]
    still = (np.abs(seen["partners"][:, 6]) < 1e-6) & seen["past_mask"][:, 0] & seen["partners_mask"]
    own = np.abs(np.asarray(states.motion.speed)[3])[:, None] < 50
    assert np.abs((now - then).transpose(0, 2, 1)[still & own]).max(initial=0.0) < 1e-4


def test_gradients_of_positions_through_eighty_steps_are_finite_differences(worlds):
    game = Driving(worlds, Bicycle(), sight=SMALL)
    n = game.num_agents
    rng = np.random.default_rng(0)
    plan = jnp.asarray(0.05 * rng.normal(size=(80, n, 2)))

    @eqx.filter_jit
    def total(scale):
        def tick(state, action):
            after, *_ = advance(
                game.worlds,
                game.model,
                Rules(at_goal="ignore", at_collision="ignore", at_off_road="ignore", red_lights=False),
                state,
                game.continuous(scale * action),
            )
            return after, jnp.where(game.worlds.driven[0], after.motion.x + 0.5 * after.motion.y, 0.0).sum()

        state, _ = game.reset_to(0)
        return jax.lax.scan(tick, state, plan)[1].sum() / 1e3

    one = jnp.float32(1.0)
    slope = float(jax.grad(total)(one))
    step = 2e-2
    numeric = (float(total(one + step)) - float(total(one - step))) / (2 * step)
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(slope, numeric, rtol=2e-2)


def test_gradients_of_a_policy_through_eighty_steps_are_finite_differences(worlds):
    rules = Rules(at_goal="ignore", at_collision="ignore", at_off_road="ignore", red_lights=False)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, worlds)
        game = Driving(exact, Bicycle(), rules, sight=SMALL)

        @jax.jit
        def loss(weight):
            def tick(state, _):
                seen = game.observe(state)
                # Partners keep their places; which edge is nearest changes, and actions with it, by jumps.
                actions = jnp.tanh(seen["ego"] @ weight + seen["partners"][:, :, 0] @ weight)
                after, _ = game.step(jax.random.key(0), state, actions)
                far = (after.motion.x - game.worlds.goal[0, 0]) ** 2 + (after.motion.y - game.worlds.goal[0, 1]) ** 2
                return after, jnp.where(game.worlds.driven[0], far, 0.0).sum()

            state, _ = game.reset_to(0)
            return jax.lax.scan(jax.checkpoint(tick), state, None, length=80)[1].mean()

        rng = np.random.default_rng(0)
        weight = jnp.asarray(rng.normal(size=(7, 2)) * 0.03)
        slope = jax.grad(loss)(weight)
        for _ in range(3):
            way = jnp.asarray(rng.normal(size=(7, 2)))
            expected = (loss(weight + 1e-6 * way) - loss(weight - 1e-6 * way)) / 2e-6
            assert abs(expected) > 1.0
            np.testing.assert_allclose(jnp.sum(slope * way), expected, rtol=1e-4)


def test_recorded_logs_are_demonstrations_that_can_be_observed_again(game):
    data = record_logs(game, jax.random.key(0), noise=(0.0, 0.3))
    assert data.num_episodes == 4
    steps = eqx.filter_jit(observed)(game, data.transition(jnp.arange(3)))
    assert steps.obs["partners"].shape == (3, 6, 7, 3)
    calm, disturbed = (np.asarray(data.actions[:2]), np.asarray(data.actions[2:]))
    assert (calm != disturbed).any()


def test_a_policy_is_measured_in_every_world(game):
    class Left(eqx.Module):
        def sample(self, key, obs, action_mask=None):
            return hard_left(game, None, 0)

        mode = sample

    played = eqx.filter_jit(drive)(game, Left(), jax.random.key(0))
    assert played.on.shape == (game.horizon, 2, 6)
    assert np.asarray(played.events["off_road"]).any()
