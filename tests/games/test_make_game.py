"""Games by name: options are of the kind that the game wants, or one line says so."""

import pytest

from mairl.core.errors import InvalidGame
from mairl.games import make_game


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("overcooked:horizon=abc", "horizon must be a whole number, got 'abc'"),
        ("overcooked:cook_time=2.5", "cook_time must be a whole number, got 2.5"),
        ("overcooked:cook_time=True", "cook_time must be a whole number, got True"),
        ("overcooked:soup_reward=much", "soup_reward must be a number, got 'much'"),
        ("overcooked:random_start=1", "random_start must be True or False, got 1"),
        ("overcooked:layout=3", "layout must be text, got 3"),
        ("coordination:horizon=1.5", "horizon must be a whole number, got 1.5"),
        ("driving:count=few", "count must be a whole number, got 'few'"),
    ],
)
def test_options_of_another_kind_are_one_line(name, says):
    with pytest.raises(InvalidGame) as caught:
        make_game(name)
    assert str(caught.value) == says


def test_whole_numbers_are_numbers():
    game = make_game("overcooked:horizon=7,soup_reward=10")
    assert (game.horizon, game.soup_reward) == (7, 10)
