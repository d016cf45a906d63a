"""Recorded play: what experts (or anybody) did, validated once on the host."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidData, InvalidGame
from mairl.core.game import MarkovGame
from mairl.core.spaces import ActionSpace, Box, Discrete
from mairl.core.transition import Transition


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Where a recording comes from. Hashable, so that it can ride along a pytree without being traced.

    Attributes:
        game: the id (and options) of the game, as on the command line, such as "gems" or
            "overcooked:cook_time=5"; "" if unknown.
        source: who acted: "ppo expert, stochastic", "humans", ….
        licence: terms of the recording, "" if the user's own.
        extra: further facts as a JSON object.
    """

    game: str = ""
    source: str = ""
    licence: str = ""
    extra: str = "{}"

    @classmethod
    def of(cls, game: str = "", source: str = "", licence: str = "", **extra: Any) -> Metadata:
        """Builds metadata with further JSON-able facts."""
        return cls(game, source, licence, json.dumps(extra, sort_keys=True))

    def facts(self) -> dict[str, Any]:
        """Everything as one dictionary."""
        return {"game": self.game, "source": self.source, "licence": self.licence, **json.loads(self.extra)}


class Demonstrations(eqx.Module):
    """Episodes of joint play, padded to the longest. Build it with `demonstrations`, which validates.

    Either `state` or `obs` is recorded (or both). Entries at or after an episode's length are padding.

    Attributes:
        actions: `[episode, time, agent]` int32, or `[episode, time, agent, size]` float32.
        lengths: `[episode]` number of steps recorded.
        terminated: `[episode, time, agent]` the future after this step is worth 0 to the agent.
        truncated: `[episode, time]` cut here by the time limit (or by the end of the recording).
        mask: `[episode, time, agent]` the agent took part in this step.
        steps: `[transition, 2]` (episode, time) of every recorded step, so that one integer picks one.
        state: leaves `[episode, time+1, ...]`, or None.
        obs: leaves `[episode, time+1, agent, ...]`, or None.
        action_mask: `[episode, time+1, agent, action]` allowed actions, or None when all are.
        true_reward: `[episode, time, agent]`, or None. Hidden from learners of rewards; used by metrics only.
        metadata: where the recording comes from.
        action_space: what the agents could do, or None where only what they did is known.
    """

    actions: Array
    lengths: Int[Array, " episode"]
    terminated: Bool[Array, "episode time agent"]
    truncated: Bool[Array, "episode time"]
    mask: Bool[Array, "episode time agent"]
    steps: Int[Array, "transition 2"]
    state: PyTree[Array] | None = None
    obs: PyTree[Array] | None = None
    action_mask: Bool[Array, "episode time+1 agent action"] | None = None
    true_reward: Float[Array, "episode time agent"] | None = None
    metadata: Metadata = eqx.field(static=True, default=Metadata())
    action_space: ActionSpace | None = eqx.field(static=True, default=None)

    @property
    def num_episodes(self) -> int:
        """How many episodes were recorded."""
        return self.actions.shape[0]

    @property
    def num_agents(self) -> int:
        """The length of the agent axis."""
        return self.actions.shape[2]

    @property
    def num_steps(self) -> int:
        """How many joint transitions were recorded, padding left out."""
        return self.steps.shape[0]

    def transition(self, index: Int[Array, "*b"]) -> Transition:
        """The recorded steps at `index` (0 … num_steps-1), without the true reward. Works under `jit`."""
        return self._steps_at(on_device(index))

    @eqx.filter_jit
    def _steps_at(self, index: Int[Array, "*b"]) -> Transition:
        # One program, rather than several for each leaf where it is called from the host.
        episode, time = self.steps[index, 0], self.steps[index, 1]

        def here(tree):
            return jax.tree.map(lambda x: x[episode, time], tree)

        def after(tree):
            return jax.tree.map(lambda x: x[episode, time + 1], tree)

        return Transition(
            actions=self.actions[episode, time],
            terminated=self.terminated[episode, time],
            truncated=self.truncated[episode, time],
            mask=self.mask[episode, time],
            state=here(self.state),
            next_state=after(self.state),
            obs=here(self.obs),
            next_obs=after(self.obs),
            action_mask=here(self.action_mask),
            next_action_mask=after(self.action_mask),
        )

    def sample(self, key: Key[Array, ""], batch: int) -> Transition:
        """`batch` recorded steps, uniform with replacement."""
        return self.transition(jax.random.randint(key, (batch,), 0, self.num_steps))

    def first(self, key: Key[Array, ""], batch: int) -> Transition:
        """`batch` first steps of episodes, uniform with replacement: samples of the initial state."""
        episode = jax.random.randint(key, (batch,), 0, self.num_episodes)
        starts = jnp.cumsum(self.lengths) - self.lengths
        return self.transition(starts[episode])

    def episodes(self, which) -> Demonstrations:
        """The recording of some episodes only (host indices or a slice), with `steps` recomputed."""
        take = np.arange(self.num_episodes)[which]
        host = {
            f.name: jax.tree.map(lambda x: np.asarray(x)[take], getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.name not in ("steps", "metadata", "action_space")
        }
        return demonstrations(**host, metadata=self.metadata, action_space=self.action_space)

    def head(self, num_steps: int) -> Demonstrations:
        """The first `num_steps` joint transitions: whole episodes, the last one cut (marked truncated) if need be.

        Raises:
            InvalidData: fewer steps than that are recorded.
        """
        if not 0 < num_steps <= self.num_steps:
            raise InvalidData(
                f"asked for {num_steps} steps of a recording of {self.num_steps}: ask for fewer or record more"
            )
        lengths = np.asarray(self.lengths)
        ends = np.cumsum(lengths)
        last = int(np.searchsorted(ends, num_steps))
        part = self.episodes(slice(0, last + 1))
        cut = num_steps - (int(ends[last]) - int(lengths[last]))
        if cut == lengths[last]:
            return part
        lengths, truncated = np.asarray(part.lengths).copy(), np.asarray(part.truncated).copy()
        lengths[-1], truncated[-1, cut - 1] = cut, True
        fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.name != "steps"}
        return demonstrations(**{**fields, "lengths": lengths, "truncated": truncated})

    def split(self, share: float, seed: int = 0) -> tuple[Demonstrations, Demonstrations]:
        """Splits by whole episodes into (1 - share, share), at least one episode each.

        Raises:
            InvalidData: fewer than two episodes.
        """
        if self.num_episodes < 2:
            raise InvalidData("one episode cannot be split into training and held-out parts: record two or more")
        order = np.random.default_rng(seed).permutation(self.num_episodes)
        held = int(np.clip(round(share * self.num_episodes), 1, self.num_episodes - 1))
        return self.episodes(np.sort(order[held:])), self.episodes(np.sort(order[:held]))

    def observed(self, game: MarkovGame) -> Demonstrations:
        """With `obs` (and action masks) computed from `state` once, so that learners need not do it at every sample."""
        if self.obs is not None:
            return self
        obs, allowed = _seen(game, self.state, self.action_mask is None)
        return dataclasses.replace(self, obs=obs, action_mask=allowed if self.action_mask is None else self.action_mask)

    def check_fits(self, game: MarkovGame) -> None:
        """Raises `InvalidGame`, with numbers, unless this recording can be of `game`."""
        problems = []
        if self.num_agents != game.num_agents:
            problems.append(f"the recording has {self.num_agents} agents, the game {game.num_agents}")
        space = game.action_space
        if isinstance(space, Discrete):
            if self.actions.ndim != 3:
                problems.append(
                    f"the recording has vectors of size {self.actions.shape[-1]} as actions, the game {space.n} choices"
                )
            elif (top := int(np.max(np.asarray(self.actions)))) >= space.n:
                problems.append(f"the recording holds action {top}, the game has 0 … {space.n - 1}")
        elif self.actions.ndim != 4 or self.actions.shape[-1] != space.size:
            shape = "discrete actions" if self.actions.ndim == 3 else f"actions of size {self.actions.shape[-1]}"
            problems.append(f"the recording has {shape}, the game vectors of size {space.size}")
        if self.obs is not None:
            want = {
                jax.tree_util.keystr(p): s.shape for p, s in jax.tree_util.tree_leaves_with_path(game.observation_spec)
            }
            have = {jax.tree_util.keystr(p): x.shape[3:] for p, x in jax.tree_util.tree_leaves_with_path(self.obs)}
            if want != have:
                problems.append(f"observations are {have or '{}'} in the recording and {want} in the game")
        elif not game.pure:
            problems.append("the recording holds states, but the game cannot compute observations from them")
        else:
            # The state of one of our games: the same leaves, or it was recorded with other options.
            key = jax.eval_shape(lambda: jax.random.key(0))
            want = jax.tree.leaves(jax.eval_shape(lambda k: game.reset(k)[0], key))
            have = jax.tree.leaves(self.state)
            if [w.shape for w in want] != [h.shape[2:] for h in have]:
                problems.append(
                    "the recorded states have other shapes than the game's: other options or another layout"
                )
        if problems:
            raise InvalidGame(
                f"recording and game do not fit: {'; '.join(problems)}. Name the game and options of the recording: "
                f"{self.metadata.game or 'unknown'}"
            )


