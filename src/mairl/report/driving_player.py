"""Rollouts of learned drivers beside the logs, in a page that plays them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.core.stacked import one_of
from mairl.driving.game import Driving
from mairl.driving.load import DrivingScenes, driving_scenes
from mairl.driving.simulator import State
from mairl.driving.world import Slots
from mairl.games import options_of
from mairl.report.scenario_player import write_player
from mairl.report.scenario_scene import Rollout, Scene
from mairl.scenarios.schema import Scenario

FLAGS = {"collision": "collision", "offroad": "off_road", "goal": "goal"}
"""The player's names of events, to the game's."""


def write_rollouts(name: str, learned: Learned, path: Path, seed: int = 0, greedy: bool = False, most: int = 16) -> int:
    """One rollout of the first seed's policy in each world of a game, at most `most` of them; the page's size in bytes.

    Args:
        name: the game's id with its options.
    """
    scenes = driving_scenes(**options_of(name)[1])
    policy = one_of(learned.policy, 0)
    return write_player(rollout_scenes(scenes, policy, jax.random.key(seed), greedy)[:most], path)


def rollout_scenes(scenes: DrivingScenes, policy: Policy, key: Key[Array, ""], greedy: bool = False) -> list[Scene]:
    """Each world's scenario with a rollout of the policy, for the player.

    Raises:
        InvalidData: the game's step is not the scenario's, so that they cannot be laid side by side.
    """
    game = scenes.game
    for scenario in scenes.scenarios:
        if abs(scenario.dt - game.worlds.dt) > 1e-6:
            raise InvalidData(
                f"{scenario.scenario_id} has steps of {scenario.dt:g} s, the game of {game.worlds.dt:g} s: they cannot "
                "be shown side by side"
            )
    played = jax.tree.map(np.asarray, _play(game, policy, key, greedy))
    return [_scene(game, scenario, slots, k, *played) for k, (scenario, slots) in enumerate(_pairs(scenes))]


def _pairs(scenes: DrivingScenes) -> Sequence[tuple[Scenario, Slots]]:
    return list(zip(scenes.scenarios, scenes.slots, strict=True))


@eqx.filter_jit
def _play(game: Driving, policy: Policy, key: Key[Array, ""], greedy: bool) -> tuple[State, dict[str, Array]]:
    """States `[time + 1, world, ...]` and what happened `[time, world, agent]`."""
    count = len(game.worlds)
    first = jax.vmap(lambda w: game.reset_to(w)[0])(jnp.arange(count))

    def one(key, state):
        key_act, key_step = jax.random.split(key)
        obs = game.observe(state)
        actions = policy.mode(obs) if greedy else policy.sample(key_act, obs)
        after, step = game.step(key_step, state, actions)
        return after, step.info

    def tick(state, key):
        after, info = jax.vmap(one)(jax.random.split(key, count), state)
        return after, (after, info)

    _, (states, info) = jax.lax.scan(tick, first, jax.random.split(key, game.horizon))
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states), info


def _scene(
    game: Driving, scenario: Scenario, slots: Slots, world: int, states: State, info: dict[str, np.ndarray]
) -> Scene:
    tracks = scenario.tracks
    begin = int(game.worlds.start[world])
    steps = min(states.time.shape[0], scenario.num_steps - begin)
    at = slice(begin, begin + steps)
    position, heading = tracks.position[..., :2].astype(np.float64), tracks.heading.astype(np.float64)
    valid = tracks.valid.copy()
    flags = {name: np.zeros(valid.shape, bool) for name in FLAGS}
    for slot in np.flatnonzero(np.asarray(game.worlds.driven[world])):
        track = slots.track[slot]
        position[track, at, 0] = np.asarray(states.motion.x)[:steps, world, slot]
        position[track, at, 1] = np.asarray(states.motion.y)[:steps, world, slot]
        heading[track, at] = np.asarray(states.motion.heading)[:steps, world, slot]
        valid[track, at] = ~np.asarray(states.away)[:steps, world, slot]
        valid[track, begin + steps :] = False
        for name, event in FLAGS.items():
            # What happened in a step is shown where it led to.
            flags[name][track, begin + 1 : begin + steps] = info[event][: steps - 1, world, slot]
            # Who is taken off the road for it is shown once more.
            valid[track] |= flags[name][track]
    return Scene(scenario, Rollout(position, heading, valid), flags)
