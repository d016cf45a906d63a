"""Bounds on the soups of an episode: the easier kitchen is never harder, and plans serve what they say."""

import dataclasses
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.bench import overcooked_optimum
from mairl.core.errors import Unsupported
from mairl.games.overcooked import LAYOUTS, Overcooked, OvercookedState
from mairl.games.overcooked.bound import relax, steps_to_serve
from mairl.games.overcooked.exact import explore
from mairl.games.overcooked.exact import optimum as without_counters
from mairl.games.overcooked.optimum import optimum
from mairl.games.overcooked.types import DISH, SOUP

HANDED = "XOXPX/X1X2X/XDXSX"
"""Two cooks in a cell each: all must pass over the counter between them."""

BACK = "XPXSX/D1X2O/XXXXX"
"""The soup must pass from the first cook, at the pot, to the second one, at the window."""

NO_COUNTERS = "XPOX/D12S/O  D/XSOX"
"""Nothing can be put down in reach of the cooks."""


def play(game, starts, steps, seed):
    """Random play, rich in interactions, from random starts, much lying and cooking: states `[time + 1, env, ...]`."""
    rng = np.random.default_rng(seed)
    actions = rng.choice(6, (steps, starts, 2), p=[0.14, 0.14, 0.14, 0.14, 0.04, 0.4])
    first = jax.jit(jax.vmap(game.reset))(jax.random.split(jax.random.key(seed), starts))[0]
    full = rng.random(first.onions.shape) < 0.5
    cooking = np.where(full, rng.integers(0, game.cook_time + 1, full.shape), first.cooking)
    first = dataclasses.replace(
        first,
        held=jnp.asarray(rng.choice([0, 1, 2, 5], first.held.shape, p=[0.3, 0.2, 0.4, 0.1]), jnp.int8),
        counters=jnp.asarray(rng.choice([0, 1, 2, 5], first.counters.shape, p=[0.6, 0.2, 0.1, 0.1]), jnp.int8),
        onions=jnp.asarray(np.where(full, 3, first.onions), jnp.int8),
        cooking=jnp.asarray(cooking, jnp.int8),
    )

    def one(states, joint):
        after = jax.vmap(lambda s, a: game.step(jax.random.key(0), s, a)[0])(states, joint)
        return after, after

    later = jax.jit(lambda s, a: jax.lax.scan(one, s, a))(first, jnp.asarray(actions))[1]
    return jax.tree.map(lambda a, b: np.concatenate([np.asarray(a)[None], np.asarray(b)]), first, later)


@pytest.mark.parametrize(("layout", "shelf"), [("cramped_room", 2), (HANDED, 1), (NO_COUNTERS, 1)])
def test_the_easier_kitchen_is_never_harder(layout, shelf):
    """V(s, n) ≥ fills in time + V(s', n - 1), for every step of the game and every number n of steps left."""
    game = Overcooked(layout, cook_time=3, horizon=24, random_start=True)
    bound = relax(game, shelf)
    states = play(game, 600, 10, seed=1)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
    value = bound.fills(flat).reshape(game.horizon + 1, *states.held.shape[:2])
    filled = (states.cooking[:-1] >= 0) & (states.cooking[1:] < 0)
    slack = np.array([steps_to_serve(game.kitchen, pot) for pot in game.kitchen.pots])
    left = np.arange(1, game.horizon + 1)[:, None, None, None]
    gain = (filled & (slack < left)).sum(-1)
    assert (value[1:, :-1] >= gain + value[:-1, 1:]).all()
    seen = (states.counters[1:] != states.counters[:-1]).any(-1).sum()
    assert filled.sum() >= 20
    assert seen >= 20 or layout == NO_COUNTERS
    assert len(np.unique(value)) >= 3


