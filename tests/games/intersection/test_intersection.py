"""The intersection's rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.games.intersection import Intersection
from mairl.games.intersection.angles import arcsin, arctan
from mairl.games.intersection.collisions import contact
from mairl.games.intersection.dynamics import Outline
from mairl.games.intersection.lanes import world
from mairl.games.intersection.types import FASTER, IDLE, SLOWER
from mairl.testing import check_game

KEY = jax.random.key(0)


def drive(game, actions, key=KEY):
    """All states and steps of an episode in which everybody takes the same actions."""
    state, _ = jax.jit(game.reset)(key)
    steps = []
    play = jax.jit(game.step)
    for action in actions:
        state, step = play(KEY, state, jnp.full(game.num_agents, action, jnp.int32))
        steps.append(step)
        if bool(step.done):
            break
    return state, steps


def test_contract():
    check_game(Intersection(), KEY, num_envs=8, samples=50)


def test_right_turns_never_meet_and_everybody_is_paid_once():
    _, steps = drive(Intersection(routes=("right",) * 4), [FASTER] * 13)
    assert bool(steps[-1].done)
    assert not bool(steps[-1].truncated)
    paid = sum(np.where(s.mask, s.reward, 0) for s in steps)
    np.testing.assert_allclose(paid, 2.0)


def test_straight_on_without_yielding_ends_in_a_crash_for_all():
    _, steps = drive(Intersection(routes=("straight",) * 4, jitter=0.0), [FASTER] * 13)
    assert np.asarray(steps[-1].terminated).all()
    np.testing.assert_allclose(steps[-1].reward, -4.0)
    np.testing.assert_array_equal(steps[-1].info["crashed"], 1)


@pytest.mark.parametrize("turn", ["right", "straight", "left"])
def test_a_lone_vehicle_arrives_at_its_own_exit(turn):
    game = Intersection(num_vehicles=1, routes=(turn,))
    state, steps = drive(game, [FASTER] * 13)
    assert float(steps[-1].reward[0]) == 2.0
    where = np.asarray(jax.jit(world)(state.turn, state.body)[0])[0]
    expected = {"right": (35, 2), "straight": (2, -35), "left": (-35, -2)}[turn]
    np.testing.assert_allclose(where, expected, atol=9.5)
    off_lane = {"right": where[1] - 2, "straight": where[0] - 2, "left": where[1] + 2}[turn]
    assert abs(off_lane) < 0.1


def test_waiting_is_cut_by_the_time_limit_not_ended():
    state, steps = drive(Intersection(), [SLOWER] * 13)
    assert len(steps) == 13
    assert bool(steps[-1].truncated)
    assert not np.asarray(steps[-1].terminated).any()
    assert np.abs(np.asarray(state.body.speed)).max() < 0.01


def test_idle_keeps_the_target_speed():
    state, _ = drive(Intersection(), [SLOWER, IDLE])
    np.testing.assert_allclose(state.body.target, 4.5)


def test_who_has_arrived_is_gone_and_takes_no_further_part():
    game = Intersection(num_vehicles=2, routes=("right", "right"))
    state, _ = jax.jit(game.reset)(KEY)
    play = jax.jit(game.step)
    seen = []
    for _ in range(13):
        state, step = play(KEY, state, jnp.array([FASTER, SLOWER], jnp.int32))
        seen.append(np.asarray(step.mask))
    assert seen[0].all()
    assert seen[-1].tolist() == [False, True]
    obs = np.asarray(jax.jit(game.observe)(state))
    assert (obs[1, 13:] == 0).all()  # vehicle 1 no longer sees vehicle 0


def test_vehicles_see_the_same_picture_from_every_arm():
    game = Intersection(routes=("straight",) * 4, jitter=0.0)
    _, obs = game.reset(KEY)
    for i in range(1, 4):
        np.testing.assert_allclose(obs[i], obs[0], atol=1e-5)


def test_entities_are_the_vector():
    one, other = Intersection(), Intersection(observation="entities")
    _, flat = one.reset(KEY)
    _, seen = other.reset(KEY)
    joined = np.concatenate([seen["ego"], np.asarray(seen["entities"]).reshape(4, -1)], axis=-1)
    np.testing.assert_array_equal(flat, joined)


def test_hidden_intentions_are_hidden():
    _, shown = Intersection(observation="entities").reset(KEY)
    _, hidden = Intersection(observation="entities", intentions=False).reset(KEY)
    assert np.asarray(shown["entities"])[..., -3:].sum() > 0
    assert np.asarray(hidden["entities"])[..., -3:].sum() == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"num_vehicles": 0}, "num_vehicles"),
        ({"horizon": 0}, "horizon"),
        ({"jitter": 30.0}, "jitter"),
        ({"routes": ("left",)}, "routes"),
        ({"routes": ("left", "up", "left", "left")}, "up"),
        ({"observation": "planes"}, "planes"),
    ],
)
def test_bad_options_are_named(options, word):
    with pytest.raises(InvalidGame, match=word):
        Intersection(**options)


def test_eight_vehicles_start_apart():
    state, obs = jax.jit(Intersection(num_vehicles=8).reset)(KEY)
    positions = np.asarray(jax.jit(world)(state.turn, state.body)[0])
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 100 * np.eye(8)
    assert gaps.min() > 5.5
    assert obs.shape[0] == 8


def box(x, y, angle, speed):
    return Outline(*(jnp.float32(v) for v in (x, y, speed, np.cos(angle), np.sin(angle))))


def test_contact_by_hand():
    # Nose to tail, 4 m apart: they overlap by 1 m along both their axes, more across.
    overlap, soon, x, y = contact(box(0, 0, 0, 0), box(4, 0, 0, 0), 1 / 15)
    assert bool(overlap)
    assert bool(soon)
    np.testing.assert_allclose((x, y), (-1, 0), atol=1e-6)
    # 5.1 m apart and closing at 3 m/s: they meet within 1/15 s.
    overlap, soon, *_ = contact(box(0, 0, 0, 3), box(5.1, 0, 0, 0), 1 / 15)
    assert not bool(overlap)
    assert bool(soon)
    overlap, soon, *_ = contact(box(0, 0, 0, 1), box(5.1, 0, 0, 0), 1 / 15)
    assert not bool(overlap | soon)


def test_contact_against_polygons():
    shapely = pytest.importorskip("shapely")
    generator = np.random.default_rng(0)
    count = 2000
    first, second = (np.c_[generator.uniform(-4, 4, (count, 2)), generator.uniform(-4, 4, count)] for _ in range(2))
    boxes = [
        Outline(*(jnp.asarray(v) for v in (p[:, 0], p[:, 1], np.zeros(count), np.cos(p[:, 2]), np.sin(p[:, 2]))))
        for p in (first, second)
    ]
    overlap, _, x, y = jax.vmap(lambda a, b: contact(a, b, 1 / 15))(*boxes)

    def polygons(poses):
        corners = np.array([[-2.5, -1], [-2.5, 1], [2.5, 1], [2.5, -1]])
        c, s = np.cos(poses[:, 2, None]), np.sin(poses[:, 2, None])
        turned = np.stack([c * corners[:, 0] - s * corners[:, 1], s * corners[:, 0] + c * corners[:, 1]], -1)
        return shapely.polygons(turned + poses[:, None, :2])

    a, b = polygons(first), polygons(second)
    clear = shapely.distance(a, b) > 1e-3
    deep = shapely.area(shapely.intersection(a, b)) > 1e-2
    near = np.linalg.norm(first[:, :2] - second[:, :2], axis=1) < 29**0.5  # highway-env looks no further
    assert not np.asarray(overlap)[clear].any()
    assert np.asarray(overlap)[deep & near].all()
    moved = first.copy()
    moved[:, 0] += 1.001 * np.asarray(x)
    moved[:, 1] += 1.001 * np.asarray(y)
    assert (shapely.area(shapely.intersection(polygons(moved), b))[deep & near] < 2e-2).all()


def test_polynomials_are_the_functions():
    x = jnp.linspace(-1, 1, 10_001)
    np.testing.assert_allclose(arcsin(x), np.arcsin(np.asarray(x, float)), atol=4e-7)
    x = jnp.linspace(-2.4, 2.4, 10_001)
    np.testing.assert_allclose(arctan(x), np.arctan(np.asarray(x, float)), atol=4e-7)


def test_picture():
    game = Intersection()
    state, _ = game.reset(KEY)
    picture = game.render(state)
    assert picture.shape == (480, 480, 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) >= 8
