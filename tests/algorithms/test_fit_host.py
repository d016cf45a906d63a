"""Learning in outside games: the same whoever steps them, and the same after a kill in the middle of episodes."""

import dataclasses
import functools
import signal
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pettingzoo")

from mairl.algorithms.fit import fit
from mairl.algorithms.host_loop import with_masks
from mairl.algorithms.mamql import MAMQL
from mairl.algorithms.ppo import PPO
from mairl.core.errors import InvalidGame, Unsupported
from mairl.core.learned import Learned
from mairl.data.collect import record
from mairl.games.adapters import from_pettingzoo
from mairl.networks.build import NetworkConfig
from mairl.testing.errand import errand_expert, make_errand

SMALL = NetworkConfig(width=16)
TINY = MAMQL(num_envs=2, num_steps=5, updates=2, batch=16, critic_network=SMALL, reward_network=SMALL)


@pytest.fixture(scope="module")
def game():
    return from_pettingzoo(make_errand)


@pytest.fixture(scope="module")
def demos(game):
    return record(game, errand_expert, jax.random.key(1), num_episodes=40)


def arrays(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree) if hasattr(x, "shape")]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(arrays(a), arrays(b), strict=True))


def test_mamql_learns_to_call(game, demos):
    learner = MAMQL(num_envs=4, num_steps=8, updates=8, batch=64, learning_rate=1e-3, critic_network=SMALL)
    result = fit(learner, game, demos, budget=2400, evaluations=1, episodes=8, workers=0)
    last = result.rows[-1]
    assert last["return/agent_0"] > 5  # 8 is the most, 0 is chance.
    assert last["heldout_log_likelihood"] > -0.3
    assert (last["step"], last["episodes"]) == (2400, 300)
    assert result.failures == []


def test_who_steps_changes_nothing(game, demos):
    runs = [fit(TINY, game, demos, budget=60, seeds=2, evaluations=2, episodes=3, workers=w) for w in (0, 2)]
    assert same(runs[0].learned, runs[1].learned)
    assert same(runs[0].state, runs[1].state)
    assert [r["return/agent_1"] for r in runs[0].rows] == [r["return/agent_1"] for r in runs[1].rows]
    assert not np.array_equal(*np.asarray(runs[0].learned.policy.critic.net.mlp.layers[0].weight))


def test_ppo_is_paid_by_the_environment(game):
    learner = PPO(num_envs=8, num_steps=8, minibatches=2, learning_rate=3e-3, network=SMALL)
    rows = fit(learner, game, None, budget=3200, evaluations=2, episodes=16, workers=0).rows
    assert rows[-1]["return/agent_0"] > 4


def test_expectations_over_replayed_states_are_refused(game, demos):
    with pytest.raises(Unsupported, match="plays a state again, which this game cannot do: use 'one_sample'"):
        fit(MAMQL(next_value="two_sample"), game, demos, budget=64)


def test_recordings_without_masks(game, demos):
    bare = dataclasses.replace(demos, action_mask=None)
    # Of unlike agents it is known what each can do at all.
    mask = np.asarray(with_masks(game, bare).action_mask)
    assert mask.shape == demos.action_mask.shape
    assert (mask == np.array([[True, True, False], [True, True, True]])).all()
    alike = dataclasses.replace(game, static_mask=None)
    with pytest.raises(InvalidGame, match="the recording does not: record it with action masks"):
        fit(TINY, alike, bare, budget=20)


def test_a_failure_while_learning_is_one_line(demos):
    game = from_pettingzoo(functools.partial(make_errand, fail_at=3))
    with pytest.raises(InvalidGame, match="errand failed while it was played: RuntimeError: the floor gave way"):
        fit(TINY, game, demos, budget=60, episodes=0, workers=1)


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    import jax
    from mairl.algorithms.fit import fit
    from mairl.data.collect import record
    from mairl.games.adapters import from_pettingzoo
    from mairl.testing.errand import errand_expert, make_errand
    from test_fit_host import TINY

    if __name__ == "__main__":
        game = from_pettingzoo(make_errand)
        demos = record(game, errand_expert, jax.random.key(1), num_episodes=40)
        fit(TINY, game, demos, budget=800, seeds=1, evaluations=8, episodes=0, out=sys.argv[1], resume=True,
            workers=1, checkpoint_seconds=0)
"""


def test_a_killed_run_repeats_the_uninterrupted_one(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT.format(tests=str(__file__).rsplit("/", 1)[0])))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, str(script), str(whole)], check=True, **quiet)
    child = subprocess.Popen([sys.executable, str(script), str(broken)], **quiet)
    chunks = tmp_path / "broken.partial" / "chunks"
    limit = time.monotonic() + 120
    while not list(chunks.glob("0000[3-9]")) and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    assert child.poll() is None, "the run ended before it could be killed: give it more to do"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not broken.exists()
    # 10 iterations of 5 steps a chunk, episodes of 8: the environments stand in the middle of episodes.
    subprocess.run([sys.executable, "-W", "error", str(script), str(broken)], check=True, **quiet)
    assert same(Learned.load(whole / "learned"), Learned.load(broken / "learned"))
    first, second = (pq.read_table(p / "metrics.parquet").drop_columns(["wall_s"]) for p in (whole, broken))
    assert first.equals(second)


def forgetful():
    """An environment that ignores its seed."""
    env = make_errand()
    reset, count = env.reset, iter(range(10**9))
    env.reset = lambda seed=None, options=None: reset(seed=seed + next(count), options=options)
    return env


def test_an_inexact_environment_is_noticed(demos, tmp_path, monkeypatch):
    game = from_pettingzoo(forgetful)
    options = {"budget": 60, "evaluations": 3, "episodes": 0, "workers": 0, "checkpoint_seconds": 0, "resume": True}
    from mairl.algorithms.run_folder import RunFolder

    write = RunFolder.write_chunk

    def killed(self, chunk, *rest):
        write(self, chunk, *rest)
        if chunk == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_chunk", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(TINY, game, demos, out=tmp_path / "run", **options)
    with pytest.warns(UserWarning, match="errand does not repeat itself from the same seed and actions"):
        fit(TINY, game, demos, out=tmp_path / "run", **options)
