"""`mairl bench games`: random play under `jit`, observations included, resets included."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mairl.algorithms.spread import over_seeds, seed_mesh, spread
from mairl.bench.peer import run_peer
from mairl.bench.timing import measure
from mairl.core.game import MarkovGame
from mairl.core.policy import UniformPolicy
from mairl.data.collect import reset
from mairl.games import make_game

BATCHES = (1, 64, 512, 2048, 8192)
OURS = (
    *("gems", "gems-random", "overcooked:horizon=400", "overcooked:horizon=400,observation=grid"),
    "intersection",
)


def random_play(game: MarkovGame, batch: int, steps: int, devices: int = 1) -> dict[str, Any]:
    """Environment steps a second of uniform play: every step observes, acts and restarts finished episodes.

    Args:
        batch: of games, on all devices together.
        devices: over which they are spread evenly.
    """
    policy = UniformPolicy(game.num_agents, game.action_space)

    def play(key, state):
        def one(key, state):
            key_act, key_step, key_reset = jax.random.split(key, 3)
            actions = policy.sample(key_act, None, game.action_mask(state))
            next_state, step = game.step(key_step, state, actions)
            fresh, _ = game.reset(key_reset)
            onward = jax.tree.map(lambda a, b: jnp.where(step.done, a, b), fresh, next_state)
            # The sum stands for a learner that reads the observation: without it XLA would not compute any.
            seen = sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(step.obs))
            return onward, (jnp.sum(step.reward), seen)

        def tick(state, key):
            return jax.vmap(one)(jax.random.split(key, batch // devices), state)

        state, (paid, seen) = jax.lax.scan(tick, state, jax.random.split(key, steps))
        return state, jnp.sum(paid), jnp.sum(seen)

    if devices == 1:  # Without an axis over devices, even of size 1, which costs images a third of their rate.
        state, alone = reset(game, jax.random.key(0), batch), jax.jit(play)
        timing = measure(lambda: alone(jax.random.key(1), state))
        return {"batch": batch, "steps": steps, "devices": 1, **timing.rate(batch * steps)}
    mesh = seed_mesh(devices)

    @jax.jit
    def play_everywhere(keys, states):
        return over_seeds(lambda own, _: jax.vmap(play)(*own), mesh)((keys, states), ())

    start, keys = (jax.random.split(jax.random.key(k), devices) for k in (0, 1))
    states = spread(jax.vmap(lambda key: reset(game, key, batch // devices))(start), mesh)
    timing = measure(lambda: play_everywhere(spread(keys, mesh), states))
    return {"batch": batch, "steps": steps, "devices": devices, **timing.rate(batch * steps)}


def bench_games(batches: tuple[int, ...] = BATCHES, work: int = 200_000) -> dict[str, Any]:
    """All games at all batch sizes, and the peers; ratios of medians at the same batch where there is a peer.

    One device each, but for the intersection, which is also spread over all: highway-env has no batches to compare.

    Args:
        work: environment steps per repeat, about.
    """
    games = {
        name: [random_play(make_game(name), batch, max(20, min(2000, work // batch))) for batch in batches]
        for name in OURS
    }
    everywhere = jax.local_device_count()
    if everywhere > 1:
        game = make_game("intersection")
        games["intersection, all devices"] = [
            random_play(game, batch, max(20, min(2000, work // batch)), everywhere)
            for batch in batches
            if batch % everywhere == 0
        ]
    peers = {
        "jaxmarl_overcooked": run_peer("jaxmarl_overcooked", "jaxmarl", *map(str, batches)),
        "highway_intersection": run_peer("highway_intersection", "highway_env", "rate"),
    }
    ratios: dict[str, Any] = {}
    if "rates" in peers["jaxmarl_overcooked"]:
        for name in ("overcooked:horizon=400", "overcooked:horizon=400,observation=grid"):
            theirs = {r["batch"]: r["per_s"] for r in peers["jaxmarl_overcooked"]["rates"]}
            ratios[f"{name} / jaxmarl"] = {str(r["batch"]): r["per_s"] / theirs[r["batch"]] for r in games[name]}
    if "per_s" in peers["highway_intersection"]:
        theirs = peers["highway_intersection"]["per_s"]
        for name in ("intersection", "intersection, all devices"):
            rows = {str(r["batch"]): r["per_s"] / theirs for r in games.get(name, ())}
            ratios[f"{name} / one process of highway-env"] = rows
    return {"games": games, "peers": peers, "ratios": ratios}
