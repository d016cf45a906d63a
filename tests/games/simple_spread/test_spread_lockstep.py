"""In step with `simple_spread_v3` of mpe2 over 1,000 episodes of random play, re-synchronised at every step.

Contacts are stiff (a force of 100 for each unit of overlap), so a step is compared from mpe2's own state before it: in
float32 places, velocities and observations agree within 1e-5 and rewards within 1e-5, except where two agents are so
near to touching that rounding decides whether they do.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("mpe2")
from mpe2 import simple_spread_v3

from mairl.games.simple_spread import SimpleSpread, SpreadState

EPISODES, HORIZON, AGENTS = 1000, 25, 3
TOLERANCE = 1e-5


def traces(continuous: bool, local_ratio: float, episodes: int):
    """mpe2's play: states `[episode, time+1]`, actions, rewards, observations and endings, by name."""
    env = simple_spread_v3.parallel_env(
        N=AGENTS, local_ratio=local_ratio, max_cycles=HORIZON, continuous_actions=continuous
    )
    rng = np.random.default_rng(7)
    size = (episodes, HORIZON, AGENTS)
    actions = rng.random((*size, 5), np.float32) if continuous else rng.integers(5, size=size)
    found = {name: [] for name in ("place", "velocity", "landmark", "reward", "obs", "truncated", "terminated")}
    for episode in range(episodes):
        obs, _ = env.reset(seed=episode)
        world = env.unwrapped.world

        def keep(obs, world=world):
            found["place"].append([a.state.p_pos.copy() for a in world.agents])
            found["velocity"].append([a.state.p_vel.copy() for a in world.agents])
            found["landmark"].append([x.state.p_pos.copy() for x in world.landmarks])
            found["obs"].append(list(obs.values()))

        keep(obs)
        for t in range(HORIZON):
            names = list(env.agents)
            obs, reward, terminated, truncated, _ = env.step(dict(zip(names, actions[episode, t], strict=True)))
            keep(obs)
            found["reward"].append([reward[n] for n in names])
            found["terminated"].append([terminated[n] for n in names])
            found["truncated"].append([truncated[n] for n in names])
    stacked = {name: np.array(x).reshape(episodes, -1, *np.shape(x)[1:]) for name, x in found.items()}
    return {**stacked, "actions": actions}


@pytest.mark.parametrize(("continuous", "local_ratio"), [(False, 0.5), (True, 0.3)])
def test_in_step_with_mpe2(continuous, local_ratio):
    theirs = traces(continuous, local_ratio, EPISODES)
    game = SimpleSpread(AGENTS, local_ratio, HORIZON, continuous)
    time = np.broadcast_to(np.arange(HORIZON, dtype=np.int32), (EPISODES, HORIZON))
    before = SpreadState(
        *(jnp.asarray(theirs[n][:, :-1], jnp.float32) for n in ("place", "velocity", "landmark")), jnp.asarray(time)
    )
    step = jax.jit(jax.vmap(jax.vmap(lambda state, actions: game.step(jax.random.key(0), state, actions))))
    after, ours = step(before, jnp.asarray(theirs["actions"]))
    np.testing.assert_allclose(after.place, theirs["place"][:, 1:], atol=TOLERANCE)
    np.testing.assert_allclose(after.velocity, theirs["velocity"][:, 1:], atol=TOLERANCE)
    np.testing.assert_allclose(ours.obs, theirs["obs"][:, 1:], atol=TOLERANCE)
    np.testing.assert_allclose(
        jax.vmap(game.observe)(jax.tree.map(lambda x: x[:, 0], before)), theirs["obs"][:, 0], atol=TOLERANCE
    )
    between = theirs["place"][:, 1:, :, None] - theirs["place"][:, 1:, None]
    apart = np.linalg.norm(between, axis=-1)
    unsure = (np.abs(apart - 0.3) < 1e-6).any(axis=(2, 3))
    assert unsure.mean() < 1e-3
    np.testing.assert_allclose(ours.reward[~unsure], theirs["reward"][~unsure], atol=TOLERANCE)
    np.testing.assert_array_equal(ours.truncated, theirs["truncated"].all(axis=-1))
    assert not theirs["terminated"].any()
    # The comparison means something: many met, and moved fast.
    assert (ours.info["collisions"] > 0).mean() > 0.02
    assert np.abs(theirs["velocity"]).max() > 1.5


def test_the_comparison_sees_a_fault(monkeypatch):
    from mairl.games.simple_spread import physics

    monkeypatch.setattr(physics, "DAMPING", 0.26)
    theirs = traces(False, 0.5, 2)
    before = SpreadState(
        *(jnp.asarray(theirs[n][:, :-1], jnp.float32) for n in ("place", "velocity", "landmark")),
        jnp.zeros((2, HORIZON), jnp.int32),
    )
    game = SimpleSpread()
    after, _ = jax.vmap(jax.vmap(lambda s, a: game.step(jax.random.key(0), s, a)))(before, theirs["actions"])
    assert np.abs(after.velocity - theirs["velocity"][:, 1:]).max() > 100 * TOLERANCE
