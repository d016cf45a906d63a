"""The learners keep their contract, and the kit finds each planted fault."""

import itertools
import re
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.base import Algorithm, Collection
from mairl.algorithms.mamql import MAMQL
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.core.reward import Reward
from mairl.core.serialise import allow
from mairl.data.collect import record
from mairl.games.tabular import random_game
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import CategoricalPolicy
from mairl.networks.rewards import ActionReward
from mairl.testing import AlgorithmViolation, check_algorithm
from mairl.testing.algorithm_contract import check_policy, check_reward

GAME = random_game(1, num_states=4, num_terminal=1, horizon=6)
LINEAR = NetworkConfig(depth=0)
allow(__name__.split(".")[0])


@pytest.fixture(scope="module")
def data():
    return record(GAME, UniformPolicy(2, GAME.action_space), jax.random.key(0), num_episodes=12)


@pytest.mark.parametrize(
    "algorithm",
    [
        MAMQL(critic_network=LINEAR, reward_network=LINEAR, updates=2, batch=16),
        MAMQL(
            critic_network=LINEAR,
            reward_network=LINEAR,
            updates=1,
            batch=16,
            offline=True,
            value_term="expert",
            reward_fit="regress",
            target_rate=0.1,
        ),
    ],
    ids=["online", "offline"],
)
def test_mamql_keeps_the_contract(algorithm, data):
    check_algorithm(algorithm, GAME, data)


class Nosy(Reward):
    """Reads what it says it does not."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    net: PerAgent
    reads: str = eqx.field(static=True)

    def __call__(self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None):
        own = self.net(obs)[:, 0]
        if self.reads == "next":
            return own + next_obs[:, 0]
        if self.reads == "others":
            return own + jnp.sum(actions)
        return own[:1] if self.reads == "shape" else own / 0


class Greedy(CategoricalPolicy):
    """Does not care what is forbidden."""

    def mode(self, obs, action_mask=None):
        return jnp.argmax(self.logits(obs), axis=-1).astype(jnp.int32)


class State(eqx.Module):
    net: PerAgent
    count: jax.Array
    keep: jax.Array | None


class Planted(Algorithm):
    """A learner that takes noisy steps, and has one fault."""

    fault: str = eqx.field(static=True, default="")
    counter: ClassVar = itertools.count()
    random: ClassVar = np.random.default_rng(0)

    def collection(self, game):
        return Collection(2, 3) if self.fault in ("reward", "no player") else None

    def behaviour(self, state):
        return CategoricalPolicy(state.net) if self.fault == "reward" else None

    def init(self, key, game, data):
        key = jax.random.key(0) if self.fault == "no key" else key
        scale = float(next(self.counter)) if self.fault == "impure init" else 1.0
        net = per_agent_network(game, game.action_space.n, LINEAR, key, out_scale=scale)
        return State(net, jnp.zeros((), jnp.int32), data.obs if self.fault == "holds data" else None)

    def update(self, key, state, game, data, rollout):
        size = self.random.normal() if self.fault == "impure update" else 0.1
        if self.fault == "reward":
            size = size + 0.001 * jnp.sum(rollout.reward)
        if self.fault == "hidden reward":
            size = size + 0.001 * jnp.sum(data.true_reward)
        if self.fault == "no key":
            key = jax.random.key(0)

        def moved(x):
            return x + size * jax.random.normal(key, x.shape)

        net = jax.tree.map(lambda x: moved(x) if eqx.is_array(x) else x, state.net)
        count = state.count + (1.0 if self.fault == "dtype" else 1)
        keep = jnp.zeros(()) if self.fault == "structure" else state.keep
        metrics = {"size": jnp.zeros(2 if self.fault == "metric shape" else ())}
        if self.fault == "names":
            metrics[f"at_{next(self.counter)}"] = jnp.zeros(())
        return State(net, count, keep), metrics

    def result(self, state):
        policy = Greedy(state.net) if self.fault == "mask" else CategoricalPolicy(state.net)
        if self.fault.startswith("reads "):
            return Learned(policy, Nosy(state.net, self.fault.split()[1]))
        return Learned(policy, ActionReward(state.net, jnp.ones(2)))


FAULTS = {
    "impure init": "init gave two different states",
    "holds data": "holds the data",
    "no player": "behaviour and collection disagree",
    "structure": "changed the state's structure",
    "dtype": "count from int32() to float32()",
    "names": "other names at the second update",
    "metric shape": "metric 'size' has shape (2,)",
    "impure update": "another program each time",
    "no key": "keys are not used",
    "reward": "reads the true reward",
    "hidden reward": "reads the true reward",
    "mask": "policy.mode chose",
    "reads next": "declares uses_next=False",
    "reads others": "declares uses_others=False",
    "reads shape": "reward gave shape (1,)",
    "reads infinity": "reward is not finite",
}


def test_the_probe_without_a_fault_passes(data):
    check_algorithm(Planted(), GAME, data)


def check(fault, data):
    algorithm = Planted(fault)
    if fault != "mask" and not fault.startswith("reads "):
        check_algorithm(algorithm, GAME, data)
        return
    # Parts that need no training.
    steps = data.observed(GAME).transition(jnp.arange(16))
    learned = algorithm.result(algorithm.init(jax.random.key(0), GAME, data))
    check_policy(learned, GAME, steps, jax.random.key(0))
    check_reward(learned.reward, "reward", GAME, steps)


@pytest.mark.parametrize("fault", FAULTS)
def test_finds_a_planted_fault(fault, data):
    with pytest.raises(AlgorithmViolation, match=re.escape(FAULTS[fault])):
        check(fault, data)


def test_reinforcement_learners_may_read_the_reward(data):
    check_algorithm(Planted("reward"), GAME, data, reads_reward=True)
