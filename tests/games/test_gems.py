"""Gems: rules worked by hand, symmetry of views, the optimum."""

import itertools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mairl.core.errors import InvalidGame, Unsupported
from mairl.core.policy import UniformPolicy
from mairl.data.collect import play_episodes
from mairl.games.gems import Gems, GemsState
from mairl.games.gems.game import distinct, gem_split
from mairl.games.gems.optimum import main, optimum
from mairl.testing import check_game

UP, DOWN, LEFT, RIGHT, STAY = range(5)
KEY = jax.random.key(0)


def small(blue=(), red=(), purple=(), agents=((0, 0), (4, 4)), size=5, time=0, **options):
    """A game and a state with gems on given cells."""
    counts = tuple(len(x) for x in (blue, red, purple))
    game = Gems(size=size, gems=counts, layout="random", **options)
    cells = jnp.array([*blue, *red, *purple], jnp.int8).reshape(-1, 2)
    state = GemsState(jnp.array(agents, jnp.int8), cells, jnp.ones(sum(counts), bool), jnp.asarray(time, jnp.int16))
    return game, state


def act(game, state, *actions):
    return game.step(KEY, state, jnp.array(actions))


@pytest.mark.parametrize(
    "game",
    [
        Gems(),
        Gems(size=6, gems=(2, 1, 2), layout="random", observation="planes", horizon=12),
        Gems(
            size=4, gems=(1, 1, 1), layout="random", respawn=True, horizon=12, observation="vector", observe_time=True
        ),
    ],
    ids=["fixed", "planes", "respawn"],
)
def test_contract(game):
    check_game(game, KEY, num_envs=8, samples=100)


def test_moves_and_walls():
    game, state = small(blue=[(4, 0)], agents=((0, 0), (4, 4)))
    for actions, want in [
        ((UP, DOWN), ((0, 0), (4, 4))),
        ((LEFT, RIGHT), ((0, 0), (4, 4))),
        ((DOWN, UP), ((0, 1), (4, 3))),
        ((RIGHT, LEFT), ((1, 0), (3, 4))),
        ((STAY, STAY), ((0, 0), (4, 4))),
    ]:
        np.testing.assert_array_equal(act(game, state, *actions)[0].agents, want)


def test_own_gems_pay_one_and_others_gems_nothing():
    game, state = small(blue=[(1, 0)], red=[(0, 1), (3, 4)])
    state, step = act(game, state, RIGHT, LEFT)
    np.testing.assert_array_equal(step.reward, [1, 1])
    np.testing.assert_array_equal(state.alive, [False, True, False])
    np.testing.assert_array_equal(step.info["own"], [1, 1])
    # A gem is paid once, and blue may stand on a red gem for nothing.
    state, step = act(game, state, STAY, STAY)
    np.testing.assert_array_equal(step.reward, [0, 0])
    state, step = act(game, state, LEFT, STAY)
    state, step = act(game, state, DOWN, STAY)
    np.testing.assert_array_equal(state.agents[0], [0, 1])
    np.testing.assert_array_equal(step.reward, [0, 0])
    assert bool(state.alive[1])


def test_purple_gems_need_both():
    game, state = small(purple=[(1, 0), (4, 3), (2, 2)], purple_reward=3.0)
    alone, step = act(game, state, RIGHT, STAY)
    np.testing.assert_array_equal(step.reward, [0, 0])
    assert bool(alone.alive.all())
    both, step = act(game, alone, STAY, UP)
    np.testing.assert_array_equal(step.reward, [6, 6])
    np.testing.assert_array_equal(both.alive, [False, False, True])
    np.testing.assert_array_equal(step.info["purple"], [2, 2])
    np.testing.assert_array_equal(step.info["own"], [0, 0])


def test_one_purple_gem_under_both_pays_once():
    game, state = small(purple=[(1, 0)], agents=((0, 0), (2, 0)))
    state, step = act(game, state, RIGHT, LEFT)
    np.testing.assert_array_equal(step.reward, [3, 3])
    assert bool(step.terminated.all())
    assert not bool(step.truncated)


def test_own_reward_adds_to_purple():
    # Cells of distinct gems may coincide in a hand-made state: the rules still add up.
    game, state = small(blue=[(1, 0)], purple=[(1, 0), (4, 3)])
    _, step = act(game, state, RIGHT, UP)
    np.testing.assert_array_equal(step.reward, [7, 6])


def test_endings():
    game, state = small(blue=[(1, 0)], red=[(0, 4)], horizon=3, time=1)
    state, step = act(game, state, RIGHT, STAY)
    assert not bool(step.done)
    _, step = act(game, state, STAY, STAY)
    assert bool(step.truncated)
    assert not bool(step.terminated.any())
    game, state = small(blue=[(1, 0)], horizon=3, time=2)
    _, step = act(game, state, RIGHT, STAY)  # cleared in the last step: an ending, not a cut
    assert bool(step.terminated.all())
    assert not bool(step.truncated)