@eqx.filter_jit
def _seen(game: MarkovGame, state: PyTree[Array], masks: bool) -> tuple[PyTree[Array], Array | None]:
    """Observations, and action masks if they are asked for, of states with leaves `[episode, time, ...]`."""
    obs = jax.vmap(jax.vmap(game.observe))(state)
    return obs, jax.vmap(jax.vmap(game.action_mask))(state) if masks else None


def demonstrations(
    *,
    actions,
    lengths,
    terminated,
    truncated,
    mask=None,
    state=None,
    obs=None,
    action_mask=None,
    true_reward=None,
    metadata: Metadata = Metadata(),
    action_space: ActionSpace | None = None,
) -> Demonstrations:
    """Builds and validates a recording from host arrays (shapes as in `Demonstrations`).

    Args:
        mask: default: every agent takes part in every recorded step.
        action_space: if given, actions are checked against it, and it is kept.

    Raises:
        InvalidData: wrong shapes, out-of-range actions, NaNs, lengths beyond the arrays, no steps at all.
    """
    actions = np.asarray(actions)
    if actions.ndim not in (3, 4):
        raise InvalidData(
            f"actions must be [episode, time, agent] or [episode, time, agent, size], got shape {actions.shape}"
        )
    discrete = actions.ndim == 3
    whole = np.issubdtype(actions.dtype, np.integer) or (
        bool(np.all(np.isfinite(actions))) and not np.any(actions != np.round(actions))
    )
    if discrete and not whole:
        raise InvalidData("discrete actions must be whole numbers; give vector actions a last axis, even of size 1")
    if not discrete:
        actions = actions.astype(np.float32)
    episodes, time, agents = actions.shape[:3]
    if not agents:
        raise InvalidData("a recording needs at least one agent, got none")
    if np.any(np.asarray(lengths) != np.round(lengths)):
        raise InvalidData("lengths must be whole numbers of steps")
    lengths = np.asarray(lengths).astype(np.int32)
    terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
    _expect("lengths", lengths.shape, (episodes,))
    _expect("terminated", terminated.shape, (episodes, time, agents))
    _expect("truncated", truncated.shape, (episodes, time))
    if episodes == 0 or lengths.min(initial=1) < 1 or lengths.max(initial=0) > time:
        raise InvalidData(
            f"need at least one episode, each of 1 … {time} steps; got {episodes} of "
            f"{lengths.min(initial=0)} … {lengths.max(initial=0)}"
        )
    within = np.arange(time)[None] < lengths[:, None]
    mask = np.broadcast_to(within[:, :, None], terminated.shape) if mask is None else np.asarray(mask, bool)
    _expect("mask", mask.shape, (episodes, time, agents))
    mask = mask & within[:, :, None]
    if state is None and obs is None:
        raise InvalidData("a recording needs observations or game states; both are missing")
    state, obs = _kept("state", state), _kept("obs", obs)
    for name, tree, lead in (("state", state, (episodes, time + 1)), ("obs", obs, (episodes, time + 1, agents))):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            _expect(f"{name}{jax.tree_util.keystr(path)}", np.shape(leaf)[: len(lead)], lead)
            _finite(f"{name}{jax.tree_util.keystr(path)}", leaf, lengths, extra=1)
    if true_reward is not None:
        true_reward = _narrow("true_reward", np.asarray(true_reward, np.float64))
        _expect("true_reward", true_reward.shape, (episodes, time, agents))
        _finite("true_reward", true_reward, lengths)
    if action_mask is not None:
        action_mask = np.asarray(action_mask, bool)
        _expect("action_mask", action_mask.shape[:3], (episodes, time + 1, agents))
    _check_actions(actions, mask, action_space, action_mask)
    # Only now: a number too large for int32 would have wrapped, into range perhaps.
    actions = np.where(mask if discrete else mask[..., None], actions, 0).astype(np.int32 if discrete else np.float32)
    steps = np.argwhere(within).astype(np.int32)
    return Demonstrations(
        actions=on_device(actions),
        lengths=on_device(lengths),
        terminated=on_device(terminated & within[:, :, None]),
        truncated=on_device(truncated & within),
        mask=on_device(mask),
        steps=on_device(steps),
        state=jax.tree.map(on_device, state),
        obs=jax.tree.map(on_device, obs),
        action_mask=None if action_mask is None else on_device(action_mask),
        true_reward=None if true_reward is None else on_device(true_reward),
        metadata=metadata,
        action_space=action_space,
    )


