"""The training loop: a killed run repeats the uninterrupted one, a NaN freezes its seed only, truth selects nothing."""

import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow.parquet as pq
import pytest

from mairl.algorithms.base import Algorithm, Collection
from mairl.algorithms.fit import fit
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games.tabular import random_game
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import CategoricalPolicy


class Clone(eqx.Module):
    net: PerAgent
    opt_state: Any
    count: jax.Array
    poison: jax.Array


class Cloner(Algorithm):
    """Behavioural cloning that can be told to fail: seeds whose key is odd turn NaN after `fail_after` updates."""

    online: bool = eqx.field(static=True, default=False)
    fail_after: int = eqx.field(static=True, default=10**6)

    def collection(self, game):
        return Collection(2, 4) if self.online else None

    def init(self, key, game, data):
        net = per_agent_network(game, game.action_space.n, NetworkConfig(kind="mlp", width=8, depth=1), key)
        opt_state = optax.adam(3e-2).init(eqx.filter(net, eqx.is_array))
        poison = jax.random.bits(key, (), jnp.uint32) % 2 == 1
        return Clone(net, opt_state, jnp.zeros((), jnp.int32), poison)

    def behaviour(self, state):
        return CategoricalPolicy(state.net) if self.online else None

    def update(self, key, state, game, data, rollout):
        steps = data.sample(key, 32)

        def loss(net):
            return -jnp.mean(jax.vmap(CategoricalPolicy(net).log_prob)(steps.obs, steps.actions))

        value, grads = eqx.filter_value_and_grad(loss)(state.net)
        value = jnp.where(state.poison & (state.count >= self.fail_after), jnp.nan, value)
        updates, opt_state = optax.adam(3e-2).update(grads, state.opt_state)
        return Clone(eqx.apply_updates(state.net, updates), opt_state, state.count + 1, state.poison), {"loss": value}

    def result(self, state):
        return Learned(CategoricalPolicy(state.net))


@pytest.fixture(scope="module")
def game():
    return random_game(0, num_agents=2, num_states=4, num_actions=3, horizon=6)


@pytest.fixture(scope="module")
def demos(game):
    return record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=20)


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_array))


