"""overcooked-ai's kitchens (the new dynamics) played at random: traces to compare with.

    python overcooked_ai_traces.py OUT.npz [EPISODES]      what test_overcooked_lockstep.py replays

Needs overcooked-ai (1.1.0), which needs NumPy 1, and nothing else. An episode is 400 steps; every second one begins
at random places. Uniform play hardly ever serves a soup, so cooks alternate between uniform actions and errands: a
thing to use is drawn with a bias to what helps, and the cook walks up to it and interacts.
"""

import json
import sys
from collections import deque

import numpy as np
from overcooked_ai_py.mdp.actions import Action, Direction
from overcooked_ai_py.mdp.overcooked_mdp import OvercookedGridworld, OvercookedState

LAYOUTS = (
    "cramped_room",
    "asymmetric_advantages",
    "coordination_ring",
    "forced_coordination",
    "counter_circuit_o_1order",
)
STEPS = 400
INTERACT = 5


class Cook:
    """Walks to what it has in mind with probability 1 - `noise`, and does anything otherwise."""

    def __init__(self, kitchen, rng):
        self.rng, self.target = rng, None
        self.stations = kitchen._get_terrain_type_pos_dict()

    def act(self, state, who, noise):
        """The next action of cook number `who`."""
        player = state.players[who]
        blocked = {p.position for p in state.players} - {player.position}
        if self.target is None or self.rng.random() < 0.05:
            wishes = [w for w in self.wishes(state, player) if self.way(player, w, blocked) is not None]
            self.target = wishes[self.rng.integers(len(wishes))] if wishes else None
        step = None if self.target is None else self.way(player, self.target, blocked)
        if step is None or self.rng.random() < noise:
            step = int(self.rng.integers(6))
        if step == INTERACT:
            self.target = None
        return step

    def wishes(self, state, player):
        """Cells to use next, the helpful ones several times."""
        at = self.stations
        used = [cell for cell in at["X"] if state.has_object(cell)]
        free = [cell for cell in at["X"] if not state.has_object(cell)]
        soups = {cell: state.get_object(cell) for cell in at["P"] if state.has_object(cell)}
        full = [c for c, s in soups.items() if len(s.ingredients) == 3]
        spare = [free[self.rng.integers(len(free))]] if free else []
        if player.held_object is None:
            idle = [c for c in full if soups[c].is_idle]
            any_pot = at["P"] if self.rng.random() < 0.02 else []
            return 12 * idle + at["O"] * (1 if len(full) == len(at["P"]) else 6) + at["D"] * 2 + 3 * used + any_pot
        if player.held_object.name == "onion":
            return 4 * [c for c in at["P"] if c not in full] + spare + at["P"]
        if player.held_object.name == "dish":
            return 8 * [c for c in full if soups[c].is_ready] + at["P"] + spare
        return 8 * at["S"] + spare

    def way(self, player, target, blocked):
        """First action of a shortest way to face the target, INTERACT once there, None where there is no way."""
        if tuple(np.add(player.position, player.orientation)) == target:
            return INTERACT
        floor = set(self.stations[" "]) - blocked
        seen, todo = {player.position}, deque([(player.position, None)])
        while todo:
            cell, first = todo.popleft()
            for k, direction in enumerate(Direction.ALL_DIRECTIONS):
                near = tuple(np.add(cell, direction))
                if near == target:
                    return k if first is None else first
                if near in floor and near not in seen:
                    seen.add(near)
                    todo.append((near, k if first is None else first))
        return None


def code(thing):
    """0 nothing, 1 onion, 2 dish, 2 + k a soup of k onions."""
    if thing is None:
        return 0
    return {"onion": 1, "dish": 2}.get(thing.name) or 2 + len(thing.ingredients)


def snapshot(kitchen, state):
    """A state in small integers; counters and pots in reading order."""
    objects = state.objects
    pots = [objects.get(p) for p in ordered(kitchen, "P")]
    return {
        "position": [p.position for p in state.players],
        "facing": [Direction.DIRECTION_TO_INDEX[p.orientation] for p in state.players],
        "held": [code(p.held_object) for p in state.players],
        "counters": [code(objects.get(c)) for c in ordered(kitchen, "X")],
        "onions": [len(p.ingredients) if p else 0 for p in pots],
        "cooking": [p._cooking_tick if p else -1 for p in pots],
    }


def ordered(kitchen, kind):
    """Cells of a kind from top to bottom, left to right."""
    return sorted(kitchen._get_terrain_type_pos_dict()[kind], key=lambda cell: cell[::-1])


def traces(layout, episodes, rng):
    """`[episode, time, ...]`: states (one more than actions), actions, rewards (in all) and shaped points by cook."""
    kitchen = OvercookedGridworld.from_layout_name(layout)
    places = kitchen.get_valid_joint_player_positions()
    orders = {"bonus_orders": kitchen.start_bonus_orders, "all_orders": kitchen.start_all_orders}
    records = []
    for episode in range(episodes):
        state = kitchen.get_standard_start_state()
        if episode % 2:
            state = OvercookedState.from_player_positions(places[rng.integers(len(places))], **orders)
        cooks = [Cook(kitchen, rng) for _ in range(2)]
        noise = rng.choice([0.05, 0.2, 0.5, 1.0], p=[0.4, 0.3, 0.2, 0.1])
        states, steps = [snapshot(kitchen, state)], []
        for _ in range(STEPS):
            actions = [cook.act(state, who, noise) for who, cook in enumerate(cooks)]
            state, info = kitchen.get_state_transition(state, [Action.ALL_ACTIONS[a] for a in actions])
            states.append(snapshot(kitchen, state))
            paid = sum(info["sparse_reward_by_agent"])
            steps.append({"actions": actions, "reward": paid, "shaped": info["shaped_reward_by_agent"]})
        records.append({k: np.array([s[k] for s in part], np.int8) for part in (states, steps) for k in part[0]})
    return {k: np.stack([r[k] for r in records]) for k in records[0]} | {
        "grid": np.array(["".join(row) for row in kitchen.terrain_mtx])
    }


def main(out, episodes):
    """Writes the traces of all layouts."""
    rng = np.random.default_rng(0)
    assert list(Direction.ALL_DIRECTIONS) == list(Action.ALL_ACTIONS[:4])
    found = {}
    for layout in LAYOUTS:
        name = layout.replace("_o_1order", "")
        found |= {f"{name}/{k}": v for k, v in traces(layout, episodes, rng).items()}
        paid = found[f"{name}/reward"]
        print(f"{name}: {paid.size} steps, {(paid > 0).sum()} soups paid")
    facts = {"command": f"python overcooked_ai_traces.py OUT.npz {episodes}", "overcooked_ai": "1.1.0"}
    np.savez_compressed(out, facts=np.array(json.dumps(facts | {"numpy": np.__version__})), **found)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 25)
