"""What is timed is what it says: the same CartPole as Gymnasium's, all of the steps, peers in their own Python."""

import sys

import jax
import numpy as np
import pytest

from mairl.bench import learn, peer, profile
from mairl.bench.cartpole import CartPole
from mairl.bench.games import random_play
from mairl.bench.timing import Timing, measure
from mairl.cli.bench_command import lines_of
from mairl.games import make_game
from mairl.testing import check_game


def test_cartpole_is_a_game():
    check_game(CartPole(horizon=30), jax.random.key(0))


def test_cartpole_in_step_with_gymnasium():
    gymnasium = pytest.importorskip("gymnasium")
    theirs = gymnasium.make("CartPole-v1").unwrapped
    ours, rng = CartPole(), np.random.default_rng(0)
    step = jax.jit(ours.step)
    lengths = []
    for episode in range(20):
        state, obs = ours.reset(jax.random.key(episode))
        theirs.reset(seed=0)
        theirs.state = tuple(np.asarray(obs[0], np.float64))
        over = False
        while not over:
            action = int(rng.integers(2))
            state, after = step(jax.random.key(0), state, np.array([action]))
            seen, paid, over, _, _ = theirs.step(action)
            np.testing.assert_allclose(after.obs[0], seen, atol=2e-5)
            assert (float(after.reward[0]), bool(after.terminated[0])) == (paid, over)
        lengths.append(int(state.time))
    assert 10 < np.mean(lengths) < 40, "random play falls after about 22 steps"


def test_random_play_counts_steps():
    row = random_play(make_game("coordination"), batch=4, steps=5)
    assert (row["batch"], row["steps"], row["devices"], row["repeats"]) == (4, 5, 1, 5)
    low, high = row["per_s_range"]
    assert 0 < low <= row["per_s"] <= high


def test_the_first_call_is_compilation():
    calls = []
    timing = measure(lambda: calls.append(0), repeats=4)
    assert len(calls) == 5
    assert timing.compile_s >= 0
    assert Timing(1.0, (3.0, 1.0, 2.0, 10.0)).median == 2.5
    assert Timing(1.0, (3.0, 1.0, 2.0)).rate(10)["per_s"] == 5.0


def test_ratios_compare_like_with_like():
    ours = {"ppo": {"env_steps_per_s": 50.0, "updates_per_s": 9.0}, "bc": {"updates_per_s": 8.0}}
    peers = {
        "stable_baselines3": {"ppo": {"env_steps_per_s": 5.0, "updates_per_s": 1.0}},
        "imitation": {"bc": {"updates_per_s": 2.0}},
    }
    assert learn.ratios(ours, peers) == {"ppo / stable_baselines3": 10.0, "bc / imitation": 4.0}
    assert learn.ratios(ours, {"imitation": {"skipped": "x"}, "stable_baselines3": {"skipped": "x"}}) == {}


def test_peers_that_are_not_there_are_named(monkeypatch):
    assert "MAIRL_NO_SUCH_PEER_PYTHON" in peer.run_peer("sb3_cartpole", "no_such_peer")["skipped"]
    monkeypatch.setenv("MAIRL_NO_SUCH_PEER_PYTHON", "/nowhere/python")
    assert "failed" in peer.run_peer("sb3_cartpole", "no_such_peer")["skipped"]
    monkeypatch.setenv("MAIRL_NO_SUCH_PEER_PYTHON", sys.executable)
    assert peer.interpreter_for("no_such_peer") == sys.executable


def test_products_are_counted_as_the_compiler_counts_them():
    nets = [[jax.numpy.ones((3, 2, *shape)) for shape in ((7, 16), (16, 16), (16, 5))]]
    inputs = [jax.numpy.ones((3, 2, 32, 7))]
    compiled = jax.jit(jax.vmap(profile._linear)).lower(nets, inputs).compile()
    counted = sum(profile._flops(net, x) for net, x in zip(nets, inputs, strict=True))
    assert compiled.cost_analysis()["flops"] == pytest.approx(counted, rel=0.05)


def test_results_as_lines():
    assert list(lines_of({"a": {"b": 1234.5, "c": []}, "d": ["x"]})) == ["a", "  b: 1,234", "  c: []", "d", "  0: x"]
