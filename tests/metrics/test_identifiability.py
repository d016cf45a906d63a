"""What a recording cannot tell is said, of few agents one by one, of many at once."""

import numpy as np
import pytest

from mairl.core.spaces import Discrete
from mairl.data.demonstrations import demonstrations
from mairl.metrics.identifiability import coverage


@pytest.mark.parametrize("agents", [2, 12])
def test_actions_never_taken_are_said_in_one_line(agents):
    space, steps = Discrete(3), 4
    actions = np.zeros((2, steps, agents), int)
    # All take every action, but the first agent never the last one, and of many agents all but one never the last two.
    actions[0, 1:3] = [[1] * agents, [2] * agents]
    actions[:, :, 0] = np.minimum(actions[:, :, 0], 1)
    if agents > 2:
        actions[:, :, 1:-1] = 0
    obs = np.arange(2 * (steps + 1) * agents, dtype=np.float32).reshape(2, steps + 1, agents, 1)
    over = {"terminated": np.zeros((2, steps, agents), bool), "truncated": np.zeros((2, steps), bool)}
    data = demonstrations(actions=actions, lengths=np.full(2, steps), obs=obs, action_space=space, **over)
    found = coverage(data, space)
    assert found["actions_never_taken"][0] == [2]
    assert found["actions_never_taken"][-1] == []
    lines = [line for line in found["sentences"] if "never take" in line]
    assert len(lines) == 1
    if agents == 2:
        assert lines[0].startswith("Agent 0 never takes action 2:")
    else:
        assert lines[0].startswith("11 of 12 agents never take some of their 3 actions, 1 to 2 of them:")