def test_fixed_layout():
    state, _ = Gems().reset(KEY)
    np.testing.assert_array_equal(state.agents, [[12, 10], [7, 10]])
    np.testing.assert_array_equal(state.gems[0], [11, 2])
    np.testing.assert_array_equal(state.gems[14], [6, 4])
    assert len({tuple(c) for c in np.concatenate([state.agents, state.gems]).tolist()}) == 17


@given(st.integers(0, 2**31 - 1), st.sampled_from([2, 17, 30]))
@settings(max_examples=30, deadline=None)
def test_random_cells_are_distinct(seed, count):
    cells = np.asarray(distinct(jax.random.key(seed), 30, count))
    assert len(set(cells.tolist())) == count
    assert cells.min() >= 0
    assert cells.max() < 30


def test_random_cells_are_uniform_in_every_place():
    drawn = np.asarray(jax.vmap(lambda k: distinct(k, 4, 3))(jax.random.split(KEY, 12_000)))
    orders, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(orders) == 24
    # Each of the 24 ordered choices has mean 500, standard deviation 22.
    assert np.abs(counts - 500).max() < 110


def test_respawned_gems_take_free_cells():
    game = Gems(size=3, gems=(2, 2, 2), layout="random", respawn=True, horizon=40)
    episodes = eqx.filter_jit(play_episodes)(game, UniformPolicy(2, game.action_space), KEY, 16)
    assert float(episodes.returns.sum()) > 0
    gems = np.asarray(episodes.steps.next_state.gems).astype(int)
    assert bool(np.asarray(episodes.steps.next_state.alive).all())
    cells = np.sort(gems[..., 0] + 3 * gems[..., 1], axis=-1)
    assert np.all(np.diff(cells, axis=-1) > 0)
    moved = (gems != np.asarray(episodes.steps.state.gems)).any(axis=-1)
    # A gem that has just reappeared is under nobody.
    agents = np.asarray(episodes.steps.next_state.agents)
    under = (gems[..., None, :] == agents[..., None, :, :]).all(axis=-1).any(axis=-1)
    assert moved.any()
    assert not (moved & under).any()


@pytest.mark.parametrize("observation", ["entities", "planes", "vector"])
def test_roles_are_symmetric(observation):
    game = Gems(layout="random", observation=observation, size=6, gems=(2, 2, 1))
    state, _ = game.reset(jax.random.key(3))
    state = eqx.tree_at(lambda s: s.alive, state, jnp.array([True, False, True, True, True]))
    order = jnp.array([2, 3, 0, 1, 4])
    swapped = GemsState(state.agents[::-1], state.gems[order], state.alive[order], state.time)
    mine, theirs = game.observe(state), game.observe(swapped)
    if observation == "entities":  # a set: its order follows the state's
        theirs = {k: v if k == "ego" else v[:, order] for k, v in theirs.items()}
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs)):
        np.testing.assert_allclose(np.asarray(a)[0], np.asarray(b)[1], atol=1e-7)
        np.testing.assert_allclose(np.asarray(a)[1], np.asarray(b)[0], atol=1e-7)


def test_planes_by_hand():
    game, state = small(blue=[(1, 2)], red=[(3, 0)], purple=[(2, 2)], observation="planes")
    state = eqx.tree_at(lambda s: s.alive, state, jnp.array([True, True, False]))
    seen = np.asarray(game.observe(state))
    # [agent, y, x, plane]: oneself, partner, own, partner's, purple.
    assert {tuple(i) for i in np.argwhere(seen[0])} == {(0, 0, 0), (4, 4, 1), (2, 1, 2), (0, 3, 3)}
    assert {tuple(i) for i in np.argwhere(seen[1])} == {(4, 4, 0), (0, 0, 1), (0, 3, 2), (2, 1, 3)}


def test_entities_by_hand():
    game, state = small(blue=[(1, 2)], purple=[(4, 4)], observe_time=True, horizon=10, time=4)
    seen = game.observe(state)
    np.testing.assert_allclose(seen["ego"][0], [-1, -1, 0.8, 0.8, 1, 1, 1 / 9, 0, 0.6], atol=1e-6)
    np.testing.assert_allclose(seen["ego"][1], [1, 1, -0.8, -0.8, -1, -1, 1 / 9, 1, 0.6], atol=1e-6)
    np.testing.assert_allclose(
        seen["entities"][0],
        [[0.2, 0.4, 1, 1, 1 / 4, 1 / 6, 0, 1, 0, 0], [0.8, 0.8, 1, 1, 1 / 9, 1, 1, 0, 0, 1]],
        atol=1e-6,
    )


