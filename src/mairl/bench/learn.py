"""`mairl bench learn`: training rates of every learner on Gems, and of ours beside peers on CartPole."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mairl.algorithms import device_loop as loop
from mairl.algorithms.ppo import PPO
from mairl.algorithms.registry import IMITATORS, make_algorithm
from mairl.bench.cartpole import CartPole
from mairl.bench.peer import run_peer
from mairl.bench.profile import profile_mamql
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games import make_game
from mairl.networks.build import NetworkConfig
from mairl.networks.discriminator import DiscriminatorConfig


@dataclasses.dataclass(frozen=True)
class Rate:
    """What training costs.

    Attributes:
        env_steps_per_s: environment steps a second, all seeds together; None offline.
        updates_per_s: gradient updates (optimiser steps) a second, all seeds together.
        compile_s: first chunk less a later one.
        memory_mb: arrays that training holds between iterations: learner states, buffers, environments.
    """

    env_steps_per_s: float | None
    updates_per_s: float
    compile_s: float
    memory_mb: float


def training_rate(algorithm, game, data, seeds: int, iterations: int, repeats: int = 3) -> Rate:
    """Times chunks of the training loop itself: collection and updates, without evaluation and checkpoints."""
    keys = jax.vmap(lambda s: jax.random.split(jax.random.key(s), 2))(jnp.arange(seeds, dtype=jnp.uint32))
    collection = algorithm.collection(game)
    data = data.observed(game) if data is not None else None
    carry = loop.initial(algorithm, game, data, collection, keys[:, 0])
    names = loop.metric_names(algorithm, game, data, collection)
    held = sum(x.nbytes for x in jax.tree.leaves(carry) if hasattr(x, "nbytes"))
    seconds = []
    for chunk in range(repeats + 1):
        start = time.perf_counter()
        span = jnp.asarray([chunk * iterations, (chunk + 1) * iterations])
        carry, metrics = loop.run_chunk(
            (algorithm, game, data, keys[:, 1], span), carry, names, in_turn=loop.one_by_one()
        )
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[repeats // 2]
    return Rate(
        None if collection is None else seeds * iterations * collection.size / median,
        seeds * iterations * gradient_steps(algorithm) / median,
        seconds[0] - median,
        held / 2**20,
    )


def gradient_steps(algorithm) -> int:
    """Optimiser steps of one iteration; for learners that contain PPO, its steps and the discriminators'."""
    if isinstance(algorithm, PPO):
        return algorithm.epochs * algorithm.minibatches
    if hasattr(algorithm, "ppo"):
        return gradient_steps(algorithm.ppo) + algorithm.discriminator.updates
    return algorithm.updates


SAME_WORK = {"num_envs": 32, "num_steps": 64, "minibatches": 32, "epochs": 10}
"""Stable-Baselines3's work per step: rollouts of 2,048 steps, ten passes in minibatches of 64."""


def on_cartpole(seeds: int, iterations: int = 5) -> dict[str, Any]:
    """PPO, BC, GAIL and AIRL on CartPole with the peers' batches, updates per step and network sizes."""
    game = CartPole()
    data = record(game, UniformPolicy(1, game.action_space), jax.random.key(0), num_steps=4096)
    network = NetworkConfig(kind="mlp", width=64, depth=2, activation="tanh")
    small = NetworkConfig(kind="mlp", width=32, depth=2, activation="tanh")
    ppo = PPO(**SAME_WORK, network=network)
    against = DiscriminatorConfig(network=small, batch=256, updates=4, gradient_penalty=0.0)
    learners = {
        "ppo": ppo,
        "bc": dataclasses.replace(make_algorithm("bc"), network=small, batch=256),
        "gail": dataclasses.replace(make_algorithm("gail"), ppo=ppo, discriminator=against),
        "airl": dataclasses.replace(make_algorithm("airl"), ppo=ppo, discriminator=against),
    }
    return {
        name: dataclasses.asdict(
            training_rate(learner, game, None if name == "ppo" else data, seeds, 60 if name == "bc" else iterations)
        )
        for name, learner in learners.items()
    }


def bench_learn(seeds: int = 4, note: Callable[[str], None] = print) -> dict[str, Any]:
    """Every learner with its defaults on Gems with a recording of 20,000 steps of random play; then CartPole beside
    peers, one seed and ten side by side (peers train one); then where MAMQL's time goes.

    Args:
        note: told what is being measured; the whole takes minutes.
    """
    game = make_game("gems")
    data = record(game, UniformPolicy(game.num_agents, game.action_space), jax.random.key(0), num_steps=20_000)
    ours = {}
    for name in (*IMITATORS, "ppo"):
        note(f"{name} on gems")
        algorithm = make_algorithm(name)
        # An iteration of learners that contain PPO is a whole round of it.
        iterations = 3 if isinstance(algorithm, PPO) or hasattr(algorithm, "ppo") else 30
        rate = training_rate(algorithm, game, None if name == "ppo" else data, seeds, iterations)
        ours[name] = dataclasses.asdict(rate)
    cartpole = {}
    for count in (1, 10):
        note(f"CartPole, {count} seed(s)")
        cartpole[str(count)] = on_cartpole(count)
    note("peers on CartPole, then the profile of MAMQL")
    peers = {
        "imitation": run_peer("imitation_cartpole", "imitation"),
        "stable_baselines3": run_peer("sb3_cartpole", "stable_baselines3"),
    }
    return {
        "game": "gems",
        "seeds": seeds,
        "ours": ours,
        "cartpole": cartpole,
        "peers": peers,
        "ratios": {seeds: ratios(rates, peers) for seeds, rates in cartpole.items()},
        "mamql_profile": [profile_mamql(seeds=count) for count in (1, 10)],
    }


def ratios(ours: dict[str, Any], peers: dict[str, Any]) -> dict[str, float]:
    """Ours to theirs: environment steps a second, for BC gradient updates a second."""
    found = {}
    for peer, names in (("imitation", ("gail", "airl", "bc")), ("stable_baselines3", ("ppo",))):
        for name in names:
            theirs = peers[peer].get(name)
            if theirs is not None:
                unit = "updates_per_s" if name == "bc" else "env_steps_per_s"
                found[f"{name} / {peer}"] = ours[name][unit] / theirs[unit]
    return found
