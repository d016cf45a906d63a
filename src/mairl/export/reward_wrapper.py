"""A recovered reward where other libraries train: an environment that pays it instead of its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import equinox as eqx
import jax
import numpy as np

from mairl.core.errors import InvalidGame, Unsupported, require
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.reward import Reward
from mairl.core.spaces import Discrete
from mairl.data.codec import Codec
from mairl.games.adapters.from_gymnasium import GymnasiumHost
from mairl.games.adapters.from_pettingzoo import encode

Which = Literal["reward", "induced", "shaped"]


def reward_wrapper(env: Any, learned: Learned | Reward, which: Which = "reward") -> Any:
    """The same environment, paying the recovered reward; the true one is in each info as `true_reward`.

    A constant, a scale and a shaping of the recovered reward are not identified: compare policies by true returns.

    Args:
        env: a PettingZoo parallel environment or a Gymnasium environment, from `to_pettingzoo` or `to_gymnasium` of the
            game that was learned in, or the one given to `from_pettingzoo` or `from_gymnasium`.
        learned: of one seed (`Learned.load(folder, seed=0)`), or a reward.
        which: "reward" as recovered, "induced" (its mean over the others' policies), or "shaped" (as used in training).

    Returns:
        A `pettingzoo.ParallelEnv` or `gymnasium.Env`. Several agents of a Gymnasium environment are paid an array, or a
        dictionary, by agent.

    Raises:
        Unsupported: the learner recovered no such reward.
        InvalidGame: the environment's agents do not fit the reward.
        MissingPackage: PettingZoo or Gymnasium is not installed.
    """
    reward = _reward(learned, which)
    if hasattr(env, "possible_agents"):
        return _parallel(env, reward)
    return _gymnasium(env, reward)


def _reward(learned: Learned | Reward, which: Which) -> Reward:
    if isinstance(learned, Reward):
        return learned
    found = {"reward": learned.reward, "induced": learned.induced_reward, "shaped": learned.shaped_reward}
    if found[which] is None:
        have = [name for name, value in found.items() if value is not None]
        raise Unsupported(
            f"there is no {which!r} reward in this result; it has {', '.join(have) or 'none (a policy only)'}"
        )
    return found[which]  # type: ignore[return-value]


class _Stacker:
    """Dictionaries by agent as arrays with an agent axis: for one of our games as it is, else as `Codec` says."""

    def __init__(self, env: Any):
        game = getattr(env.unwrapped, "game", None)
        self.game = game if isinstance(game, MarkovGame) else None
        self.names = list(env.possible_agents)
        if self.game is None:
            see, act = env.observation_space, env.action_space
            title = type(env.unwrapped).__name__
            self.codec = Codec(self.names, {n: see(n) for n in self.names}, {n: act(n) for n in self.names}, title)

    def obs(self, given: dict[str, Any]) -> Any:
        if self.game is not None:
            empty = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), self.game.observation_spec)
            return jax.tree.map(lambda *x: np.stack(x), *[given.get(n, empty) for n in self.names])
        stacked = np.zeros((len(self.names), *self.codec.shape), self.codec.dtype)
        for i, n in enumerate(self.names):
            if n in given:
                stacked[i] = self.codec.observe(i, given[n])[0]
        return stacked

    def masks(self, obs: dict[str, Any], infos: dict[str, Any], gone: Collection[str] = ()) -> np.ndarray | None:
        """`[agent, action]` what each may do: as observations or infos say, else what it has at all; None: all.
        Masks of who is gone mean nothing."""
        infos = {n: info or {} for n, info in infos.items() if n not in gone}
        told = {n: info["action_mask"] for n, info in infos.items() if info.get("action_mask") is not None}
        if self.game is not None:
            everything = np.ones(getattr(self.game.action_space, "n", 0), bool)
            return np.stack([np.asarray(told.get(n, everything), bool) for n in self.names]) if told else None
        if self.codec.counts is None:
            return None
        for i, n in enumerate(self.names):
            if n in obs and n not in gone and (mask := self.codec.observe(i, obs[n])[1]) is not None:
                told[n] = mask
        return np.stack([self.codec.allowed(i, told.get(n)) for i, n in enumerate(self.names)])

    def actions(self, given: dict[str, Any]) -> np.ndarray:
        if self.game is None:
            return encode(self.codec, given)
        space = self.game.action_space
        if isinstance(space, Discrete):
            return np.array([given.get(n, 0) for n in self.names], np.int32)
        return np.array([given.get(n, np.zeros(space.size)) for n in self.names], np.float32)


def _payer(reward: Reward, agents: int):
    """The reward as a compiled function of one step, checked to pay each agent."""
    pay = eqx.filter_jit(lambda reward, *step: reward(*step))

    def paid(*step) -> np.ndarray:
        try:
            value = np.asarray(pay(reward, *step))
        except (TypeError, ValueError) as error:
            raise InvalidGame(
                "the reward was learned in a game with other observations, actions or agents, or is that of several "
                "seeds (Learned.load(folder, seed=0) is of one)"
            ) from error
        if value.shape != (agents,):
            raise InvalidGame(
                f"the reward has shape {value.shape} for {agents} agents: load one seed of the result (seed=)"
            )
        return value

    return paid


def _parallel(env: Any, reward: Reward) -> Any:
    wrapper = require("pettingzoo.utils", package="pettingzoo", purpose="pay a recovered reward").BaseParallelWrapper
    stacker = _Stacker(env)
    pay = _payer(reward, len(stacker.names))

    class RecoveredReward(wrapper):
        def reset(self, seed=None, options=None):
            obs, infos = self.env.reset(seed=seed, options=options)
            self._seen, self._over = stacker.obs(obs), np.zeros(len(stacker.names), bool)
            self._allowed = stacker.masks(obs, infos)
            return obs, infos

        def step(self, actions):
            joint = stacker.actions(actions)
            obs, true, terminations, truncations, infos = self.env.step(actions)
            for i, n in enumerate(stacker.names):
                self._over[i] |= bool(terminations.get(n, False))
            gone = {n for n in stacker.names if terminations.get(n) or truncations.get(n)}
            seen, allowed = stacker.obs(obs), stacker.masks(obs, infos, gone)
            paid = pay(self._seen, joint, seen, self._over, self._allowed, allowed)
            self._seen, self._allowed = seen, allowed
            rewards = {n: float(paid[stacker.names.index(n)]) for n in true}
            infos = {n: {**infos.get(n, {}), "true_reward": float(r)} for n, r in true.items()}
            return obs, rewards, terminations, truncations, infos

    return RecoveredReward(env)


def _gymnasium(env: Any, reward: Reward) -> Any:
    wrapper = require("gymnasium", purpose="pay a recovered reward").Wrapper
    game = getattr(env.unwrapped, "game", None)
    if isinstance(game, MarkovGame):
        pay_joint = _payer(reward, game.num_agents)

        class OneAgent(wrapper):
            def step(self, action):
                obs, true, terminated, truncated, info = self.env.step(action)
                paid = pay_joint(*self.env.unwrapped.joint_step)[self.env.unwrapped.agent]
                return obs, float(paid), terminated, truncated, {**info, "true_reward": float(true)}

        return OneAgent(env)
    host = GymnasiumHost(env, 1)
    names, kind = host.codec.names, host.kind
    pay = _payer(reward, len(names))

    def stack(obs, info, gone, before):
        """What all see, and what they may do (None: everything); masks of who is gone mean nothing, and where it is
        left out it sees what it saw `before`."""
        each = []
        for i, k in enumerate(host.keys):
            left_out = gone[i] and kind == "dict" and k not in obs
            each.append((before[i], None) if left_out else host.codec.observe(i, host.part(obs, k)))
        seen, told = zip(*each, strict=True)
        if host.codec.counts is None:
            return np.stack(seen), None
        if "action_mask" in info:
            masks = zip(told, host.keys, gone, strict=True)
            told = [host.part(info["action_mask"], k) if t is None and not left else t for t, k, left in masks]
        told = [None if left else t for t, left in zip(told, gone, strict=True)]
        return np.stack(seen), np.stack([host.codec.allowed(i, t) for i, t in enumerate(told)])

    class RecoveredReward(wrapper):
        def reset(self, *, seed=None, options=None):
            obs, info = self.env.reset(seed=seed, options=options)
            self._gone = np.zeros(len(names), bool)
            self._seen, self._allowed = stack(obs, info, self._gone, None)
            return obs, info

        def step(self, action):
            joint = encode(host.codec, {n: host.part(action, k) for n, k in zip(names, host.keys)})
            obs, true, terminated, truncated, info = self.env.step(action)
            over = host.each("terminated", terminated).astype(bool)
            self._gone = self._gone | over | host.each("truncated", truncated).astype(bool)
            seen, allowed = stack(obs, info, self._gone, self._seen)
            paid = pay(self._seen, joint, seen, over, self._allowed, allowed)
            self._seen, self._allowed = seen, allowed
            form = {"one": lambda: float(paid[0]), "tuple": lambda: paid, "dict": lambda: dict(zip(host.keys, paid))}
            return obs, form[kind](), terminated, truncated, {**info, "true_reward": true}

    return RecoveredReward(env)
