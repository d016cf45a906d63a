"""`mairl bench driving`: random driving with observations, collisions, off-road, goals and resets, beside peers."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mairl.algorithms.spread import over_seeds, seed_mesh, spread
from mairl.bench.driving_gradients import gradient_memory
from mairl.bench.peer import run_peer
from mairl.bench.timing import Timing, measure
from mairl.core.spaces import Discrete
from mairl.driving.game import Driving
from mairl.driving.load import load
from mairl.driving.observe import FULL, SMALL, Sight
from mairl.driving.prepare import WorldConfig, drivable
from mairl.driving.road_grid import GridConfig
from mairl.scenarios import store
from mairl.scenarios.generate import generate
from mairl.scenarios.schema import Scenario

WORLDS, AGENTS, SLOTS, STEPS = 38, 14, 64, 91
"""Of the headline: as many worlds, driven vehicles and places for whatever moves, and steps of an episode, resets
included: an episode is one reset and 90 steps."""


def floats_of(game: Driving) -> int:
    """Numbers (float32) in one agent's observation; masks are not counted."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(game.observation_spec) if leaf.dtype == jnp.float32)


def shares(worlds: int, devices: int) -> tuple[int, int]:
    """How many worlds each device plays, and how many devices then play any."""
    each = math.ceil(worlds / devices)
    return each, math.ceil(worlds / each)


def rate(
    game: Driving, worlds: int, episodes: int = 2, repeats: int = 5, look: bool = True
) -> tuple[dict[str, Any], Timing]:
    """Agent-steps a second of uniform random actions; `worlds` games side by side, spread over all devices.

    Where these do not share them evenly, some devices have one game more to play than counts. Each step writes every
    agent's observation into the carry of the loop, so that it is computed and kept, as for a learner. All places for
    driven vehicles count; `share_driven` says how many of them hold one.

    Args:
        look: False: nothing is observed; vehicles still move, collide, leave the road and reach goals.
    """
    each, devices = shares(worlds, jax.local_device_count())
    mesh = seed_mesh(devices)
    assert isinstance(game.action_space, Discrete)
    choices = game.action_space.n
    arrays, static = eqx.partition(game, eqx.is_array)

    def play(key, first, arrays):
        own: Driving = eqx.combine(arrays, static)
        unused = jax.random.key(0)  # Driving is deterministic.
        index = (first + jnp.arange(each)) % len(own.worlds)

        def tick(carry, actions):
            state, _ = carry
            state, step = jax.vmap(lambda s, a: own.step(unused, s, a))(state, actions)
            return (state, step.obs if look else None), (jnp.sum(step.reward), jnp.sum(step.mask))

        def episode(carry, key):
            state, obs = jax.vmap(own.reset_to)(index)
            first = (state, obs if look else None)
            # Drawn for the whole episode: the draws of one step are too few to be made at full speed.
            actions = jax.random.randint(key, (STEPS - 1, each, own.num_agents), 0, choices, jnp.int32)
            carry, (paid, active) = jax.lax.scan(tick, first, actions)
            return carry, (jnp.sum(paid), jnp.sum(active))

        state, obs = jax.vmap(own.reset_to)(index)
        start = (state, obs if look else None)
        (_, obs), (paid, active) = jax.lax.scan(episode, start, jax.random.split(key, episodes))
        return obs, jnp.sum(paid), jnp.sum(active)

    keys, first = jax.random.split(jax.random.key(0), devices), each * jnp.arange(devices)
    if mesh is None:
        alone = jax.jit(lambda k, f, a: play(k[0], f[0], a))
        timing = measure(lambda: alone(keys, first, arrays), repeats)
        active = alone(keys, first, arrays)[2]
    else:
        arrays = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec()))

        @jax.jit
        def everywhere(keys, first, arrays):
            return over_seeds(lambda own, shared: jax.vmap(lambda k, f: play(k, f, shared))(*own), mesh)(
                (keys, first), arrays
            )

        keys, first = spread(keys, mesh), spread(first, mesh)
        timing = measure(lambda: everywhere(keys, first, arrays), repeats)
        active = jnp.sum(everywhere(keys, first, arrays)[2])
    steps = episodes * STEPS * worlds * game.num_agents
    played = episodes * (STEPS - 1) * each * devices * game.num_agents
    row = {
        "agents": game.num_agents,
        "worlds": worlds,
        "devices": devices,
        "observation_floats": floats_of(game) if look else 0,
        "bytes_per_world": round(game.worlds.num_bytes / len(game.worlds)),
        "share_driven": float(active) / played,
    }
    found = timing.rate(steps)
    row |= {"agent_steps_per_s": found["per_s"], "range": found["per_s_range"], "compile_s": found["compile_s"]}
    return row, timing


def game_of(scenarios: Sequence[Scenario], agents: int, slots: int, sight: Sight) -> Driving:
    """Random driving in these scenes, all vehicles staying on the road whatever happens, so that all are at work."""
    # Off-road looks at as many edges as in play, however few are seen.
    grid = GridConfig(others=sight.others)
    config = WorldConfig(num_agents=agents, num_others=slots - agents, steps=STEPS - 1, grid=grid)
    worlds, _, _ = load(scenarios, config)
    rules = dataclasses.replace(
        Driving(worlds, sight=sight).rules, at_goal="ignore", at_collision="ignore", at_off_road="ignore"
    )
    return Driving(worlds, rules=rules, sight=sight, reward="sparse", horizon=STEPS - 1)