def fewest_steps_to_serve(game, states):
    """Breadth-first search with the game's own steps, from any of the states (leaves `[n, ...]`)."""
    joint = jnp.asarray(list(itertools.product(range(6), repeat=2)))

    @jax.jit
    def expand(states):
        def one(state, action):
            after, step = game.step(jax.random.key(0), state, action)
            return dataclasses.replace(after, time=jnp.zeros_like(after.time)), step.info["soups"].sum()

        after, soups = jax.vmap(lambda s: jax.vmap(lambda a: one(s, a))(joint))(states)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), after), soups.reshape(-1)

    for steps in range(1, 12):
        parts = []
        for begin in range(0, len(states.held), 512):
            part = jax.tree.map(lambda x, b=begin: x[b : b + 512], states)
            count = len(part.held)
            padded = jax.tree.map(lambda x, c=count: np.concatenate([x, np.repeat(x[:1], 512 - c, 0)]), part)
            after, soups = expand(padded)
            if np.asarray(soups).any():
                return steps
            parts.append(jax.tree.map(lambda x, c=count: np.asarray(x)[: 36 * c], after))
        states = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        rows = np.concatenate([x.reshape(len(x), -1).astype(np.int16) for x in jax.tree.leaves(states)], 1)
        keep = np.unique(rows, axis=0, return_index=True)[1]
        states = jax.tree.map(lambda x, k=keep: x[k], states)
    return None


