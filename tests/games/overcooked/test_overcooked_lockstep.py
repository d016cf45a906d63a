"""In step with overcooked-ai 1.1.0 (new dynamics): the same states and actions give the same states and rewards.

The traces were made, in an environment with NumPy 1, by
`python src/mairl/bench/peers/overcooked_ai_traces.py tests/games/overcooked/overcooked_ai_traces.npz 25`: 10,000 steps
of biased random play in each kitchen. The old dynamics are held to 91,102 human transitions in `test_overcooked.py`.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.games.overcooked import LAYOUTS, Overcooked, OvercookedState
from mairl.games.overcooked.types import DISH, FULL_SOUP, INTERACT, NOTHING, ONION, SOUP

PARTS = ("position", "facing", "held", "counters", "onions", "cooking")


@pytest.fixture(scope="module")
def traces():
    with np.load(Path(__file__).parent / "overcooked_ai_traces.npz") as found:
        return {k: found[k] for k in found.files}


def flat(traces, layout):
    """States before and after each step, actions, rewards and shaped points: `[step, ...]`."""
    found = {k.split("/")[1]: v for k, v in traces.items() if k.startswith(layout + "/")}
    before = {k: found[k][:, :-1].reshape(-1, *found[k].shape[2:]) for k in PARTS}
    after = {k: found[k][:, 1:].reshape(-1, *found[k].shape[2:]) for k in PARTS}
    rest = {k: found[k].reshape(-1, *found[k].shape[2:]) for k in ("actions", "reward", "shaped")}
    return before, after, rest, found["grid"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ten_thousand_steps(traces, layout):
    before, after, rest, grid = flat(traces, layout)
    game = Overcooked(layout, dynamics="new")
    assert tuple(grid) == tuple("".join(" " if c.isdigit() else c for c in row) for row in LAYOUTS[layout])
    assert len(rest["reward"]) == 10_000
    states = OvercookedState(**{k: jnp.asarray(v) for k, v in before.items()}, time=jnp.zeros(10_000, jnp.int16))
    step = jax.jit(jax.vmap(lambda s, a: game.step(jax.random.key(0), s, a)))
    ours, paid = step(states, jnp.asarray(rest["actions"], jnp.int32))
    for part in PARTS:
        np.testing.assert_array_equal(getattr(ours, part), after[part], err_msg=part)
    np.testing.assert_array_equal(np.asarray(paid.reward).sum(-1), rest["reward"])
    np.testing.assert_array_equal(np.asarray(paid.info["shaped"]), rest["shaped"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_starts_are_the_same(traces, layout):
    first = {k: traces[f"{layout}/{k}"][::2, 0] for k in PARTS}
    state = Overcooked(layout).reset(jax.random.key(0))[0]
    for part in PARTS:
        assert (first[part] == np.asarray(getattr(state, part))).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_traces_show_all_that_can_happen(traces, layout):
    before, after, rest, _ = flat(traces, layout)
    held, now = before["held"], after["held"]
    acts = rest["actions"] == INTERACT
    moved = (before["position"] != after["position"]).any(-1)
    counts = {
        "onions fetched or picked up": (acts & (held == NOTHING) & (now == ONION)).sum(),
        "dishes fetched or picked up": (acts & (held == NOTHING) & (now == DISH)).sum(),
        "onions potted": (after["onions"] > before["onions"]).sum(),
        "pots started full": ((before["cooking"] < 0) & (after["cooking"] == 1) & (after["onions"] == 3)).sum(),
        "soups ready": ((before["cooking"] == 19) & (after["cooking"] == 20)).sum(),
        "soups filled": (acts & (held == DISH) & (now >= SOUP)).sum(),
        "soups served": (acts & (held == FULL_SOUP) & (now == NOTHING)).sum(),
        "soups paid": (rest["reward"] == 20).sum(),
        "things put down": ((before["counters"] == NOTHING) & (after["counters"] != NOTHING)).sum(),
        "things picked up": ((before["counters"] != NOTHING) & (after["counters"] == NOTHING)).sum(),
        "both act": acts.all(-1).sum(),
        "both move": moved.all(-1).sum(),
        "in each other's way": ((rest["actions"] < 4).all(-1) & ~moved.any(-1)).sum(),
    }
    assert min(counts.values()) >= 10, counts


def test_soups_of_fewer_onions_are_cooked_and_not_paid(traces):
    early, unpaid = 0, 0
    for layout in LAYOUTS:
        before, after, rest, _ = flat(traces, layout)
        early += ((before["cooking"] < 0) & (after["cooking"] == 1) & (after["onions"] < 3)).sum()
        small = (before["held"] >= SOUP) & (before["held"] < FULL_SOUP) & (rest["actions"] == INTERACT)
        unpaid += (small & (after["held"] == NOTHING) & (rest["reward"] == 0)[:, None]).sum()
    assert early >= 10
    assert unpaid >= 3
