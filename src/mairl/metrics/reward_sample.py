"""Recovered and true rewards at the same sampled steps: what the reward distances are computed from."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy, NoisyPolicy
from mairl.core.reward import Reward
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, observe
from mairl.data.collect import play_episodes
from mairl.networks.rewards import reward_of

FACES = ("induced_reward", "reward", "shaped_reward")
"""The fields of `Learned` that pay, the identifiable one first."""

NOISE = 0.25
"""Share of random actions in the compared steps: a reward is also judged by what it pays for mistakes."""

MOST_JOINT = 512
"""Joint actions are enumerated up to this many, and sampled beyond."""


class Values(NamedTuple):
    """One reward at `n` steps (s, a, s'), each `[n, agent]`.

    Attributes:
        paid: R(s, a, s').
        mean, next_mean: E over uniform actions (and, where R reads s', over the sample's next states) of R at s and s'.
    """

    paid: Array
    mean: Array
    next_mean: Array


class RewardSample(NamedTuple):
    """All rewards of one seed at the same steps.

    Attributes:
        found: by face of the recovered reward.
        truth: by face: the true reward, for the induced face averaged over what the others would do.
        features: `[n, agent, feature]` and `next_features` of what each agent sees, for potentials.
        terminated, mask: `[n, agent]`; actions: `[n, agent, …]`; episode: `[n]`, which one the step belongs to.
    """

    found: dict[str, Values]
    truth: dict[str, Values]
    features: Float[Array, "n agent feature"]
    next_features: Float[Array, "n agent feature"]
    terminated: Bool[Array, "n agent"]
    mask: Bool[Array, "n agent"]
    actions: Array
    episode: Int[Array, " n"]


def flat(steps: Transition) -> Transition:
    """Steps `[time, env, ...]` as `[step, ...]`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)


def compared_steps(key, game: MarkovGame, learned, expert, greedy: bool, episodes: int, count: int):
    """At most `count` steps drawn from the learner's and (if known) the expert's episodes, a quarter of all actions
    random; and the episode of each."""
    key_own, key_expert, key_take = jax.random.split(key, 3)
    players = [(key_own, learned.policy, False)]
    if expert is not None:
        players.append((key_expert, expert, greedy))
    parts = []
    for k, policy, mode in players:
        noisy = NoisyPolicy(policy, NOISE, mode) if isinstance(policy, DiscretePolicy) else policy
        parts.append(play_episodes(game, noisy, k, episodes).steps)
    together = jax.tree.map(lambda *x: jnp.concatenate([flat_one(y) for y in x]), *parts)
    time, env = parts[0].truncated.shape
    episode = jnp.concatenate([jnp.tile(jnp.arange(env), time) + env * p for p in range(len(parts))])
    # Padding after an episode's end has an empty mask: it is drawn last.
    order = jnp.argsort(jnp.where(together.mask.any(-1), jax.random.uniform(key_take, episode.shape), 2.0))
    order = order[: min(count, episode.shape[0])]
    return jax.tree.map(lambda x: x[order], together), episode[order]


def flat_one(x):
    """The first two axes as one."""
    return x.reshape(-1, *x.shape[2:])


def sample(
    key,
    game: MarkovGame,
    learned: Learned,
    expert: DiscretePolicy | None,
    *,
    expert_greedy: bool,
    episodes: int,
    count: int,
    next_states: int = 16,
) -> RewardSample:
    """Draws steps and evaluates every reward on them. One seed; under `jit` and `vmap`.

    Args:
        expert: who plays the others in the true induced reward; the learned policy if unknown.
        count: steps.
        next_states: how many next states stand in for the expectation over s' in shaped rewards.
    """
    key_steps, key_actions, key_next, key_features = jax.random.split(key, 4)
    steps, episode = compared_steps(key_steps, game, learned, expert, expert_greedy, episodes, count)
    seen = observe(game, steps)
    n, agents = steps.mask.shape
    joint = joint_actions(key_actions, game)
    pool = jax.random.randint(key_next, (next_states,), 0, n)

    def next_of(index):
        return jax.tree.map(lambda x: x[index], (seen.next_obs, seen.next_action_mask))

    def recovered(reward: Reward) -> Values:
        def at(obs, allowed):
            def one(actions, index):
                none = jnp.zeros(agents, bool)
                if not reward.uses_next:
                    return reward(obs, actions, obs, none, allowed)
                next_obs, next_allowed = next_of(index)
                return reward(obs, actions, next_obs, none, allowed, next_allowed)

            if reward.uses_next:
                index = pool[jnp.arange(joint.shape[0]) % next_states]
                return jnp.mean(jax.vmap(one)(joint, index), axis=0)
            return jnp.mean(jax.vmap(one, in_axes=(0, None))(joint, 0), axis=0)

        after = jnp.where(seen.terminated, 0.0, jax.vmap(at)(seen.next_obs, seen.next_action_mask))
        return Values(reward_of(reward, seen), jax.vmap(at)(seen.obs, seen.action_mask), after)

    others = expert if expert is not None else learned.policy
    if expert is not None and expert_greedy:
        others = NoisyPolicy(expert, 0.0, True)
    truth = {}
    if isinstance(game.action_space, Discrete) and isinstance(others, DiscretePolicy):
        joint_truth, induced_truth = _true_values(game, others, joint, steps, seen)
        truth = {face: induced_truth if face == "induced_reward" else joint_truth for face in FACES}
    found = {face: recovered(r) for face in FACES if (r := getattr(learned, face)) is not None}
    features, next_features = observation_features(key_features, seen)
    return RewardSample(found, truth, features, next_features, seen.terminated, seen.mask, seen.actions, episode)


def joint_actions(key, game: MarkovGame) -> Array:
    """All joint actions `[joint, agent]` if they are few; else (or if they are vectors) a uniform sample of them."""
    space, agents = game.action_space, game.num_agents
    if isinstance(space, Discrete):
        if space.n**agents <= MOST_JOINT:
            grid = jnp.meshgrid(*[jnp.arange(space.n, dtype=jnp.int32)] * agents, indexing="ij")
            return jnp.stack(grid, -1).reshape(-1, agents)
        return jax.random.randint(key, (MOST_JOINT // 8, agents), 0, space.n, jnp.int32)
    return jax.random.uniform(key, (MOST_JOINT // 8, agents, space.size), minval=space.low, maxval=space.high)


def _true_values(game: MarkovGame, others: DiscretePolicy, joint, steps: Transition, seen: Transition):
    """The true reward r_i(s, a), and its mean over the others' policy, by playing every joint action from s and s'."""
    agents = game.num_agents
    key = jax.random.key(0)

    def table(state):
        return jax.vmap(lambda a: game.step(key, state, a)[1].reward)(joint)

    def induced(paid, state, obs):
        """`[agent, action]` mean over a_-i ~ π_-i, from `paid` `[joint, agent]`."""
        chance = jnp.exp(others.log_probs(obs, game.action_mask(state)))
        each = jnp.take_along_axis(chance.T, joint, axis=0)
        rows = []
        for i in range(agents):
            weight = jnp.prod(jnp.where(jnp.arange(agents) == i, 1.0, each), axis=1)
            own = jax.nn.one_hot(joint[:, i], chance.shape[1])
            total = weight @ own
            rows.append(jnp.where(total > 0, (weight * paid[:, i]) @ own / jnp.where(total > 0, total, 1.0), 0.0))
        return jnp.stack(rows)

    here, there = jax.vmap(table)(steps.state), jax.vmap(table)(steps.next_state)
    ours = jax.vmap(induced)(here, steps.state, seen.obs)
    after = jax.vmap(induced)(there, steps.next_state, seen.next_obs)

    def ended(x):
        return jnp.where(seen.terminated, 0.0, x)

    assert steps.reward is not None
    joint_values = Values(steps.reward, here.mean(1), ended(there.mean(1)))
    own = jnp.take_along_axis(ours, seen.actions[..., None], axis=-1)[..., 0]
    return joint_values, Values(own, ours.mean(-1), ended(after.mean(-1)))


def observation_features(key, seen: Transition, random: int = 64):
    """What agents see, as numbers to build potentials from: standardised, with `random` tanh features of it."""

    def rows(obs):
        leaves = [x.reshape(*x.shape[:2], -1).astype(jnp.float32) for x in jax.tree.leaves(obs)]
        return jnp.concatenate(leaves, axis=-1)

    here, there = rows(seen.obs), rows(seen.next_obs)
    mean, scale = here.mean((0, 1)), here.std((0, 1)) + 1e-6
    weight = jax.random.normal(key, (here.shape[-1], random)) / jnp.sqrt(here.shape[-1])
    bias = jax.random.uniform(jax.random.fold_in(key, 1), (random,), minval=-1.0, maxval=1.0)

    def features(x):
        z = jnp.clip((x - mean) / scale, -5.0, 5.0)
        return jnp.concatenate([z, jnp.tanh(2.0 * z @ weight + bias)], axis=-1)

    return features(here), features(there)


@eqx.filter_jit
def samples(learned, game, expert, keys, *, expert_greedy: bool, episodes: int, count: int) -> RewardSample:
    """`sample` for stacked seeds: leaves `[seed, ...]`."""

    def one(learned, key):
        return sample(key, game, learned, expert, expert_greedy=expert_greedy, episodes=episodes, count=count)

    return eqx.filter_vmap(one)(learned, keys)
