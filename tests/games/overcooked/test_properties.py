"""What holds in any kitchen: nothing appears or vanishes but at sources and windows, nobody walks through anybody."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mairl.core.errors import InvalidGame
from mairl.games.overcooked import LAYOUTS, Overcooked
from mairl.games.overcooked.exact import explore
from mairl.games.overcooked.types import DISH, FULL_SOUP, INTERACT, NOTHING, ONION, SOUP, STEPS

ENVS, TIME = 64, 50


@st.composite
def kitchens(draw):
    """Kitchens of any shape for 1 to 4 players, some of whose stations may be out of reach."""
    height, width = draw(st.integers(4, 6)), draw(st.integers(4, 7))
    inside = draw(st.lists(st.sampled_from("     XPO"), min_size=height * width, max_size=height * width))
    rows = [["X"] * width for _ in range(height)]
    cells = list(itertools.product(range(1, height - 1), range(1, width - 1)))
    for (y, x), kind in zip(cells, inside, strict=False):
        rows[y][x] = kind
    players = draw(st.integers(1, 4))
    for number, (y, x) in enumerate(draw(st.permutations(cells))[:players]):
        rows[y][x] = str(number + 1)
    border = [(y, x) for y in (0, height - 1) for x in range(1, width - 1)]
    border += [(y, x) for x in (0, width - 1) for y in range(1, height - 1)]
    for kind, (y, x) in zip("POODDS", draw(st.permutations(border)), strict=False):
        rows[y][x] = kind
    return "/".join("".join(row) for row in rows)


def play(game, seed):
    """Random play from the start, things lying and cooking about: NumPy states `[time + 1, env, ...]`, actions and
    what the steps returned."""
    rng = np.random.default_rng(seed)
    actions = rng.choice(6, (TIME, ENVS, game.num_agents), p=[0.14, 0.14, 0.14, 0.14, 0.04, 0.4])
    state = jax.jit(game.reset)(jax.random.key(0))[0]
    pots = (ENVS, len(game.kitchen.pots))
    onions = rng.integers(0, 4, pots)
    drawn = {
        "held": rng.integers(0, 6, (ENVS, game.num_agents)),
        "onions": onions,
        "cooking": np.where(onions == 3, rng.integers(0, game.cook_time + 1, pots), -1),
    }
    first = jax.tree.map(lambda x: jnp.asarray(np.repeat(np.asarray(x)[None], ENVS, 0)), state)
    first = dataclasses.replace(first, **{k: jnp.asarray(v, jnp.int8) for k, v in drawn.items()})

    def one(states, joint):
        after, step = jax.vmap(lambda s, a: game.step(jax.random.key(0), s, a))(states, joint)
        return after, (after, (step.reward, step.terminated, step.truncated, step.info))

    later, steps = jax.jit(lambda s, a: jax.lax.scan(one, s, a))(first, jnp.asarray(actions))[1]
    states = jax.tree.map(lambda a, b: np.concatenate([np.asarray(a)[None], np.asarray(b)]), first, later)
    return states, actions, jax.tree.map(np.asarray, steps)


def contents(objects):
    """Onions and dishes in objects: `[time, env]` each."""
    soups = objects >= SOUP
    onions = (objects == ONION) + np.where(soups, objects - SOUP + 1, 0)
    return onions.sum(-1), ((objects == DISH) | soups).sum(-1)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(layout=kitchens(), dynamics=st.sampled_from(["old", "new"]), seed=st.integers(0, 99))
def test_in_any_kitchen(layout, dynamics, seed):
    game = Overcooked(layout, dynamics=dynamics, cook_time=4, horizon=TIME, shaping=0.5)
    check(game, *play(game, seed))


@pytest.mark.parametrize("layout", ["XXPXXX/O1 2DX/X 34 S/XXPXXX", "cramped_room"], ids=["four players", "two players"])
def test_in_kitchens_where_much_happens(layout):
    game = Overcooked(layout, cook_time=2, horizon=TIME)
    states, actions, steps = play(game, 3)
    check(game, states, actions, steps)
    soups = steps[3]["soups"].sum()
    moved = (states.position[1:] != states.position[:-1]).any(-1).sum()
    lying = (states.counters > 0).any(-1).sum()
    assert min(soups, moved, lying) >= 2


def check(game, states, actions, steps):
    kitchen, players = game.kitchen, game.num_agents
    reward, terminated, truncated, info = steps
    cells = states.position[..., 0] + kitchen.width * states.position[..., 1].astype(int)
    # Everybody is in a cell of his own that he can walk to, and goes at most one cell a step, the way he looks.
    for i in range(players):
        assert np.isin(cells[..., i], kitchen.regions[i]).all()
        assert all((cells[..., i] != cells[..., j]).all() for j in range(i))
    offset = np.array([dx + kitchen.width * dy for dx, dy in STEPS])
    gone = cells[1:] - cells[:-1]
    assert ((gone == 0) | ((gone == offset[actions]) & (actions < 4))).all()
    np.testing.assert_array_equal(states.facing[1:], np.where(actions < 4, actions, states.facing[:-1]))
    # Pots hold 0 to 3 onions, and cook only what is in them, one step at a time up to the cook time.
    onions, cooking = states.onions, states.cooking
    assert ((onions >= 0) & (onions <= 3) & (cooking >= -1) & (cooking <= game.cook_time)).all()
    assert (onions[cooking >= 0] >= (3 if game.dynamics == "old" else 1)).all()
    assert (cooking[1:] - cooking[:-1] <= np.where(cooking[:-1] < 0, 2, 1)).all()
    # Onions and dishes come from sources, leave through windows, and are neither made nor lost between.
    hands = states.held[:-1]
    ahead = cells[:-1] + offset[states.facing[:-1]]
    acts = actions == INTERACT
    fetched = [acts & (hands == NOTHING) & np.isin(ahead, source) for source in (kitchen.onions, kitchen.dishes)]
    served = acts & (hands >= SOUP) & np.isin(ahead, kitchen.serving)
    held, lying = contents(states.held), contents(states.counters)
    total = (held[0] + lying[0] + onions.sum(-1), held[1] + lying[1])
    for had, took, left in zip(total, fetched, contents(np.where(served, hands, NOTHING)), strict=True):
        np.testing.assert_array_equal(had[1:] - had[:-1], took.sum(-1) - left)
    assert ((states.held >= 0) & (states.held <= FULL_SOUP)).all()
    assert ((states.counters >= 0) & (states.counters <= FULL_SOUP)).all()
    # Full soups are paid when they are served, and nothing else is, to all alike.
    full = served & (hands == FULL_SOUP)
    np.testing.assert_array_equal(info["soups"], full)
    paid = np.broadcast_to(full.sum(-1, keepdims=True) * (20.0 / players), reward.shape)
    np.testing.assert_allclose(reward - game.shaping * info["shaped"], paid, atol=1e-5)
    # Time passes and ends the episode at the horizon.
    np.testing.assert_array_equal(states.time, np.arange(TIME + 1)[:, None] + np.zeros((1, ENVS), int))
    assert not terminated.any()
    np.testing.assert_array_equal(truncated, states.time[1:] >= game.horizon)


def test_a_large_kitchen_works_as_its_only_used_corner():
    """More than 127 cells and counters: cramped_room in the corner of 16 rows of 20."""
    small = Overcooked("cramped_room", cook_time=2, horizon=TIME)
    rows = ["X" * 20] * 12 + ["X" * 15 + row for row in LAYOUTS["cramped_room"]]
    large = Overcooked("/".join(rows), cook_time=2, horizon=TIME)
    assert len(large.kitchen.counters) > 255
    assert min(large.kitchen.floor) > 255
    (one, actions, steps), (other, same, others) = play(small, 5), play(large, 5)
    np.testing.assert_array_equal(actions, same)
    np.testing.assert_array_equal(one.position + np.array([15, 12]), other.position)
    for part in ("facing", "held", "onions", "cooking"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part), err_msg=part)
    np.testing.assert_array_equal(steps[0], others[0])
    assert steps[0].sum() > 0
    assert (one.counters > 0).sum() == (other.counters > 0).sum() > 0


@pytest.mark.parametrize("rows", [["X" * 129] * 3, ["XXX"] * 129], ids=["wide", "high"])
def test_kitchens_too_large_for_8_bits_are_refused(rows):
    with pytest.raises(InvalidGame, match="at most 128 rows and columns"):
        Overcooked("/".join(rows))


def test_kitchens_too_large_to_number_are_refused():
    with pytest.raises(InvalidGame, match="too many for exact play"):
        explore(Overcooked("XPPPPPPPPPPX/O1         D/XXXXSXXXXXXX"))


def test_rewards_are_common_only_without_shaping():
    assert Overcooked().cooperative
    shaped = Overcooked("XPXX/O12D/XSXX", horizon=12, shaping=1.0)
    assert not shaped.cooperative
    reward = play(shaped, 0)[2][0]
    assert (reward[..., 0] != reward[..., 1]).any()
