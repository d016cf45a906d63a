"""Recording outside games: the same whoever steps them; failures are one line."""

import functools
import os
import signal
import sys
import types

import jax
import numpy as np
import pytest

pytest.importorskip("pettingzoo")

from mairl.core.errors import InvalidData, InvalidGame
from mairl.core.policy import UniformPolicy
from mairl.data import store
from mairl.data.collect import record
from mairl.data.host_pool import HostPool
from mairl.games.adapters import from_pettingzoo
from mairl.testing.errand import errand_expert, make_errand


@pytest.fixture(scope="module")
def game():
    return from_pettingzoo(make_errand)


@pytest.fixture(scope="module")
def random_play(game):
    return UniformPolicy(game.num_agents, game.action_space)


def same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)


def test_who_steps_changes_nothing(game, random_play):
    key = jax.random.key(5)
    here = record(game, random_play, key, num_episodes=7, workers=0)
    there = record(game, random_play, key, num_episodes=7, workers=2)
    assert same(here, there)
    other = record(game, random_play, jax.random.key(6), num_episodes=7, workers=0)
    assert not same(here.actions, other.actions)
    lengths, mask = np.asarray(here.lengths), np.asarray(here.mask)
    assert lengths.tolist() == [8] * 7  # The caller stays until time is up.
    assert mask[:, :, 0].all()
    gone = np.cumsum(np.asarray(here.terminated)[:, :, 1], axis=1) > 1
    np.testing.assert_array_equal(mask[:, :, 1], ~gone)
    assert np.asarray(here.truncated)[:, -1].all()
    assert not np.asarray(here.terminated)[:, :, 0].any()
    # Episodes differ: each has a seed of its own.
    assert len(np.unique(np.asarray(here.obs)[:, 0, 0], axis=0)) == 2


def test_a_recording_goes_to_disk_and_back(game, random_play, tmp_path):
    data = record(game, random_play, jax.random.key(0), num_steps=21, workers=0)
    assert data.num_steps == 21
    data.check_fits(game)
    store.save(data, tmp_path / "demos")
    steps = np.arange(21)
    assert same(store.load(tmp_path / "demos").transition(steps), data.transition(steps))


def test_any_callable_plays_in_the_environments_own_words(game):
    data = record(game, errand_expert, jax.random.key(1), num_episodes=20)
    reward, mask = np.asarray(data.true_reward), np.asarray(data.mask)
    np.testing.assert_allclose(reward[:, :, 0].sum(1), 8.0)  # Every call is right.
    np.testing.assert_allclose(reward[:, :, 1].sum(1), 4.0)  # It waits one step, hears, and walks two.
    assert mask[:, :, 1].sum(1).tolist() == [3] * 20


def test_a_players_mistakes_are_one_line(game):
    def through_walls(obs, agent):
        return 0

    # At the third step it stands at the left wall.
    with pytest.raises(InvalidGame, match="runner chose 0 in step 2, which its action mask forbids"):
        record(game, through_walls, jax.random.key(0), num_episodes=20)
    with pytest.raises(InvalidGame, match="7 is not among the actions of caller"):
        record(game, lambda obs, agent: 7, jax.random.key(0), num_episodes=1)
    with pytest.raises(InvalidData, match="the player failed for caller in step 0 of episode 0: ZeroDivisionError"):
        record(game, lambda obs, agent: 1 / 0, jax.random.key(0), num_episodes=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_environment_is_one_line(random_play, workers):
    game = from_pettingzoo(functools.partial(make_errand, fail_at=2))
    with pytest.raises(InvalidGame, match=r"errand failed while it was played: RuntimeError: the floor gave way") as e:
        record(game, random_play, jax.random.key(0), num_episodes=2, workers=workers)
    assert "\n" not in str(e.value)
    with pytest.raises(InvalidGame, match=r"errand failed while it was played: RuntimeError: the floor gave way"):
        record(game, errand_expert, jax.random.key(0), num_episodes=2)


def test_a_killed_worker_is_one_line(game):
    with HostPool(game.make, 2, 1, game.title) as pool:
        pool.reset([0, 1], [1, 2])
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        with pytest.raises(InvalidGame, match="its worker process was killed by signal 9"):
            pool.step([0, 1], np.zeros((2, 2), np.int32))


def test_what_cannot_be_sent_to_workers_says_so():
    game = from_pettingzoo(lambda: make_errand())
    with pytest.raises(InvalidGame, match=r"a function of an importable module, or use workers=0"):
        HostPool(game.make, 2, 1, game.title)


def test_what_workers_cannot_import_says_so(monkeypatch):
    """As a class of a notebook: this process knows its module, workers do not."""
    here = types.ModuleType("only_here")
    exec("from mairl.testing.errand import make_errand\ndef make():\n    return make_errand()", here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", here)
    game = from_pettingzoo(here.make)
    with pytest.raises(InvalidGame, match=r"cannot import the game .*only_here.* or use workers=0"):
        HostPool(game.make, 2, 1, game.title)
