"""Coin Game: its contract, and steps worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.games import make_game
from mairl.games.coin_game import ACTIONS, FEATURES, CoinGame, CoinState
from mairl.testing import check_game

KEY = jax.random.key(0)
UP, DOWN, LEFT, RIGHT = range(4)
BLUE, RED = 0, 1


def at(blue, red, coin, colour, time=0):
    return CoinState(jnp.array([blue, red]), jnp.int32(coin), jnp.int32(colour), jnp.int32(time))


def test_keeps_the_contract():
    check_game(make_game("coin-game:horizon=10"), KEY)


# The grid:  0 1 2
#            3 4 5
#            6 7 8
@pytest.mark.parametrize(
    ("state", "actions", "paid"),
    [
        (at(0, 8, 1, BLUE), (RIGHT, LEFT), (1, 0)),
        (at(0, 8, 1, RED), (RIGHT, LEFT), (1, -2)),
        (at(0, 8, 7, BLUE), (DOWN, LEFT), (-2, 1)),
        (at(0, 8, 7, RED), (DOWN, LEFT), (0, 1)),
        (at(0, 2, 1, BLUE), (RIGHT, LEFT), (1 - 2, 1)),
        (at(0, 2, 1, RED), (RIGHT, LEFT), (1, 1 - 2)),
        (at(0, 8, 4, RED), (RIGHT, LEFT), (0, 0)),
    ],
)
def test_what_a_coin_pays(state, actions, paid):
    _, step = CoinGame().step(KEY, state, jnp.array(actions))
    np.testing.assert_array_equal(step.reward, paid)


def test_edges_join():
    game = CoinGame()
    for action, cell in zip(ACTIONS, (6, 3, 2, 1), strict=True):
        after, _ = game.step(KEY, at(0, 4, 8, BLUE), jnp.array([ACTIONS.index(action), UP]))
        assert after.place[0] == cell


def test_a_coin_stays_until_it_is_taken():
    after, _ = CoinGame().step(KEY, at(0, 8, 4, RED), jnp.array([RIGHT, LEFT]))
    assert (after.coin, after.colour) == (4, RED)


def test_a_new_coin_lies_on_any_free_cell_in_either_colour():
    game, state = CoinGame(), at(0, 8, 1, RED)
    after, _ = jax.vmap(lambda key: game.step(key, state, jnp.array([RIGHT, LEFT])))(jax.random.split(KEY, 7000))
    counts = np.bincount(2 * after.coin + after.colour, minlength=18).reshape(9, 2)
    assert counts[[1, 7]].sum() == 0
    np.testing.assert_allclose(np.delete(counts, [1, 7], axis=0), 500, atol=100)


def test_features_by_hand():
    game, state, actions = CoinGame(), at(0, 8, 1, RED), jnp.array([RIGHT, LEFT])
    after, _ = game.step(KEY, state, actions)
    found = dict(zip(FEATURES, np.asarray(game.features(state, actions, after)).T, strict=True))
    np.testing.assert_array_equal(found["taken"], [1, 0])
    np.testing.assert_array_equal(found["lost"], [0, 1])
    np.testing.assert_array_equal(found["own_taken"], [0, 0])
    np.testing.assert_array_equal(found["other_taken"], [0, 1])
    # Red is on cell 7: one step up over the edge is cell 1.
    np.testing.assert_array_equal(found["far"], [0, 1])


def test_each_sees_itself_first():
    seen = np.asarray(CoinGame().observe(at(0, 5, 7, RED)))
    assert seen[BLUE, 0, 0].tolist() == [1, 0, 0, 0]
    assert seen[BLUE, 1, 2].tolist() == [0, 1, 0, 0]
    assert seen[BLUE, 2, 1].tolist() == [0, 0, 0, 1]
    assert seen[RED, 1, 2].tolist() == [1, 0, 0, 0]
    assert seen[RED, 2, 1].tolist() == [0, 0, 1, 0]


def test_greed_gains_nothing_and_restraint_does():
    """Both after every coin lose what they take: half of all coins cost 2. With one's own only, nothing is lost."""
    game = CoinGame(horizon=200)

    def towards(cell, goal):
        row, column, up, left = cell // 3, cell % 3, goal // 3, goal % 3
        vertical = jnp.where((up - row) % 3 == 1, DOWN, UP)
        horizontal = jnp.where((left - column) % 3 == 1, RIGHT, LEFT)
        return jnp.where(row != up, vertical, horizontal)

    def mean_reward(wants):
        def step(state, key):
            actions = jnp.array([wants(i, state, towards) for i in range(2)])
            state, step = game.step(key, state, actions)
            return state, step.reward

        states, _ = jax.vmap(game.reset)(jax.random.split(KEY, 20))
        play = jax.vmap(lambda state, key: jax.lax.scan(step, state, jax.random.split(key, 200))[1])
        return np.asarray(play(states, jax.random.split(KEY, 20))).mean()

    greedy = mean_reward(lambda i, s, towards: towards(s.place[i], s.coin))
    # Whoever is not the owner leaves the coin's row, or walks along another one: never onto the coin.
    restrained = mean_reward(
        lambda i, s, towards: jnp.where(
            s.colour == i, towards(s.place[i], s.coin), jnp.where(s.place[i] // 3 == s.coin // 3, UP, LEFT)
        )
    )
    assert abs(greedy) < 0.05
    assert restrained > 0.2


@pytest.mark.parametrize("option", ["size=1", "horizon=0", "players=3"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InvalidGame):
        make_game(f"coin-game:{option}")


def test_the_picture_shows_discs_and_a_ring():
    image = CoinGame().render(at(0, 4, 8, RED)).astype(int)
    centre = image[24::48, 24::48]
    assert centre[0, 0, 2] > centre[0, 0, 0] + 100
    assert centre[1, 1, 0] > centre[1, 1, 2] + 100
    assert image[2 * 48 + 24, 2 * 48 + 42, 0] > image[2 * 48 + 24, 2 * 48 + 42, 2] + 100