def _expect(name: str, have: tuple, want: tuple) -> None:
    if tuple(have) != tuple(want):
        raise InvalidData(f"{name} has shape {tuple(have)} where {tuple(want)} is needed")


def _kept(name: str, tree):
    """Its leaves as the device keeps them."""
    return jax.tree_util.tree_map_with_path(lambda path, x: _narrow(f"{name}{jax.tree_util.keystr(path)}", x), tree)


def _narrow(name: str, leaf):
    """With 32 bits, where JAX has no more: what is too large becomes infinite here already, or is refused.

    Raises:
        InvalidData: no numbers, or whole numbers of more than 32 bits.
    """
    if isinstance(leaf, jax.Array):
        return leaf
    leaf = np.asarray(leaf)
    if leaf.dtype.kind not in "biuf":
        raise InvalidData(f"{name} holds no numbers but {leaf.dtype}: give arrays of numbers")
    kept = jax.dtypes.canonicalize_dtype(leaf.dtype)
    if leaf.dtype.kind in "iu" and kept != leaf.dtype and leaf.size:
        limits = np.iinfo(kept)
        if leaf.min() < limits.min or leaf.max() > limits.max:
            raise InvalidData(
                f"{name} goes from {leaf.min()} to {leaf.max()}, and whole numbers of 32 bits are kept: give them as "
                "floats, or smaller"
            )
    with np.errstate(over="ignore"):
        return leaf.astype(kept)


