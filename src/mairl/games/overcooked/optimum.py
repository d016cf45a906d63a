"""The most soups that can be served within a horizon, counters allowed, with a plan that serves them.

From above: `bound.relax`. From below: breadth-first search over joint actions with the game's own `step`, without
states from which the bound says that the wanted soups cannot be served any more; where more are left than `width`,
those with most time to spare go on. A plan with as many soups as the bound is an optimum.
`mairl.bench.overcooked_optimum` bounds the classic kitchens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from mairl.games.overcooked.bound import Bound, relax
from mairl.games.overcooked.exact import joint_actions, successors
from mairl.games.overcooked.game import Overcooked, facing_cell
from mairl.games.overcooked.types import INTERACT, NOTHING

CHUNK = 2048
"""States that are expanded together."""


@dataclasses.dataclass(frozen=True)
class Optimum:
    """What is known about a kitchen.

    Attributes:
        lower, upper: soups that are served by the plan, and that cannot be exceeded.
        relaxed: the easier kitchen's bound, before the search tightened it.
        actions: `[time, agent]` int, the plan, up to its last soup.
        served: steps (from 1) at which the plan's soups are served.
        uses_counters: whether the plan puts anything on a counter.
    """

    lower: int
    upper: int
    relaxed: int
    actions: Int[np.ndarray, "time 2"]
    served: tuple[int, ...]
    uses_counters: bool


def optimum(
    game: Overcooked, width: int = 5000, shelf: int = 1, seed: int = 0, say: Callable[[str], object] = lambda _: None
) -> Optimum:
    """Bounds the soups from the fixed start. For old dynamics and two players.

    Args:
        width: states kept at each step of the search.
        shelf: see `relax`.
        say: told what is being done.
    """
    game = dataclasses.replace(game, random_start=False, shaping=0.0)
    bound = relax(game, shelf)
    upper = bound.at_start
    say(f"at most {upper} soups in the easier kitchen")
    for soups in range(bound.at_start, 0, -1):
        plan, complete = search(bound, soups, width, seed)
        say(f"{soups} soups: " + ("a plan" if plan is not None else "none exists" if complete else "no plan found"))
        if plan is not None:
            return Optimum(soups, upper, bound.at_start, plan, *_replay(game, plan))
        if complete and soups == upper:
            upper -= 1
    return Optimum(0, upper, bound.at_start, np.zeros((0, 2), int), (), False)


def search(bound: Bound, soups: int, width: int, seed: int = 0) -> tuple[Int[np.ndarray, "time 2"] | None, bool]:
    """A plan that serves so many soups within the horizon, if one was found, and whether all states were kept.

    No plan and all states kept: there is none.
    """
    game, rng = bound.game, np.random.default_rng(seed)
    joint, expand = joint_actions(game), successors(game)
    states = jax.tree.map(lambda x: np.asarray(x)[None], game.reset(jax.random.key(0))[0])
    served, parents, complete = np.zeros(1, np.int8), [], True
    for t in range(game.horizon):
        parts = []
        for begin in range(0, len(served), CHUNK):
            part = jax.tree.map(lambda x, b=begin: x[b : b + CHUNK], states)
            count = len(part.held)
            padded = jax.tree.map(lambda x, c=count: np.concatenate([x, np.repeat(x[:1], CHUNK - c, 0)]), part)
            after, paid = jax.tree.map(lambda x, c=count: np.asarray(x)[:c].reshape(-1, *x.shape[2:]), expand(padded))
            total = np.repeat(served[begin : begin + CHUNK], len(joint)) + paid
            fresh = _distinct(after, total)
            after, total = jax.tree.map(lambda x, n=fresh: x[n], after), total[fresh]
            spare = game.horizon - t - 1 - bound.least(after, soups - total)
            keep = np.flatnonzero(spare >= 0)
            picked = jax.tree.map(lambda x, k=keep: x[k], (after, total, spare))
            parts.append((*picked, begin * len(joint) + fresh[keep]))
        states, served, spare, origin = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        fresh = _distinct(states, served)
        if len(fresh) > width:
            complete = False
            fresh = fresh[np.argsort(rng.random(len(fresh)) - spare[fresh])[:width]]
        states, served, origin = jax.tree.map(lambda x, n=fresh: x[n], (states, served, origin))
        parents.append(origin)
        if (served >= soups).any():
            return _trace(parents, int(np.argmax(served >= soups)), joint), complete
        if not len(served):
            break
    return None, complete


def _distinct(states, served) -> Int[np.ndarray, " n"]:
    """Indices of the different ones; the time is the same for all."""
    leaves = [*jax.tree.leaves(dataclasses.replace(states, time=None)), served]
    rows = np.concatenate([np.asarray(x, np.int8).reshape(len(served), int(np.prod(x.shape[1:]))) for x in leaves], 1)
    return np.unique(rows.view(f"V{rows.shape[1]}").reshape(-1), return_index=True)[1]


def _trace(parents, index: int, joint) -> Int[np.ndarray, "time 2"]:
    actions = []
    for step in reversed(parents):
        index, action = divmod(int(step[index]), len(joint))
        actions.append(joint[action])
    return np.array(actions[::-1])


def _replay(game: Overcooked, actions) -> tuple[tuple[int, ...], bool]:
    """Steps at which soups are served, and whether anything is ever put on a counter."""

    def one(state, action):
        after, step = game.step(jax.random.key(0), state, action)
        at = jnp.any(facing_cell(state, game.kitchen)[:, None] == jnp.array(game.kitchen.counters, int), axis=-1)
        puts = at & (action == INTERACT) & (state.held != NOTHING) & (after.held == NOTHING)
        return after, (jnp.sum(step.info["soups"]), jnp.any(puts))

    soups, puts = jax.lax.scan(one, game.reset(jax.random.key(0))[0], jnp.asarray(actions))[1]
    times = np.repeat(np.arange(1, len(actions) + 1), np.asarray(soups).astype(int))
    return tuple(times.tolist()), bool(puts.any())
