"""Exact play in small kitchens where counters are kept clear: the optimum, and a logit equilibrium.

Nothing may lie on a counter between two steps; what one cook puts down the next one may take within the step, if the
order of interactions lets them. So a small kitchen has some ten or hundred thousand states (cramped_room: 125,266 with
cook time 20). All that can be reached are listed with what every joint action leads to, by the game's own `step`;
backward induction does the rest.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int16

from mairl.core.errors import InvalidGame
from mairl.games.overcooked.game import Overcooked
from mairl.games.overcooked.types import OvercookedState

MOST_STATES = 3_000_000


@dataclasses.dataclass(frozen=True)
class Kitchen:
    """All states that can be reached while every counter is clear between steps.

    Attributes:
        game: the kitchen.
        codes: `[state]` sorted, see `encode`.
        states: leaves `[state, ...]`; their time is 0.
        following: `[state, joint]` the next state's index; -1 where something would be left on a counter.
        soups: `[state, joint]` delivered.
        start: index of the first state.
    """

    game: Overcooked
    codes: Int[np.ndarray, " state"]
    states: OvercookedState
    following: Int[np.ndarray, "state joint"]
    soups: Int[np.ndarray, "state joint"]
    start: int

    def index(self, states: OvercookedState) -> Int[np.ndarray, " n"]:
        """Which listed states these are; -1 for others."""
        codes = encode(self.game, states)
        found = np.searchsorted(self.codes, codes).clip(0, len(self.codes) - 1)
        return np.where(self.codes[found] == codes, found, -1)


def encode(game: Overcooked, states: OvercookedState) -> Int[np.ndarray, " n"]:
    """A number for each state, whatever its time; -1 where a counter is in use. Leaves `[n, ...]`."""
    kitchen = game.kitchen
    code = np.zeros(len(np.asarray(states.held)), np.int64)
    cells = np.asarray(states.position)[..., 0] + kitchen.width * np.asarray(states.position)[..., 1].astype(np.int64)
    cells = np.searchsorted(np.array(sorted(kitchen.floor)), cells)
    for i in range(game.num_agents):
        for part, size in ((cells[:, i], len(kitchen.floor)), (states.facing[:, i], 4), (states.held[:, i], 6)):
            code = code * size + np.asarray(part)
    for k in range(len(kitchen.pots)):
        onions, cooking = np.asarray(states.onions[:, k]), np.asarray(states.cooking[:, k])
        # A full pot that is not cooking and one that is, are different.
        code = (code * 4 + onions) * (game.cook_time + 2) + cooking + 1
    return np.where(np.asarray(states.counters).any(axis=-1), -1, code)


def joint_actions(game: Overcooked) -> Int[np.ndarray, "joint agent"]:
    """All joint actions, the last agent's changing fastest."""
    return np.array(list(itertools.product(range(game.action_space.n), repeat=game.num_agents)))


def successors(game: Overcooked):
    """A compiled function from states `[n]` to what each joint action makes of them `[n, joint]`: (states, soups)."""
    joint, key = jnp.asarray(joint_actions(game)), jax.random.key(0)  # Nothing is drawn after the start.

    def one(state, action):
        after, step = game.step(key, state, action)
        return after, jnp.sum(step.info["soups"]).astype(jnp.int8)

    return jax.jit(jax.vmap(lambda s: jax.vmap(lambda a: one(s, a))(joint)))