@pytest.mark.parametrize(("layout", "steps"), [("cramped_room", 4), (HANDED, 3), (BACK, 5)])
def test_a_soup_is_served_no_sooner_than_the_bound_says_and_as_soon(layout, steps):
    """From a full dish in front of a ready pot, the other cook standing anywhere."""
    game = Overcooked(layout)
    kitchen = game.kitchen
    first = game.reset(jax.random.key(0))[0]
    pot = kitchen.pots[0]
    states = []
    for who, cell in itertools.product(range(2), kitchen.neighbours(pot)):
        for other, facing in itertools.product(kitchen.regions[1 - who], range(4)):
            if cell in kitchen.regions[who] and cell != other:
                cells = np.array([cell, other] if who == 0 else [other, cell])
                position = np.stack([cells % kitchen.width, cells // kitchen.width], -1)
                faces = np.array([0, facing] if who == 0 else [facing, 0])
                held = np.zeros(2)
                held[who] = DISH
                changed = {"position": position, "facing": faces, "held": held, "onions": [3], "cooking": [20]}
                states.append(dataclasses.replace(first, **{k: np.asarray(v, np.int8) for k, v in changed.items()}))
    stacked: OvercookedState = jax.tree.map(lambda *x: np.stack(x), *states)
    assert fewest_steps_to_serve(game, stacked) == steps == steps_to_serve(kitchen, pot) + 1


def test_a_soup_that_cannot_reach_a_window_is_never_served():
    kitchen = Overcooked("XPXXXXX/D1OXX2S/XXXXXXX").kitchen
    assert steps_to_serve(kitchen, kitchen.pots[0]) > 32_767


def replay(game, found):
    """Steps (from 1) at which soups are served, a step twice for two."""
    state, served = game.reset(jax.random.key(0))[0], []
    step = jax.jit(lambda s, a: game.step(jax.random.key(0), s, a))
    for t, actions in enumerate(found.actions):
        state, timestep = step(state, jnp.asarray(actions))
        served += [t + 1] * int(timestep.info["soups"].sum())
    return tuple(served)


@pytest.mark.parametrize("horizon", [17, 30])
def test_without_counters_it_is_the_exact_optimum(horizon):
    game = Overcooked(NO_COUNTERS, cook_time=2, horizon=horizon)
    kitchen = explore(game)
    truth = int(without_counters(kitchen)[0, kitchen.start])
    found = optimum(game)
    assert found.lower == found.upper == truth
    assert replay(game, found) == found.served
    assert len(found.served) == truth > 0
    assert not found.uses_counters


@pytest.mark.parametrize(
    ("layout", "first", "alone"),
    [(HANDED, 19, 1), ("XPXOX/X1X2X/XSXDX", 20, 0)],
    ids=["taken within the step", "taken in the next step"],
)
def test_what_needs_counters_is_found_and_shown_to_be_the_soonest(layout, first, alone):
    """Worked by hand: three onions are put down at steps 3, 7 and 11, the dish at 15. The second cook takes them at
    once, pots at 5, 9, 13, fills at 17 and serves at 19; were he the first to act, each one step later. Only then does
    anything lie on the counter between two steps."""
    game = Overcooked(layout, cook_time=1, horizon=first)
    kitchen = explore(game)
    assert without_counters(kitchen)[0, kitchen.start] == alone
    found = optimum(game)
    assert found.lower == found.upper == 1
    assert found.served == (first,) == replay(game, found)
    assert found.uses_counters
    sooner = optimum(dataclasses.replace(game, horizon=first - 1))
    assert sooner.lower == sooner.upper == 0


def test_states_on_a_plan_are_never_given_up():
    game = Overcooked("cramped_room", cook_time=2, horizon=32)
    bound, found = relax(game), optimum(game)
    state, left = game.reset(jax.random.key(0))[0], found.lower
    assert left == 2
    step = jax.jit(lambda s, a: game.step(jax.random.key(0), s, a))
    for t, actions in enumerate(found.actions):
        one = jax.tree.map(lambda x: np.asarray(x)[None], state)
        assert bound.least(one, np.array([left])) <= game.horizon - t
        state, timestep = step(state, jnp.asarray(actions))
        left -= int(timestep.info["soups"].sum())
    assert left == 0
    nothing_left = jax.tree.map(lambda x: np.asarray(x)[None], state)
    assert bound.least(nothing_left, np.array([0])) == 0
    carrying = dataclasses.replace(nothing_left, held=np.array([[SOUP + 2, 0]], np.int8))
    assert bound.least(carrying, np.array([1])) == 0


@pytest.mark.parametrize(
    ("game", "shelf", "why"),
    [
        (Overcooked(dynamics="new"), 1, "old dynamics"),
        (Overcooked("XPXXX/O1 2S/X  3X/XDXXX"), 1, "2 players"),
        (Overcooked(), 0, "shelf must be 1"),
    ],
    ids=["new dynamics", "three players", "no shelf"],
)
def test_what_it_cannot_bound_is_refused(game, shelf, why):
    with pytest.raises(Unsupported, match=why):
        relax(game, shelf)


PUBLISHED = json.loads(
    (Path(__file__).parents[3] / "experiments" / "mamql" / "results" / "overcooked_optimum.json").read_text()
)["rows"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_plans_serve_what_they_say(layout):
    rows = [row for row in PUBLISHED if row["layout"] == layout]
    assert sorted(row["cook_time"] for row in rows) == [5, 20]
    for row in rows:
        game = Overcooked(layout, cook_time=row["cook_time"], horizon=row["horizon"])
        start = game.reset(jax.random.key(0))[0]

        def one(state, actions, game=game):
            after, step = game.step(jax.random.key(0), state, actions)
            return after, (step.info["soups"].sum(), step.reward)

        soups, reward = jax.lax.scan(one, start, jnp.asarray(row["actions"]))[1]
        assert (np.flatnonzero(soups) + 1).tolist() == sorted(set(row["served"]))
        assert int(soups.sum()) == len(row["served"]) == row["lower"] <= row["upper"] <= row["relaxed"]
        np.testing.assert_allclose(reward.sum(0), row["mean_per_agent"]["lower"])
        assert max(row["served"]) <= row["horizon"] == 50


def test_the_command_writes_rows_with_plans(tmp_path, capsys):
    file = tmp_path / "optimum.json"
    overcooked_optimum.main(
        ["-o", str(file), "--layouts", "cramped_room", "--cook-times", "2", "--horizon", "17", "--width", "2000"]
    )
    facts = json.loads(file.read_text())
    (row,) = facts["rows"]
    assert (row["lower"], row["upper"], row["layout"], row["cook_time"]) == (1, 1, "cramped_room", 2)
    assert len(row["actions"]) == row["served"][0] <= 17
    assert facts["command"].startswith("python -m mairl.bench.overcooked_optimum -o")
    assert "cramped_room, cook time 2: 1 soups: a plan" in capsys.readouterr().err