def test_a_failing_seed_is_frozen_and_the_others_go_on(game, demos):
    seeds = range(6)
    fine = fit(Cloner(), game, demos, budget=30, seeds=seeds, evaluations=3, episodes=0, select="last")
    broken = fit(Cloner(fail_after=12), game, demos, budget=30, seeds=seeds, evaluations=3, episodes=0, select="last")
    assert fine.failures == []
    failed = {f.seed for f in broken.failures}
    assert failed
    assert failed != set(seeds)
    assert {(f.step, f.quantity) for f in broken.failures} == {(12, "loss")}
    for a, b in zip(arrays(fine.learned), arrays(broken.learned)):
        for seed in seeds:
            same = bool(jnp.array_equal(a[seed], b[seed]))
            assert same or seed in failed
            assert bool(jnp.all(jnp.isfinite(b[seed])))
    assert any(
        not jnp.array_equal(a[s], b[s]) for s in failed for a, b in zip(arrays(fine.learned), arrays(broken.learned))
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere seeds are a batch axis, and rounding differs")
def test_a_seed_does_not_depend_on_the_others(game, demos):
    several = fit(Cloner(online=True), game, demos, budget=160, seeds=3, evaluations=2, episodes=0, select="last")
    alone = fit(Cloner(online=True), game, demos, budget=160, seeds=[1], evaluations=2, episodes=0, select="last")
    for a, b in zip(arrays(several.one(1)), arrays(alone.one()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_ends_when_every_seed_is_frozen(game, demos):
    whole = fit(Cloner(fail_after=12), game, demos, budget=30, seeds=6, evaluations=3, episodes=0, select="last")
    bad = [f.seed for f in whole.failures]
    result = fit(Cloner(fail_after=12), game, demos, budget=30, seeds=bad, evaluations=3, episodes=0, select="last")
    assert {row["updates"] for row in result.rows} == {10, 20}
    with pytest.raises(Unsupported, match=rf"step 12.*loss.*seed {bad[0]}"):
        result.one()
    fine = next(i for i in range(6) if i not in bad)
    for a, b in zip(arrays(whole.one(fine)), arrays(whole.learned)):
        np.testing.assert_array_equal(a, b[fine])


def test_the_true_reward_selects_nothing(game, demos):
    poisoned = eqx.tree_at(lambda d: d.true_reward, demos, -1e6 * demos.true_reward - 1e5)
    one = fit(Cloner(), game, demos, budget=20, evaluations=4, episodes=0)
    two = fit(Cloner(), game, poisoned, budget=20, evaluations=4, episodes=0)
    for a, b in zip(arrays(one.learned), arrays(two.learned)):
        np.testing.assert_array_equal(a, b)


def test_selects_the_best_held_out_likelihood(game, demos):
    result = fit(Cloner(), game, demos, budget=400, evaluations=10, episodes=0, held_out=0.2)
    scores = [r["heldout_log_likelihood"] for r in result.rows]
    from mairl.algorithms.scores import log_likelihood

    _, held = demos.split(0.2)
    policy = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, result.learned.policy)
    assert float(log_likelihood(policy, game, held.observed(game)).mean()) == pytest.approx(max(scores), abs=1e-6)


def test_budgets_and_episodes_are_counted(game, demos):
    result = fit(Cloner(online=True), game, demos, budget=100, seeds=2, evaluations=5, episodes=4)
    assert result.rows[-1]["step"] == 104  # 13 iterations of 8 steps
    assert result.rows[-1]["updates"] == 13
    assert result.rows[-1]["episodes"] == 2 * (13 * 4 // 6)
    assert {r["seed"] for r in result.rows} == {0, 1}
    assert all(isinstance(r["return/agent_mean"], float) for r in result.rows)


def test_seeds_must_be_distinct(game, demos):
    with pytest.raises(Unsupported, match="distinct"):
        fit(Cloner(), game, demos, budget=1, seeds=[1, 1])


def test_nothing_is_overwritten_unasked(game, demos, tmp_path):
    out = tmp_path / "run"
    fit(Cloner(), game, demos, budget=4, evaluations=2, episodes=0, out=out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    with pytest.raises(InvalidData, match="exists"):
        fit(Cloner(), game, demos, budget=4, out=out)
    (tmp_path / "other.partial").mkdir()
    with pytest.raises(InvalidData, match="--resume"):
        fit(Cloner(), game, demos, budget=4, out=tmp_path / "other")


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import jax
from test_fit import Cloner
from mairl.algorithms.fit import fit
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games.tabular import random_game
game = random_game(0, num_agents=2, num_states=4, num_actions=3, horizon=6)
demos = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=20)
fit(Cloner(online=True), game, demos, budget=2400, seeds=2, evaluations=30, episodes=4, out=sys.argv[1], resume=True,
    checkpoint_seconds=0.0)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("script") / "script.py"
    file.write_text(textwrap.dedent(SCRIPT.format(tests=str(__file__).rsplit("/", 1)[0])))
    return file


@pytest.fixture(scope="module")
def whole(script):
    """The run of the script that nobody kills."""
    out = script.parent / "whole"
    subprocess.run([sys.executable, str(script), str(out)], check=True, capture_output=True)
    return out


@pytest.mark.parametrize("delay", [0.0, 0.35])
def test_a_killed_run_repeats_the_uninterrupted_one(script, whole, tmp_path, delay):
    broken = tmp_path / "broken"
    child = subprocess.Popen([sys.executable, str(script), str(broken)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    chunks = tmp_path / "broken.partial" / "chunks"
    limit = time.monotonic() + 120
    while not list(chunks.glob("0000[2-9]")) and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(delay)
    assert child.poll() is None, "the run ended before it could be killed: give it more to do"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not broken.exists()
    subprocess.run([sys.executable, str(script), str(broken)], check=True, capture_output=True)
    assert not (tmp_path / "broken.partial").exists()
    one, two = Learned.load(whole / "learned"), Learned.load(broken / "learned")
    for a, b in zip(arrays(one), arrays(two)):
        np.testing.assert_array_equal(a, b)
    drop = ["wall_s"]
    first, second = (pq.read_table(p / "metrics.parquet").drop_columns(drop) for p in (whole, broken))
    assert first.equals(second)