def explore(game: Overcooked, chunk: int = 8192) -> Kitchen:
    """Lists the states by breadth-first search from the fixed start.

    Raises:
        InvalidGame: more than three million states, or too many to number.
    """
    sizes = (len(game.kitchen.floor) * 24) ** game.num_agents * (4 * (game.cook_time + 2)) ** len(game.kitchen.pots)
    if sizes > 2**63 - 1:
        raise InvalidGame(f"{len(game.kitchen.pots)} pots and {game.num_agents} players: too many for exact play")
    key, step = jax.random.key(0), successors(game)

    def expand(states):
        after, soups = step(states)
        return dataclasses.replace(after, time=jnp.zeros_like(after.time)), soups

    fixed = dataclasses.replace(game, random_start=False)
    first = jax.tree.map(lambda x: np.asarray(x)[None], fixed.reset(key)[0])
    codes, parts, follow, paid = [encode(game, first)], [first], [], []
    known = codes[0].copy()
    frontier = first
    while len(frontier.held):
        found, fresh = [], []
        for begin in range(0, len(frontier.held), chunk):
            part = jax.tree.map(lambda x, b=begin: x[b : b + chunk], frontier)
            count = len(part.held)
            part = jax.tree.map(lambda x, c=count: np.concatenate([x, np.repeat(x[:1], chunk - c, 0)]), part)
            after, soups = jax.tree.map(lambda x, c=count: np.asarray(x)[:c], expand(part))
            flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), after)
            code = encode(game, flat)
            follow.append(code.reshape(count, -1))
            paid.append(soups)
            at, first_of = np.unique(code, return_index=True)
            new = first_of[(at >= 0) & ~np.isin(at, known)]
            fresh.append(code[new])
            found.append(jax.tree.map(lambda x, n=new: x[n], flat))
        code = np.concatenate(fresh)
        states = jax.tree.map(lambda *x: np.concatenate(x), *found)
        code, keep = np.unique(code, return_index=True)
        frontier = jax.tree.map(lambda x, k=keep: x[k], states)
        codes.append(code)
        parts.append(frontier)
        known = np.union1d(known, code)
        if len(known) > MOST_STATES:
            raise InvalidGame(f"this kitchen has more than {MOST_STATES:,} states: too many for exact play")
    all_codes = np.concatenate(codes)
    order = np.argsort(all_codes)
    all_codes = all_codes[order]
    states = jax.tree.map(lambda *x: np.concatenate(x)[order], *parts)
    target = np.concatenate(follow)[order]
    following = np.where(target >= 0, np.searchsorted(all_codes, target), -1).astype(np.int32)
    start = int(np.searchsorted(all_codes, codes[0][0]))
    return Kitchen(game, all_codes, states, following, np.concatenate(paid)[order], start)


def optimum(kitchen: Kitchen) -> Int16[np.ndarray, "time state"]:
    """The most soups that can still be delivered within the horizon, by time (row t: t steps played) and state."""
    horizon = kitchen.game.horizon
    best = np.zeros((horizon + 1, len(kitchen.codes)), np.int16)
    for t in range(horizon - 1, -1, -1):
        value = kitchen.soups + np.where(kitchen.following >= 0, best[t + 1][kitchen.following], -100)
        best[t] = value.max(axis=1)
    return best


def logit_play(
    kitchen: Kitchen, rationality: float, discount: float, iterations: int = 12
) -> Float[np.ndarray, "time state agent action"]:
    """An entropy-regularised logit equilibrium of the kitchen within its horizon, found backwards from the end:

        π_i(a_i | s, t) ∝ exp(λ Q̄_i),  Q̄_i = E over a_-i ~ π_-i of r_i + γ V_i(s', t + 1),  V_i = λ⁻¹ logsumexp λ Q̄_i

    At each time the fixed point is looked for from the best joint action, so that the agents agree on one of several
    equally good plans. Joint actions that leave something on a counter are not taken.

    Args:
        rationality: λ, in 1 / units of reward.
        iterations: of the fixed point, each a half step towards the response.
    """
    game = kitchen.game
    if game.num_agents != 2:
        raise InvalidGame(f"exact equilibria are found for two players, this kitchen has {game.num_agents}")
    actions, count = game.action_space.n, len(kitchen.codes)
    share = game.soup_reward / 2
    allowed = (kitchen.following >= 0).reshape(count, actions, actions)
    each = np.stack([allowed.any(2), allowed.any(1)])
    policy = np.zeros((game.horizon, count, 2, actions), np.float32)
    values = np.zeros((2, count))
    for t in range(game.horizon - 1, -1, -1):
        paid = share * kitchen.soups
        q = np.stack([paid + discount * v[kitchen.following] for v in values]).reshape(2, count, actions, actions)
        q = np.where(allowed, q, -1e3)
        best = q.sum(0).reshape(count, -1).argmax(1)
        play = np.stack([np.eye(actions)[best // actions], np.eye(actions)[best % actions]])
        for _ in range(iterations):
            marginal = np.stack([np.einsum("sab,sb->sa", q[0], play[1]), np.einsum("sab,sa->sb", q[1], play[0])])
            scaled = np.where(each, rationality * marginal, -np.inf)
            top = scaled.max(-1, keepdims=True)
            weight = np.exp(scaled - top)
            response = weight / weight.sum(-1, keepdims=True)
            play = 0.5 * play + 0.5 * response
        policy[t] = np.moveaxis(response, 0, 1)
        values = (top[..., 0] + np.log(weight.sum(-1))) / rationality
    return policy
