"""In step with highway-env: the same starts, routes and actions give the same episodes.

The traces were made by `python src/mairl/bench/peers/highway_intersection.py traces OUT.npz 400` (highway-env 1.12.1).
In float64 every episode agrees. While a vehicle comes to rest its steering is unstable, and rounding grows to
millimetres on a straight lane: hence 99%. On an arc float32's rounding grows to centimetres: hence 75% there.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.games.intersection import Intersection
from mairl.games.intersection.game import start
from mairl.games.intersection.lanes import world


@pytest.fixture(scope="module")
def traces():
    with np.load(Path(__file__).parent / "highway_traces.npz") as found:
        return {k: found[k] for k in found.files if k != "facts"}


def replayed(traces):
    """Positions, headings, speeds and crashes after each second, in the precision that is on."""
    game = Intersection(leave=False)

    @jax.jit
    @jax.vmap
    def episode(along, turn, actions):
        def tick(state, action):
            after, _ = game.step(jax.random.key(0), state, action)
            return after, (*world(turn, after.body), after.body.speed, after.body.crashed)

        return jax.lax.scan(tick, start(along, turn), actions)[1]

    given = (traces["start"].astype(float), traces["turn"].astype(np.int32), traces["action"].astype(np.int32))
    return [np.asarray(x) for x in episode(*map(jnp.asarray, given))]


@pytest.fixture(scope="module")
def exact(traces):
    with jax.enable_x64(True):
        return replayed(traces)


@pytest.fixture(scope="module")
def single(traces):
    return replayed(traces)


def worst(ours, theirs):
    """The largest difference in each episode."""
    difference = np.abs(ours - theirs)
    return difference.reshape(len(difference), -1).max(1)


def test_collisions_come_in_the_same_step(traces, exact, single):
    np.testing.assert_array_equal(exact[3], traces["crashed"])
    np.testing.assert_array_equal(single[3], traces["crashed"])


def test_positions_within_a_centimetre(traces, exact, single):
    assert exact[0].dtype == np.float64
    assert worst(exact[0], traces["position"]).max() < 2e-2
    assert (worst(exact[0], traces["position"]) < 1e-2).mean() > 0.99
    assert (worst(single[0], traces["position"]) < 1e-2).mean() > 0.75
    # Who keeps moving has nothing amplified.
    moving = (traces["speed"].min(1) > 1.0) & ~traces["crashed"].any(1)
    assert moving.sum() >= 100
    difference = np.abs(single[0] - traces["position"]).max((1, 3))
    assert difference[moving].max() < 1e-3


def test_speeds_within_a_millimetre_a_second(traces, exact, single):
    assert worst(exact[2], traces["speed"]).max() < 1e-3
    assert (worst(single[2], traces["speed"]) < 1e-3).mean() > 0.99


def test_headings(traces, exact):
    turned = (exact[1] - traces["heading"] + np.pi) % (2 * np.pi) - np.pi
    at_speed = traces["speed"] > 1.0
    assert np.abs(turned[at_speed & ~traces["crashed"]]).max() < 1e-3


def test_the_traces_show_every_kind_of_encounter(traces):
    crashed = traces["crashed"].any(1)
    assert len(crashed) >= 100
    assert 0.1 < crashed.any(1).mean() < 0.9
    assert {0, 2, 3, 4} <= set(crashed.sum(1).tolist())  # nobody, two, and pile-ups
    assert set(np.unique(traces["turn"])) == {0, 1, 2} == set(np.unique(traces["action"]))
