"""Overcooked's rules by hand, the contract, and human play where it is installed."""

import importlib.util
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData, InvalidGame
from mairl.data.restricted_pickle import Inert, loads
from mairl.games.overcooked import LAYOUTS, Overcooked, human, parse_layout
from mairl.games.overcooked.types import DISH, NOTHING, ONION
from mairl.testing.game_contract import check_game

N, S, E, W, STAY, ACT = range(6)


def run(game, plans, state=None):
    """Plays the two players' plans side by side; returns the state and all rewards."""
    state = jax.jit(game.reset)(jax.random.key(0))[0] if state is None else state
    step = jax.jit(lambda s, a: game.step(jax.random.key(0), s, a))
    paid, soups = [], 0.0
    for actions in zip(*plans):
        state, timestep = step(state, jnp.array(actions, jnp.int32))
        paid.append(np.asarray(timestep.reward))
        soups += float(timestep.info["soups"].sum())
    return state, np.array(paid), soups


def test_starts_facing_north_with_empty_hands():
    state, obs = jax.jit(Overcooked().reset)(jax.random.key(0))
    np.testing.assert_array_equal(state.position, [[1, 2], [3, 1]])
    assert not state.facing.any()
    assert not state.held.any()
    assert obs.shape == (2, 60)


def cook_three(game):
    """Player 1 brings three onions to the pot: from (3, 1) it faces east, takes, goes west, faces north, puts."""
    one = [E, ACT, W, N, ACT]
    again = [E, E, ACT, W, N, ACT]
    plan = one + again + again
    return [STAY] * len(plan), plan


def test_third_onion_starts_the_old_pot_and_counts_in_the_same_step():
    game = Overcooked()
    state, _, _ = run(game, cook_three(game))
    assert int(state.onions[0]) == 3
    assert int(state.cooking[0]) == 1


def test_new_pot_waits_for_an_empty_hand():
    game = Overcooked(dynamics="new")
    state, _, _ = run(game, cook_three(game))
    assert int(state.cooking[0]) == -1
    state, _, _ = run(game, ([STAY], [ACT]), state)
    assert int(state.cooking[0]) == 1


def test_a_soup_is_worth_ten_to_each():
    game = Overcooked(cook_time=5)
    state, _, _ = run(game, cook_three(game))
    # Player 0 takes a dish from (1, 3), waits at (1, 1) until the pot is free, fills it, and serves at (3, 3).
    dish = ([S, ACT, STAY, STAY, STAY, STAY], [E, S, STAY, STAY, STAY, STAY])
    state, _, _ = run(game, dish, state)
    assert int(state.held[0]) == DISH
    assert int(state.cooking[0]) == 5
    state, paid, soups = run(game, ([N, E, N, ACT, S, E, S, ACT], [W] + [STAY] * 7), state)
    if soups == 0:  # player 1 stood in the way: the path is part of what this test fixes
        pytest.fail(f"no soup was served: {state}")
    assert soups == 1
    np.testing.assert_allclose(paid.sum(0), [10.0, 10.0])


def test_players_that_would_meet_both_stay_but_turn():
    game = Overcooked()
    state, _, _ = run(game, ([E], [STAY]))
    np.testing.assert_array_equal(state.position, [[2, 2], [3, 1]])
    state, _, _ = run(game, ([N, E], [STAY, W]), state)  # (2, 1) and (3, 1) swap
    np.testing.assert_array_equal(state.position, [[2, 1], [3, 1]])
    np.testing.assert_array_equal(state.facing, [E, W])


def test_counters_hold_one_thing():
    game = Overcooked()
    state, _, _ = run(game, ([STAY] * 4, [E, ACT, N, ACT]))  # an onion onto the counter at (3, 0)
    assert int(state.held[1]) == NOTHING
    assert int((state.counters == ONION).sum()) == 1
    state, _, _ = run(game, ([STAY] * 4, [E, ACT, N, ACT]), state)  # the counter is taken: it keeps the second one
    assert int(state.held[1]) == ONION
    assert int((state.counters == ONION).sum()) == 1


def test_time_limit_truncates_and_never_terminates():
    game = Overcooked(horizon=3)
    state, step = game.reset(jax.random.key(0))[0], jax.jit(game.step)
    for k in range(3):
        state, timestep = step(jax.random.key(0), state, jnp.array([STAY, STAY]))
        assert bool(timestep.truncated) == (k == 2)
        assert not timestep.terminated.any()


@pytest.mark.parametrize(
    "game",
    [
        Overcooked(horizon=12),
        Overcooked("forced_coordination", dynamics="new", random_start=True, observation="grid", horizon=12),
        Overcooked("XPXXX/O1 2S/X  3X/XDXXX", horizon=12),
    ],
    ids=["old", "new", "three players"],
)
def test_contract(game):
    check_game(game, jax.random.key(0))


def test_random_starts_stay_in_reach():
    game = Overcooked("forced_coordination", random_start=True)
    state, _ = jax.jit(jax.vmap(game.reset))(jax.random.split(jax.random.key(0), 200))
    cells = np.asarray(state.position[..., 0] + game.kitchen.width * state.position[..., 1].astype(int))
    for player, region in enumerate(game.kitchen.regions):
        assert set(cells[:, player]) == set(region)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (("XPX", "X1"), "one length"),
        (("XXXX", "X1PX", "XODX"), "lacks serving"),
        (("XPSX", "X1 O", "XD X"), "closed all around"),
        (("XPSX", "X1QO", "XDXX"), "unknown 'Q'"),
        (("XPSX", "X13O", "XDXX"), "without gaps"),
    ],
)
def test_bad_kitchens_are_refused_with_the_reason(rows, why):
    with pytest.raises(InvalidGame, match=why):
        parse_layout(rows)


@pytest.mark.parametrize("options", [{"horizon": 0}, {"horizon": 32_768}, {"cook_time": 0}, {"cook_time": 121}])
def test_limits_that_do_not_fit_are_refused(options):
    with pytest.raises(InvalidGame, match="must be"):
        Overcooked(**options)


def test_unknown_layout_names_the_known_ones():
    with pytest.raises(InvalidGame, match="cramped_room"):
        Overcooked("crampedroom")
    assert set(LAYOUTS) >= {"cramped_room", "counter_circuit"}


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


def test_a_hostile_recording_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / human.FILES["train"]
    file.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InvalidData, match="no recording needs"):
        human.read_trials(file)
    assert not (tmp_path / "hostile-was-here").exists()


def test_a_cut_recording_is_one_clear_error(tmp_path):
    file = tmp_path / human.FILES["test"]
    file.write_bytes(pickle.dumps({"a": list(range(1000))})[:-40])
    with pytest.raises(InvalidData, match="cut or damaged"):
        human.read_trials(tmp_path)
    with pytest.raises(InvalidData, match="pip install"):
        human.find_files(tmp_path / "nowhere")


@pytest.mark.skipif(importlib.util.find_spec("overcooked_ai_py") is None, reason="overcooked-ai is not installed")
def test_every_human_transition_is_reproduced():
    counts = human.verify(human.read_trials())
    assert counts["transitions"] == 91_102
    assert counts["exact"] == 91_102
    assert counts["trials"] == 76


def test_inert_pickles_keep_no_behaviour():
    inert = loads(pickle.dumps(np.dtype("i8")), human._ALLOWED)
    assert isinstance(inert, Inert)