def test_gem_split_adds_up_to_the_return():
    game = Gems(size=4, gems=(2, 2, 3), layout="random", purple_reward=2.5)
    episodes = eqx.filter_jit(play_episodes)(game, UniformPolicy(2, game.action_space), KEY, 32)
    split = jax.vmap(gem_split, in_axes=(1, 1))(episodes.info, episodes.alive)
    np.testing.assert_allclose(split["own"] + 2.5 * split["purple"], episodes.returns, rtol=1e-6)
    assert float(split["purple"].max()) > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layout": "spiral"}, "use 'fixed' or 'random'"),
        ({"observation": "pixels"}, "entities, planes, vector"),
        ({"size": 10}, "use layout='random'"),
        ({"size": 2, "gems": (1, 1, 1), "layout": "random"}, "3 gems and 2 agents do not fit on 4 cells"),
        ({"gems": (0, 0, 0), "layout": "random"}, "not all 0"),
        ({"observation": "planes", "observe_time": True}, "no clock"),
        ({"horizon": 0}, "horizon >= 1"),
    ],
)
def test_refusals(options, says):
    with pytest.raises(InvalidGame, match=says):
        Gems(**options)


def test_picture():
    game, state = small(blue=[(1, 2)], agents=((0, 0), (0, 0)))
    image = game.render(state)
    assert image.shape == (120, 120, 3)
    blue, red = (38, 98, 190), (200, 55, 55)
    np.testing.assert_array_equal(image[60, 36], blue)  # the middle of the gem's cell
    corner = image[:24, :24].reshape(-1, 3).tolist()
    assert list(blue) in corner
    assert list(red) in corner


def replay(game, state, actions):
    total = np.zeros(2)
    for joint in actions:
        state, step = game.step(KEY, state, jnp.asarray(joint))
        total += np.asarray(step.reward)
        if bool(step.done):
            break
    return total


def test_the_fixed_layouts_optimum_is_reached_by_its_plan(tmp_path):
    main(["-o", str(tmp_path / "optimum.json")])
    facts = json.loads((tmp_path / "optimum.json").read_text())
    game = Gems()
    step = jax.jit(game.step)
    state, total = game.reset(KEY)[0], np.zeros(2)
    for joint in facts["plan_actions"]:
        state, played = step(KEY, state, jnp.asarray(joint))
        total += np.asarray(played.reward)
        if bool(played.done):
            break
    np.testing.assert_array_equal(total, facts["plan_returns"])
    assert len(facts["plan_actions"]) == game.horizon == 45
    assert total.sum() == facts["lower_bound"] == facts["upper_bound"] == 40
    assert bool(played.terminated.all())


@pytest.mark.parametrize("seed", range(6))
def test_optimum_against_exhaustive_search(seed):
    """Breadth-first over all states of a small game, step by step: what the planner must equal."""
    rng = np.random.default_rng(seed)
    horizon = int(rng.integers(3, 7))
    game = Gems(size=4, gems=(1, 2, 2), layout="random", horizon=horizon, purple_reward=float(rng.choice([0.5, 3])))
    state, _ = game.reset(jax.random.key(seed))
    found = optimum(game, state)
    np.testing.assert_allclose(replay(game, state, found.actions), found.returns)
    assert sum(found.returns) == found.total
    assert found.total == best_by_search(game, state)


def best_by_search(game, state):
    gems = [tuple(c) for c in np.asarray(state.gems).tolist()]
    colours = game.colours.tolist()
    moves = [(0, -1), (0, 1), (-1, 0), (1, 0), (0, 0)]
    now = {(tuple(map(tuple, np.asarray(state.agents).tolist())), frozenset(range(len(gems)))): 0.0}
    for _ in range(game.horizon):
        after = {}
        for (agents, alive), paid in now.items():
            for joint in itertools.product(moves, repeat=2):
                at = tuple(
                    tuple(min(max(c + d, 0), game.size - 1) for c, d in zip(cell, move))
                    for cell, move in zip(agents, joint)
                )
                own = {g for g in alive if colours[g] < 2 and gems[g] == at[colours[g]]}
                purple = [g for g in alive if colours[g] == 2 and gems[g] in at]
                if not all(any(gems[g] == cell for g in purple) for cell in at):
                    purple = []
                key = (at, alive - own - set(purple))
                value = paid + len(own) + 2 * game.purple_reward * len(purple)
                after[key] = max(value, after.get(key, -1.0))
        now = after
    return max(now.values())


def test_optimum_refuses_respawn():
    game = Gems(size=4, gems=(1, 1, 1), layout="random", respawn=True)
    with pytest.raises(Unsupported, match="respawn=False"):
        optimum(game, game.reset(KEY)[0])
