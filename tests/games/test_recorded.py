"""A recording alone makes a game that learners can size themselves by, and that refuses to be played."""

import jax
import numpy as np
import pytest

from mairl.core.errors import InvalidGame, Unsupported
from mairl.core.spaces import Box, Discrete
from mairl.data.demonstrations import demonstrations
from mairl.games.recorded import RecordedGame


def recording(actions, **fields):
    episodes, time, agents = actions.shape[:3]
    given = {"obs": {"x": np.zeros((episodes, time + 1, agents, 4), np.int8)}, **fields}
    return demonstrations(
        actions=actions,
        lengths=[time, *[1] * (episodes - 1)],
        terminated=np.zeros((episodes, time, agents), bool),
        truncated=np.zeros((episodes, time), bool),
        **given,
    )


def test_sizes_come_from_the_recording():
    data = recording(np.array([[[0, 1], [2, 0], [1, 1]], [[0, 0], [9, 9], [9, 9]]]))
    game = RecordedGame.of(data)
    assert (game.num_agents, game.horizon, game.pure) == (2, 3, False)
    assert game.action_space == Discrete(3)  # The 9s lie in padding.
    assert game.observation_spec == {"x": jax.ShapeDtypeStruct((4,), np.int8)}
    data.check_fits(game)


def test_action_masks_and_given_spaces_come_first():
    actions = np.zeros((1, 2, 2), int)
    masked = recording(actions, action_mask=np.ones((1, 3, 2, 6), bool))
    assert RecordedGame.of(masked).action_space == Discrete(6)
    assert RecordedGame.of(masked, Discrete(8)).action_space == Discrete(8)


def test_vector_actions_are_bounded_by_what_was_recorded():
    data = recording(np.array([[[[0.5, -2.0]], [[3.0, 0.0]]]]))
    assert RecordedGame.of(data).action_space == Box(2, -2.0, 3.0)
    assert RecordedGame.of(recording(np.ones((1, 2, 1, 1)))).action_space == Box(1, 0.0, 2.0)


def test_it_cannot_be_played():
    game = RecordedGame.of(recording(np.zeros((1, 2, 2), int)))
    key = jax.random.key(0)
    calls = (
        lambda: game.reset(key),
        lambda: game.step(key, None, np.zeros(2)),
        lambda: game.observe(None),
        game.state_spec,
    )
    for call in calls:
        with pytest.raises(Unsupported, match="name the game"):
            call()


def test_states_without_observations_are_refused():
    data = recording(np.zeros((1, 2, 2), int), obs=None, state={"s": np.zeros((1, 3, 2))})
    with pytest.raises(InvalidGame, match="no observations"):
        RecordedGame.of(data)
