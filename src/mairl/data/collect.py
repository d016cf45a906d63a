"""Playing a game: rollouts for learners, recordings for later, and returns. All on the device."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame, State
from mairl.core.host import HostGame
from mairl.core.policy import Policy
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations
from mairl.data.host_record import Player, record_host


def reset(game: MarkovGame, key: Key[Array, ""], num_envs: int) -> State:
    """First states of `num_envs` games, leaves `[env, ...]`."""
    return jax.vmap(lambda k: game.reset(k)[0])(jax.random.split(key, num_envs))


def step_zeros(game: MarkovGame, *lead: int, paid: bool = False) -> Transition:
    """Steps of zeros shaped as play in `game` gives them, leaves `[*lead, ...]`; with rewards where `paid`."""
    agents, space = game.num_agents, game.action_space
    shape = (agents,) if isinstance(space, Discrete) else (agents, space.size)
    dtype = jnp.int32 if isinstance(space, Discrete) else jnp.float32
    shown = len(game.feature_names()) if isinstance(game, HostGame) else 0

    def state():
        return jax.tree.map(lambda s: jnp.zeros((*lead, *s.shape), s.dtype), game.state_spec())

    return Transition(
        actions=jnp.zeros((*lead, *shape), dtype),
        terminated=jnp.zeros((*lead, agents), bool),
        truncated=jnp.zeros(lead, bool),
        mask=jnp.zeros((*lead, agents), bool),
        state=state(),
        next_state=state(),
        reward=jnp.zeros((*lead, agents)) if paid else None,
        features=jnp.zeros((*lead, agents, shown)) if paid and shown else None,
    )


def play(
    game: MarkovGame, policy: Policy, key: Key[Array, ""], state: State, num_steps: int, greedy: bool = False
) -> tuple[State, Transition]:
    """Plays `num_steps` steps in each environment, starting anew whenever an episode is over.

    Args:
        state: leaves `[env, ...]`, as from `reset` or an earlier call.
        greedy: take the policy's mode instead of a sample.

    Returns:
        The states to go on from, and the steps, `[time, env, ...]`, with true rewards and with `next_state` as it
        was before any reset.
    """

    def one(key, state):
        key_act, key_step, key_reset = jax.random.split(key, 3)
        obs, allowed = game.observe(state), game.action_mask(state)
        actions = policy.mode(obs, allowed) if greedy else policy.sample(key_act, obs, allowed)
        next_state, step = game.step(key_step, state, actions)
        transition = Transition(
            actions=actions,
            terminated=step.terminated,
            truncated=step.truncated,
            mask=step.mask,
            state=state,
            next_state=next_state,
            reward=step.reward,
        )
        fresh, _ = game.reset(key_reset)
        onward = jax.tree.map(lambda a, b: jnp.where(step.done, a, b), fresh, next_state)
        return onward, transition

    num_envs = jax.tree.leaves(state)[0].shape[0]

    def step_all(state, key):
        return jax.vmap(one)(jax.random.split(key, num_envs), state)

    return jax.lax.scan(step_all, state, jax.random.split(key, num_steps))


class Episodes(eqx.Module):
    """Whole episodes, one per environment, padded to the horizon.

    Attributes:
        steps: `[time, env, ...]`; `steps.mask` is False in padding.
        alive: `[time, env]` the step belongs to the episode.
        info: the game's diagnostics, leaves `[time, env, ...]`.
    """

    steps: Transition
    alive: Array
    info: dict[str, Array]

    @property
    def returns(self) -> Float[Array, "env agent"]:
        """Undiscounted true return of each agent."""
        return jnp.sum(jnp.where(self.steps.mask, jnp.asarray(self.steps.reward), 0.0), axis=0)

    @property
    def lengths(self) -> Array:
        """`[env]` number of steps."""
        return jnp.sum(self.alive, axis=0).astype(jnp.int32)


def play_episodes(
    game: MarkovGame,
    policy: Policy,
    key: Key[Array, ""],
    num_episodes: int,
    greedy: bool | Bool[Array, ""] = False,
) -> Episodes:
    """Plays each of `num_episodes` games once, from a fresh state to its end (at most `game.horizon` steps).

    Args:
        greedy: take the policy's mode instead of a sample. Under `jit` an array serves for both with one program.
    """
    key_reset, key_play = jax.random.split(key)
    first = reset(game, key_reset, num_episodes)

    def act(key, obs, allowed):
        def mode():
            return policy.mode(obs, allowed)

        def sample():
            return policy.sample(key, obs, allowed)

        if isinstance(greedy, bool):
            return mode() if greedy else sample()
        return jax.lax.cond(greedy, mode, sample)

    def one(key, state, over):
        key_act, key_step = jax.random.split(key)
        actions = act(key_act, game.observe(state), game.action_mask(state))
        next_state, step = game.step(key_step, state, actions)
        next_state = jax.tree.map(lambda a, b: jnp.where(over, a, b), state, next_state)
        transition = Transition(
            actions=actions,
            terminated=step.terminated & ~over,
            truncated=step.truncated & ~over,
            mask=step.mask & ~over,
            state=state,
            next_state=next_state,
            reward=step.reward,
        )
        return next_state, over | step.done, transition, step.info

    def step_all(carry, key):
        state, over = carry
        next_state, next_over, transition, info = jax.vmap(one)(jax.random.split(key, num_episodes), state, over)
        return (next_state, next_over), (transition, ~over, info)

    keys = jax.random.split(key_play, game.horizon)
    _, (steps, alive, info) = jax.lax.scan(step_all, (first, jnp.zeros(num_episodes, bool)), keys)
    return Episodes(steps, alive, info)


play_compiled = eqx.filter_jit(play_episodes)
"""`play_episodes` as a program, which is kept."""


def record(
    game: MarkovGame,
    policy: Policy | Player,
    key: Key[Array, ""],
    *,
    num_episodes: int | None = None,
    num_steps: int | None = None,
    greedy: bool = False,
    batch: int = 256,
    workers: int | None = None,
    metadata: Metadata = Metadata(),
) -> Demonstrations:
    """Records episodes: states (of host games: observations), actions and (hidden from learners) true rewards.

    Args:
        policy: a `Policy`; for host games also any function from (observation, agent's name) to an action, both the
            environment's own, such as one that asks a person.
        num_episodes: record this many episodes, or else
        num_steps: record this many joint transitions; the last episode is cut there.
        batch: episodes played at once (host games: two per worker).
        workers: processes that step a host game; default: one per core. 0: this one.

    Raises:
        InvalidGame: a host game failed, with the reason in one line.
        Unsupported: a function plays one of our games, or nothing is to be recorded.
    """
    check_amount(num_episodes=num_episodes, num_steps=num_steps)
    if isinstance(game, HostGame):
        limits = {"num_episodes": num_episodes, "num_steps": num_steps}
        return record_host(game, policy, key, **limits, greedy=greedy, workers=workers, metadata=metadata)
    if not isinstance(policy, Policy):
        raise Unsupported(
            "a function can play host games only: let it play from_pettingzoo of to_pettingzoo of this game"
        )
    if (num_episodes is None) == (num_steps is None):
        raise ValueError("give either num_episodes or num_steps")
    parts, have = [], 0
    want = int(num_episodes if num_episodes is not None else num_steps or 0)
    while have < want:
        key, key_part = jax.random.split(key)
        size = min(batch, num_episodes) if num_episodes is not None else batch
        part = jax.tree.map(np.asarray, play_compiled(game, policy, key_part, size, greedy))
        parts.append(part)
        have += size if num_episodes is not None else int(part.lengths.sum())

    def join(leaves, axis=1):
        return np.moveaxis(np.concatenate(leaves, axis=axis), 0, 1)

    steps = jax.tree.map(lambda *x: join(x), *[p.steps for p in parts])
    recorded = recording(game, steps, np.concatenate([np.asarray(p.lengths) for p in parts]), metadata)
    if num_steps is not None:
        return recorded.head(num_steps)
    return recorded.episodes(slice(0, num_episodes)) if recorded.num_episodes > want else recorded


def check_amount(**amounts: int | None) -> None:
    """Raises `Unsupported` if fewer than one of something is to be recorded; None: it is not what is counted."""
    for name, amount in amounts.items():
        if amount is not None and amount < 1:
            raise Unsupported(f"{name.removeprefix('num_')} must be at least 1, got {amount}")


def recording(game: MarkovGame, steps: Transition, lengths: np.ndarray, metadata: Metadata) -> Demonstrations:
    """Played episodes as demonstrations: states, actions and true rewards.

    Args:
        steps: leaves `[episode, time, ...]`, on the host; what lies behind an episode's length is padding.
    """

    def with_last(first, last):
        return np.concatenate([first, last[:, -1:]], axis=1)

    return demonstrations(
        actions=steps.actions,
        lengths=lengths,
        terminated=steps.terminated,
        truncated=steps.truncated,
        mask=steps.mask,
        state=jax.tree.map(with_last, steps.state, steps.next_state),
        true_reward=np.where(steps.mask, np.asarray(steps.reward), 0.0),
        metadata=metadata,
        action_space=game.action_space,
    )


def with_metadata(data: Demonstrations, **facts) -> Demonstrations:
    """The same recording with further metadata."""
    have = data.metadata.facts()
    return dataclasses.replace(data, metadata=Metadata.of(**{**have, **facts}))
