"""highway-env's intersection with four controlled vehicles and no other traffic: traces to compare with, and speed.

    python highway_intersection.py traces OUT.npz [EPISODES]      what test_lockstep.py replays
    python highway_intersection.py rate [STEPS]                   environment steps a second, one process, as JSON

Needs highway-env (1.12.1) and NumPy only. Vehicles start 60 to 70 m down their approach at 10 m/s, each with a route
of its own; actions are random, with a bias by vehicle and episode so that all kinds of encounters happen.
"""

import json
import sys
import time

import gymnasium
import highway_env
import numpy as np

VEHICLES, SECONDS = 4, 13
EXITS = ((-1, "right"), (2, "straight"), (1, "left"))


def make():
    """The environment, without observations that cost time (they are ours to compute)."""
    env = gymnasium.make(
        "intersection-multi-agent-v0",
        config={
            "controlled_vehicles": VEHICLES,
            "initial_vehicle_count": 1,
            "spawn_probability": 0.0,
            "duration": SECONDS,
        },
    )
    return env.unwrapped


def place(env, starts, turns) -> None:
    """Removes all other traffic and puts the controlled vehicles on their arms with their routes."""
    env.reset(seed=0)
    network = env.road.network
    env.road.vehicles = list(env.controlled_vehicles)
    for arm, vehicle in enumerate(env.controlled_vehicles):
        lane_index = (f"o{arm}", f"ir{arm}", 0)
        lane = network.get_lane(lane_index)
        vehicle.position = np.array(lane.position(starts[arm], 0.0), dtype=float)
        vehicle.heading = lane.heading_at(starts[arm])
        vehicle.speed = 10.0
        vehicle.on_state_update()
        vehicle.target_lane_index = vehicle.lane_index
        vehicle.plan_route_to(f"o{(arm + EXITS[turns[arm]][0]) % 4}")
        vehicle.speed_index = vehicle.speed_to_index(vehicle.speed)
        vehicle.target_speed = vehicle.index_to_speed(vehicle.speed_index)


def advance(env, actions) -> None:
    """One policy step, past crashes too: a whole episode is compared."""
    env.time += 1 / env.config["policy_frequency"]
    env._simulate(tuple(int(a) for a in actions))


def traces(episodes: int, seed: int = 0) -> dict:
    """Starts, turns and actions, and after each second positions, headings, speeds and crashes."""
    rng = np.random.default_rng(seed)
    env = make()
    shape = (episodes, SECONDS, VEHICLES)
    out = {
        "start": rng.uniform(60, 70, (episodes, VEHICLES)).astype(np.float32),
        "turn": rng.integers(0, 3, (episodes, VEHICLES)).astype(np.int8),
        "position": np.zeros((*shape, 2), np.float32),
        "heading": np.zeros(shape, np.float32),
        "speed": np.zeros(shape, np.float32),
        "crashed": np.zeros(shape, bool),
    }
    bias = rng.dirichlet(np.ones(3), (episodes, VEHICLES))
    draws = rng.random((*shape, 1))
    out["action"] = (draws > np.cumsum(bias, -1)[:, None]).sum(-1).clip(0, 2).astype(np.int8)
    for e in range(episodes):
        place(env, out["start"][e].astype(float), out["turn"][e])
        for t in range(SECONDS):
            advance(env, out["action"][e, t])
            for i, v in enumerate(env.controlled_vehicles):
                out["position"][e, t, i], out["heading"][e, t, i] = v.position, v.heading
                out["speed"][e, t, i], out["crashed"][e, t, i] = v.speed, v.crashed
    facts = {
        "command": "python highway_intersection.py traces OUT.npz " + str(episodes),
        "highway_env": getattr(highway_env, "__version__", ""),
        "numpy": np.__version__,
    }
    return out | {"facts": np.array(json.dumps(facts))}


def rate(steps: int) -> dict:
    """Environment steps a second of random play with highway-env's own `step`: of steps alone, as its `reset` also
    simulates traffic that is then cleared away, and with restarts."""
    env, rng = make(), np.random.default_rng(0)
    env.reset(seed=0)
    env.road.vehicles = list(env.controlled_vehicles)
    alone, with_restarts = [], []
    for _ in range(3):
        begin, stepping = time.perf_counter(), 0.0
        for _ in range(steps):
            start = time.perf_counter()
            over, cut = env.step(tuple(int(a) for a in rng.integers(0, 3, VEHICLES)))[2:4]
            stepping += time.perf_counter() - start
            if over or cut:
                env.reset()
                env.road.vehicles = list(env.controlled_vehicles)
        alone.append(stepping)
        with_restarts.append(time.perf_counter() - begin)
    rates = {"per_s": steps / sorted(alone)[1], "per_s_with_restarts": steps / sorted(with_restarts)[1]}
    return {**rates, "steps": steps, "vehicles": VEHICLES, "processes": 1}


if __name__ == "__main__":
    if sys.argv[1:2] == ["traces"]:
        np.savez_compressed(sys.argv[2], **traces(int(sys.argv[3]) if len(sys.argv) > 3 else 400))
    else:
        print(json.dumps(rate(int(sys.argv[2]) if len(sys.argv) > 2 else 200)))