def crowded(scenarios: Iterable[Scenario], cycle: bool = False) -> list[Scenario]:
    """The first `WORLDS` scenarios in which `AGENTS` vehicles can be driven, so that no place is empty.

    Args:
        cycle: where there are fewer, they are taken again and again; none where there is none.
    """
    found = []
    for scenario in scenarios:
        if drivable(scenario) >= AGENTS:
            found.append(scenario)
        if len(found) == WORLDS:
            break
    return [found[k % len(found)] for k in range(WORLDS)] if cycle and found else found


def bandwidth(megabytes: int = 256) -> float:
    """Bytes a second that all devices together move when they copy (read and write) more than caches hold."""
    mesh = seed_mesh(jax.local_device_count())
    count = 1 if mesh is None else mesh.devices.size
    data = spread(jnp.zeros((count, megabytes * 250_000 // count)), mesh)
    rounds = 10
    copy = jax.jit(over_seeds(lambda x, _: jax.lax.fori_loop(0, rounds, lambda _, y: y + 1.0, x), mesh))
    timing = measure(lambda: copy(data, ()), 5)
    return 2 * rounds * data.nbytes / timing.median


def bench_driving(path: str | None = None, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """The headline, the sweep and the peers.

    Args:
        path: a STORE of real scenes, for rows and peers on them; made-up ones only without it.
        note: told what is being measured.
    """
    note("making up worlds")
    made = crowded(map(generate, itertools.count()))
    real = crowded(store.open(path), cycle=True) if path is not None else []
    note("headline: 38 worlds × 14 agents, 1,848 floats")
    # On real scenes where there are any: those are what peers are measured on.
    head, _ = rate(game_of(real or made, AGENTS, SLOTS, FULL), WORLDS)
    sweep = []

    def row(label: str, game: Driving, worlds: int, look: bool = True) -> dict[str, Any]:
        note(label)
        sweep.append({"what": label, **rate(game, worlds, episodes=1, repeats=3, look=look)[0]})
        return sweep[-1]

    # As Waymax is measured: 32 objects, no observation.
    blind = row("collisions and off-road only, 32 slots", game_of(real or made, AGENTS, 32, SMALL), WORLDS, False)

    if real:
        row("made-up scenes", game_of(made, AGENTS, SLOTS, FULL), WORLDS)
    game = game_of(made, AGENTS, SLOTS, FULL)
    for worlds in (2, 8, 152):
        row(f"batch of {worlds} worlds", game, worlds)
    row("16 worlds × 64 agents", game_of(made[:16], 64, 64, FULL), 16)
    row("38 worlds × 4 agents", game_of(made, 4, SLOTS, FULL), WORLDS)
    row("small observation", game_of(made, AGENTS, SLOTS, SMALL), WORLDS)
    by_size = sorted(made, key=lambda s: len(s.map.edges.points) + len(s.map.lanes.centre.points))
    for label, scene in (("smallest", by_size[0]), ("largest", by_size[-1])):
        points = len(scene.map.edges.points) + len(scene.map.lanes.centre.points)
        row(f"{label} map of all worlds, {points} points", game_of([scene], AGENTS, SLOTS, FULL), WORLDS)
    note("gradients through a rollout")
    gradients = gradient_memory(game_of(made[:1], AGENTS, SLOTS, SMALL).worlds)
    note("peers")
    worlds = ["--worlds", os.path.abspath(path)] if path is not None else []
    peers = {
        "pufferdrive": run_peer("pufferdrive", "mairl", *worlds),
        "waymax": run_peer("waymax_metrics", "waymax"),
    }
    ratios = {}
    if "agent_steps_per_s" in peers["pufferdrive"]:
        ratios["pufferdrive"] = head["agent_steps_per_s"] / peers["pufferdrive"]["agent_steps_per_s"]
    for each in peers["waymax"].get("rates", ()):
        label, theirs = f"waymax, {each['road_points']} road points", each["agent_steps_per_s"]
        ratios[label] = blind["agent_steps_per_s"] / theirs
        ratios[f"{label}, our observation included"] = head["agent_steps_per_s"] / theirs
    return {
        "agent_steps_per_s": head["agent_steps_per_s"],
        "observation_floats": head["observation_floats"],
        "agents": head["agents"],
        "worlds": head["worlds"],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "compile_s": head["compile_s"],
        "bytes_per_world": head["bytes_per_world"],
        "headline": {"scenes": "real" if real else "made-up", **head},
        "bound": bound(head),
        "gradients": gradients,
        "peers": peers,
        "ratios": ratios,
        "sweep": sweep,
    }


def bound(head: dict[str, Any]) -> dict[str, Any]:
    """What an agent-step has to move at least, and the share of the machine's own rate that this is.

    The observation is written once, and the map's rows behind its road features are read once.
    """
    written = 4 * head["observation_floats"]
    read = 4 * 7 * (FULL.edges + FULL.others)
    machine = bandwidth()
    return {
        "bytes_written": written,
        "bytes_read": read,
        "machine_bytes_per_s": machine,
        "share_of_bandwidth": head["agent_steps_per_s"] * (written + read) / machine,
    }
