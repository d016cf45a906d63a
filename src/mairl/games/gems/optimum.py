"""The exact optimum of a Gems layout: the largest sum of both returns, with a plan that reaches it.

Nothing blocks an agent, so a leg between two cells takes their Manhattan distance, and gems met on the way do no
harm. A plan is then a sequence of meetings: moments at which both agents stand on purple gems, on one (which takes
it) or on two (which takes both). Between two meetings each agent visits some of its own gems, and the earlier one
waits. All sequences of meetings are tried; for each, dynamic programming over (which own gems each agent has) gives
the earliest time of every meeting, so the result is a maximum and not an estimate. It needs `respawn=False`.

    python -m mairl.games.gems.optimum -o optimum.json
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
from jaxtyping import Int

from mairl.core.errors import Unsupported
from mairl.games.gems.game import Gems
from mairl.games.gems.types import MOVES, GemsState

NEVER = 10_000
"""Longer than any horizon."""


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The best that both agents can do together.

    Attributes:
        total: largest sum of both returns (undiscounted).
        returns: each agent's return in the plan below; other optimal plans may share `total` otherwise.
        own: own-colour gems that each agent collects in the plan.
        purple: purple gems collected.
        actions: `[time, agent]` int, the plan, one row for each step of the horizon.
        exhausted: sequences of meetings examined.
    """

    total: float
    returns: tuple[float, float]
    own: tuple[int, int]
    purple: int
    actions: Int[np.ndarray, "time 2"]
    exhausted: int


class _Agent:
    """One agent's shortest tours. Places: its start (0), then the purple gems (1 …)."""

    def __init__(self, start, own, purple, horizon: int):
        self.own = np.asarray(own, int).reshape(-1, 2)
        self.places = np.concatenate([np.asarray(start, int)[None], np.asarray(purple, int).reshape(-1, 2)])
        count, sets = len(self.own), 1 << len(self.own)
        between = _distances(self.own, self.own)
        out = _distances(self.places, self.own)
        # reach[p, S, g]: least time from place p over all gems of S, ending on g in S (Held and Karp).
        reach = np.full((len(self.places), sets, count), NEVER)
        for chosen in range(1, sets):
            for g in _members(chosen):
                rest = chosen & ~(1 << g)
                reach[:, chosen, g] = (reach[:, rest] + between[:, g]).min(axis=1) if rest else out[:, g]
        self.reach = reach
        # tour[p, q, S]: from p over S to q. free[p, S]: from p over S, ending anywhere.
        self.tour = np.empty((len(self.places), len(self.places), sets), int)
        self.tour[:, :, 0] = _distances(self.places, self.places)
        self.free = np.zeros((len(self.places), sets), int)
        if count:
            self.tour[:, :, 1:] = (reach[:, None, 1:] + out[None, :, None]).min(axis=-1)
            self.free[:, 1:] = reach[:, 1:].min(axis=-1)
        # most[p, S, t]: gems held in the end, holding S at place p with t steps left; `last` is the set to add.
        size = np.array([s.bit_count() for s in range(sets)])
        self.most = np.zeros((len(self.places), sets, horizon + 1), int)
        self.last = np.zeros_like(self.most)
        for p, held in itertools.product(range(len(self.places)), range(sets)):
            feasible = self.free[p][None] <= np.arange(horizon + 1)[:, None]
            gain = np.where(feasible, size[np.arange(sets) | held], -1)
            self.last[p, held] = gain.argmax(axis=1)
            self.most[p, held] = gain.max(axis=1)

    def cells(self, origin: int, chosen: int, target: int | None) -> list[np.ndarray]:
        """The own gems of `chosen` in the order of a shortest tour, then the target place."""
        order, rest = [], chosen
        after = None if target is None else self.places[target]
        while rest:
            cost = self.reach[origin, rest].astype(int)
            if after is not None:
                cost = cost + np.abs(self.own - after).sum(axis=1)
            g = int(np.argmin(np.where([(rest >> k) & 1 for k in range(len(self.own))], cost, 2 * NEVER)))
            order.append(self.own[g])
            after, rest = self.own[g], rest & ~(1 << g)
        return order[::-1] + ([] if target is None else [self.places[target]])


