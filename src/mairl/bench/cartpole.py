"""CartPole as a game for one agent: what peers' training rates are compared on."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Discrete

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
LIMITS = (2.4, 12 * jnp.pi / 180)


class CartPoleState(eqx.Module):
    """Cart position and speed, pole angle and speed `[4]`; steps played."""

    body: Float[Array, " 4"]
    time: Int[Array, ""]


class CartPole(MarkovGame):
    """Barto, Sutton & Anderson 1983, as Gymnasium's CartPole-v1 has it: 1 for each step, ended by a fall."""

    horizon: int = eqx.field(static=True, default=500)

    num_agents: ClassVar[int] = 1  # type: ignore[assignment]
    action_space: ClassVar[Discrete] = Discrete(2)  # type: ignore[assignment]

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """`[4]`."""
        return jax.ShapeDtypeStruct((4,), jnp.float32)

    def reset(self, key):
        """See `MarkovGame.reset`."""
        state = CartPoleState(jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05), jnp.zeros((), jnp.int32))
        return state, self.observe(state)

    def step(self, key, state, actions):
        """See `MarkovGame.step`."""
        x, v, angle, spin = state.body
        push = jnp.where(actions[0] == 1, FORCE, -FORCE)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        total = CART + POLE
        shared = (push + POLE * HALF_LENGTH * spin**2 * sin) / total
        turn = (GRAVITY * sin - cos * shared) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / total))
        pull = shared - POLE * HALF_LENGTH * turn * cos / total
        body = jnp.stack([x + TAU * v, v + TAU * pull, angle + TAU * spin, spin + TAU * turn])
        after = CartPoleState(body, state.time + 1)
        fallen = (jnp.abs(body[0]) > LIMITS[0]) | (jnp.abs(body[2]) > LIMITS[1])
        return after, TimeStep(
            obs=self.observe(after),
            reward=jnp.ones(1),
            terminated=fallen[None],
            truncated=(after.time >= self.horizon) & ~fallen,
            mask=jnp.ones(1, bool),
        )

    def observe(self, state):
        """See `MarkovGame.observe`."""
        return state.body[None]