def _finite(name: str, leaf, lengths, extra: int = 0) -> None:
    leaf = np.asarray(leaf)
    if not np.issubdtype(leaf.dtype, np.floating):
        return
    within = np.arange(leaf.shape[1])[None] < lengths[:, None] + extra
    bad = ~np.isfinite(leaf).reshape(*leaf.shape[:2], -1).all(-1) & within
    if bad.any():
        episode, step = np.argwhere(bad)[0]
        raise InvalidData(
            f"{name} is not finite in {int(bad.sum())} of {int(within.sum())} steps, first in episode {episode}, "
            f"step {step}: drop or repair these episodes"
        )


def _check_actions(actions, mask, space, action_mask) -> None:
    if space is not None and (isinstance(space, Discrete) != (actions.ndim == 3)):
        raise InvalidData(f"actions of shape {actions.shape} do not belong to {space}")
    if actions.ndim == 3:
        top = space.n if isinstance(space, Discrete) else (action_mask.shape[-1] if action_mask is not None else 2**31)
        bad = mask & ((actions < 0) | (actions >= min(top, 2**31)))
        allowed = f"0 … {min(top, 2**31) - 1}"
    else:
        bad = mask & ~np.isfinite(actions).all(-1)
        allowed = "finite"
        if isinstance(space, Box):
            inside = ((actions >= space.low - 1e-6) & (actions <= space.high + 1e-6)).all(-1)
            bad, allowed = mask & ~(np.isfinite(actions).all(-1) & inside), f"within [{space.low}, {space.high}]"
    if bad.any():
        episode, step, agent = np.argwhere(bad)[0]
        found = actions[episode, step, agent]
        raise InvalidData(
            f"{int(bad.sum())} actions are out of range, first in episode {episode}, step {step}, agent {agent}: "
            f"{found if found.ndim else format(found, '.10g')}; allowed: {allowed}"
        )
    if action_mask is not None and actions.ndim == 3:
        taken = np.where(mask, actions, 0).astype(np.int32)
        chosen = np.take_along_axis(action_mask[:, :-1], taken[..., None], -1)[..., 0]
        if (forbidden := mask & ~chosen).any():
            episode, step, agent = np.argwhere(forbidden)[0]
            raise InvalidData(
                f"{int(forbidden.sum())} recorded actions are forbidden by the mask, first in episode {episode}, "
                f"step {step}, agent {agent}"
            )