def optimum(game: Gems, state: GemsState) -> Optimum:
    """The optimum from a first state of `game`, with at most 6 gems of each colour.

    Raises:
        Unsupported: gems respawn, or there are too many.
    """
    if game.respawn or max(game.gems) > 6 or game.purple_reward < 0:
        raise Unsupported(
            f"the exact optimum needs respawn=False, purple_reward >= 0 and at most 6 gems of a colour, got "
            f"{game.respawn}, {game.purple_reward} and {game.gems}"
        )
    left = game.horizon - int(state.time)
    gems, alive = np.asarray(state.gems, int), np.asarray(state.alive)
    colour = [gems[alive & (game.colours == c)] for c in range(3)]
    agents = [_Agent(np.asarray(state.agents[i]), colour[i], colour[2], left) for i in range(2)]
    blue, red = agents
    steps = [_additions(len(agent.own)) for agent in agents]
    # All ways to add own gems on one leg, of both agents: from (have_b, have_r) by (add_b, add_r).
    have_b, add_b = (x[:, None] for x in steps[0])
    have_r, add_r = (x[None] for x in steps[1])
    sets = (1 << len(blue.own), 1 << len(red.own))
    best = {"total": -1.0, "examined": 0}

    def meet(earliest, origin, target):
        """Earliest times `[have_b, have_r]` of the next meeting."""
        need = np.maximum(blue.tour[origin[0], target[0]][add_b], red.tour[origin[1], target[1]][add_r])
        arrive = earliest[have_b, have_r] + need
        result = np.full(sets, NEVER)
        flat = ((have_b | add_b) * sets[1] + (have_r | add_r)).reshape(-1)
        np.minimum.at(result.reshape(-1), flat, arrive.reshape(-1))
        return result

    def explore(earliest, meetings, remaining):
        best["examined"] += 1
        origin = meetings[-1] if meetings else (0, 0)
        collected = len(colour[2]) - len(remaining)
        spare = np.clip(left - earliest, 0, None)
        rows, columns = np.arange(sets[0])[:, None], np.arange(sets[1])[None]
        own = blue.most[origin[0], rows, spare] + red.most[origin[1], columns, spare]
        total = np.where(earliest <= left, own + 2 * game.purple_reward * collected, -1.0)
        if total.max() > best["total"]:
            held = np.unravel_index(total.argmax(), total.shape)
            best.update(total=float(total.max()), meetings=list(meetings), held=held)
        for target in itertools.product(sorted(remaining), repeat=2):
            onward = meet(earliest, origin, target)
            if onward.min() <= left:
                explore(onward, [*meetings, target], remaining - set(target))

    first = np.full(sets, NEVER)
    first[0, 0] = 0
    explore(first, [], frozenset(range(1, len(colour[2]) + 1)))
    actions = _plan(agents, best["meetings"], best["held"], first, meet, left)
    places, held, spare = _ending(best["meetings"], best["held"], first, meet, left)
    own = int(blue.most[places[0], held[0], spare]), int(red.most[places[1], held[1], spare])
    purple = len({p for meeting in best["meetings"] for p in meeting})
    shared = game.purple_reward * purple
    return Optimum(best["total"], (own[0] + shared, own[1] + shared), own, purple, actions, best["examined"])


def _ending(meetings, held, first, meet, left):
    """Places, held gems of both agents, and the time left, after the last meeting."""
    earliest, origin = first, (0, 0)
    for target in meetings:
        earliest, origin = meet(earliest, origin, target), target
    return origin, held, left - earliest[held]


def _plan(agents, meetings, held, first, meet, left) -> np.ndarray:
    """The actions of the best plan: the sets added on each leg are found backwards from the times."""
    times, origins = [first], [(0, 0), *meetings]
    for origin, target in zip(origins, meetings):
        times.append(meet(times[-1], origin, target))
    legs, have = [], tuple(int(h) for h in held)
    for k in reversed(range(len(meetings))):
        due = times[k + 1][have]
        for before in itertools.product(*[[s for s in range(h + 1) if s & ~h == 0] for h in have]):
            added = [h & ~b for h, b in zip(have, before)]
            need = max(agent.tour[o, t, a] for agent, o, t, a in zip(agents, origins[k], meetings[k], added))
            if times[k][before] + need == due:
                legs.append((k, added, int(need)))
                have = before
                break
    actions = np.full((left, 2), len(MOVES) - 1)
    where = [agent.places[0].copy() for agent in agents]
    now = 0
    for k, added, need in reversed(legs):
        for i, agent in enumerate(agents):
            walked = _walk(where[i], agent.cells(origins[k][i], added[i], meetings[k][i]))
            actions[now : now + len(walked), i] = walked
        now += need
    for i, agent in enumerate(agents):
        last = int(agent.last[origins[-1][i], held[i], left - now])
        walked = _walk(where[i], agent.cells(origins[-1][i], last, None))
        actions[now : now + len(walked), i] = walked
    return actions


def _walk(where: np.ndarray, cells: list[np.ndarray]) -> list[int]:
    """Moves `where` (in place) over the cells, along x first."""
    actions = []
    for cell in cells:
        dx, dy = cell - where
        actions += [3 if dx > 0 else 2] * abs(dx) + [1 if dy > 0 else 0] * abs(dy)
        where[:] = cell
    return actions


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a[:, None] - b[None]).sum(axis=-1)


def _members(chosen: int) -> list[int]:
    return [k for k in range(chosen.bit_length()) if (chosen >> k) & 1]


def _additions(count: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (have, add) of disjoint sets of own gems."""
    pairs = [(h, a) for h in range(1 << count) for a in range(1 << count) if h & a == 0]
    return np.array([h for h, _ in pairs]), np.array([a for _, a in pairs])


def main(argv: list[str] | None = None) -> None:
    """Writes the optimum of the fixed layout as JSON."""
    import argparse

    import jax

    parser = argparse.ArgumentParser(description="The exact optimum of Gems' fixed layout")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(argv)
    game = Gems()
    found = optimum(game, game.reset(jax.random.key(0))[0])
    facts = {
        "command": f"python -m mairl.games.gems.optimum -o {options.output}",
        "game": "gems",
        "horizon": game.horizon,
        "purple_reward": game.purple_reward,
        "method": "exact: exhaustive over sequences of meetings, dynamic programming over own gems",
        "lower_bound": found.total,
        "upper_bound": found.total,
        "mean_per_agent": found.total / 2,
        "plan_returns": found.returns,
        "plan_own_gems": found.own,
        "plan_purple_gems": found.purple,
        "sequences_examined": found.exhausted,
        "plan_actions": found.actions.tolist(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"optimum {found.total:g} in all, {found.total / 2:g} per agent; plan {found.returns}")


if __name__ == "__main__":
    main()
