"""An expert from exact play: a logit equilibrium of a small kitchen, copied into a network.

PPO stops at two of the three soups that fit into `overcooked-cook5`: the third comes two steps before the end. The
equilibrium is found backwards from the end (`mairl.games.overcooked.exact`) and delivers all three; a network learns
its action probabilities at the states that it visits, and at those that mistakes lead to.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.games import make_game
from mairl.games.overcooked.exact import Kitchen, explore, logit_play
from mairl.games.overcooked.game import Overcooked
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.heads import BoltzmannPolicy


@dataclasses.dataclass(frozen=True)
class DistilRecipe:
    """How an exact expert is made.

    Attributes:
        rationality: λ of the equilibrium, in 1 / units of reward.
        discount: γ of the equilibrium.
        noise: shares of random actions with which the equilibrium is played, to see what mistakes lead to.
        episodes: played with each.
        updates, batch, learning_rate: of the copy.
        sharpness: the copy's log-odds are multiplied by this: small errors at fifty steps in a row, none of which
            may be wrong, would cost a third of the return.
    """

    rationality: float = 8.0
    discount: float = 0.97
    noise: tuple[float, ...] = (0.0, 0.0, 0.05, 0.2)
    episodes: int = 4000
    updates: int = 60_000
    batch: int = 1024
    learning_rate: float = 1e-3
    sharpness: float = 2.0
    network: NetworkConfig = NetworkConfig(kind="mlp", width=128, depth=2, activation="tanh")

    @property
    def budget(self) -> int:
        """Updates."""
        return self.updates


def visited(kitchen: Kitchen, policy, noise: float, episodes: int, rng: np.random.Generator):
    """(time, state) of every step of `episodes` episodes, `[n]` each; play stops where a counter would be used."""
    actions = policy.shape[-1]
    state, times, states = np.full(episodes, kitchen.start), [], []
    for t in range(len(policy)):
        times.append(np.full(len(state), t))
        states.append(state)
        chance = np.cumsum((1 - noise) * policy[t, state] + noise / actions, axis=-1)
        chosen = (rng.random((len(state), 2, 1)) > chance).sum(-1).clip(0, actions - 1)
        state = kitchen.following[state, chosen[:, 0] * actions + chosen[:, 1]]
        state = state[state >= 0]
    return np.concatenate(times), np.concatenate(states)


def distil(name: str, recipe: DistilRecipe, seed: int = 0, updates: int | None = None) -> Learned:
    """Plays, copies, and returns the copy.

    Args:
        name: a game's id; a kitchen for two without random starts.
        updates: if not the recipe's.
    """
    game = make_game(name)
    if not isinstance(game, Overcooked):
        raise Unsupported(f"exact play is found for kitchens, not for {name}")
    kitchen = explore(game)
    policy = logit_play(kitchen, recipe.rationality, recipe.discount)
    rng = np.random.default_rng(seed)
    seen = [visited(kitchen, policy, noise, recipe.episodes, rng) for noise in recipe.noise]
    pairs = np.unique(np.concatenate([np.stack(s, -1) for s in seen]), axis=0)
    often = np.ones(len(pairs))
    # What is visited without noise is weighed by how often: that is where the return is made.
    own, count = np.unique(np.stack(seen[0], -1), axis=0, return_counts=True)
    place = {(int(t), int(s)): k for k, (t, s) in enumerate(pairs)}
    for (t, s), c in zip(own, count, strict=True):
        often[place[int(t), int(s)]] += c
    target = policy[pairs[:, 0], pairs[:, 1]]

    def look(t, s):
        state = jax.tree.map(lambda x: jnp.asarray(x)[s], kitchen.states)
        return game.observe(dataclasses.replace(state, time=t.astype(jnp.int16)))

    obs = jax.jit(jax.vmap(look))(jnp.asarray(pairs[:, 0]), jnp.asarray(pairs[:, 1]))
    updates = recipe.updates if updates is None else updates
    net = per_agent_network(game, policy.shape[-1], recipe.network, jax.random.key(seed), out_scale=0.01)
    optimiser = optax.adam(optax.cosine_decay_schedule(recipe.learning_rate, updates))
    arrays, static = eqx.partition(net, eqx.is_inexact_array)
    logits = jnp.log(jnp.asarray(often))

    @jax.jit
    def train(arrays, opt_state, key):
        def one(carry, key):
            arrays, opt_state = carry
            index = jax.random.randint(key, (recipe.batch,), 0, len(pairs))
            weight = jnp.exp(logits[index])

            def loss(arrays):
                log_probs = jax.nn.log_softmax(jax.vmap(eqx.combine(arrays, static))(obs[index]))
                cross = -jnp.sum(jnp.asarray(target)[index] * log_probs, axis=(1, 2))
                return jnp.mean(weight * cross) / jnp.mean(weight)

            grads = jax.grad(loss)(arrays)
            step, opt_state = optimiser.update(grads, opt_state)
            return (optax.apply_updates(arrays, step), opt_state), None

        return jax.lax.scan(one, (arrays, opt_state), jax.random.split(key, updates))[0]

    arrays, _ = train(arrays, optimiser.init(arrays), jax.random.key(seed + 1))
    return Learned(BoltzmannPolicy(eqx.combine(arrays, static), recipe.sharpness))
