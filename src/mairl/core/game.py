"""The game: `n` agents act at once on one state, each is paid its own reward.

Glossary of axes, always in this order: seed, world (or env), time, agent, feature.
"""

# No postponed annotations here: Equinox reads `AbstractVar` from the annotation itself.
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from mairl.core.errors import Unsupported
from mairl.core.spaces import ActionSpace, Discrete

State = Any
"""A game's state: any pytree of arrays, without an agent axis of its own unless the game wants one."""


class TimeStep(eqx.Module):
    """What one step returned.

    Attributes:
        obs: observation after the step, each leaf `[agent, ...]`. The true final one when the episode ended.
        reward: true reward of each agent for this step.
        terminated: the game is over for this agent: the future is worth 0.
        truncated: the time limit cut the episode: the future is unknown, not 0. One for all agents.
        mask: the agent was in the game when it acted; where False its action, reward and observation mean nothing.
        info: diagnostics, named arrays with a first axis `[agent]` or none.
    """

    obs: PyTree[Array]
    reward: Float[Array, " agent"]
    terminated: Bool[Array, " agent"]
    truncated: Bool[Array, ""]
    mask: Bool[Array, " agent"]
    info: dict[str, Array] = eqx.field(default_factory=dict)

    @property
    def done(self) -> Bool[Array, ""]:
        """The episode is over: every agent has terminated, or the time limit was met."""
        return jnp.all(self.terminated) | self.truncated


class MarkovGame(eqx.Module):
    """Base of all games. Every method is a pure function of its arguments; `jit`, `vmap` and `scan` work on them.

    A subclass declares `num_agents`, `action_space`, `observation_spec` and `horizon` as fields or properties.

    Attributes:
        num_agents: the length of every agent axis.
        action_space: of every agent; unlike agents are padded (see `action_mask`).
        observation_spec: one agent's observation, a pytree of `jax.ShapeDtypeStruct` without the agent axis.
        horizon: an episode is truncated after this many steps.
        pure: `step` may be called again from the same state (False: a host game that only moves forward).
        differentiable: gradients of states and rewards with respect to actions are right.
        cooperative: all agents are paid the same, always (known by construction; False when unknown).
    """

    if TYPE_CHECKING:  # A checker would take an AbstractVar that a property fills for a constructor's argument.

        @property
        def num_agents(self) -> int: ...  # noqa: D102
        @property
        def action_space(self) -> ActionSpace: ...  # noqa: D102
        @property
        def observation_spec(self) -> PyTree[jax.ShapeDtypeStruct]: ...  # noqa: D102
        @property
        def horizon(self) -> int: ...  # noqa: D102

    else:
        num_agents: eqx.AbstractVar[int]
        action_space: eqx.AbstractVar[ActionSpace]
        observation_spec: eqx.AbstractVar[PyTree[jax.ShapeDtypeStruct]]
        horizon: eqx.AbstractVar[int]
    pure: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False
    cooperative: ClassVar[bool] = False

    def reset(self, key: Key[Array, ""]) -> tuple[State, PyTree[Array]]:
        """Draws a first state; returns it with the observation `[agent, ...]`."""
        raise NotImplementedError

    def step(self, key: Key[Array, ""], state: State, actions: Array) -> tuple[State, TimeStep]:
        """Plays the joint action `[agent]` (Discrete) or `[agent, size]` (Box) from `state`."""
        raise NotImplementedError

    def observe(self, state: State) -> PyTree[Array]:
        """What each agent sees in `state`, each leaf `[agent, ...]`; equals the observation that `step` returned."""
        raise NotImplementedError

    def state_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a state."""
        return eqx.filter_eval_shape(lambda: self.reset(jax.random.key(0))[0])

    def action_mask(self, state: State) -> Bool[Array, "agent action"] | None:
        """Which actions are allowed in `state`; None when all always are (the default)."""
        return None

    def successors(
        self, key: Key[Array, ""], state: State, actions: Array
    ) -> tuple[State, Bool[Array, "branch agent"], Float[Array, " branch"]]:
        """All next states of a joint action, `[branch, ...]`, with who terminated there and their probabilities.

        The default plays `step` once, which is exact for deterministic games; stochastic games that can enumerate
        their branches override it.
        """
        next_state, timestep = self.step(key, state, actions)
        branch = jax.tree.map(lambda x: x[None], next_state)
        return branch, timestep.terminated[None], jnp.ones(1)

    def feature_names(self) -> tuple[str, ...]:
        """Names of known features in which the reward is linear; none by default. See `features`."""
        return ()

    def features(self, state: State, actions: Array, next_state: State) -> Float[Array, "agent feature"]:
        """φ of a step, so that the reward of agent i is φ_i · ω_i; ω is `feature_weights`.

        Raises:
            Unsupported: no such features are known, or they cannot be told from the states (of a host game they come
                with the play: `mairl.core.transition.features`).
        """
        raise Unsupported(f"{type(self).__name__} knows no features in which its reward is linear")

    def feature_weights(self) -> Float[np.ndarray, "agent feature"]:
        """ω, the true weights of `features`.

        Raises:
            Unsupported: no such features are known.
        """
        raise Unsupported(f"{type(self).__name__} knows no features in which its reward is linear")

    def agent_names(self) -> tuple[str, ...]:
        """Names used by adapters and reports."""
        return tuple(f"agent_{i}" for i in range(self.num_agents))

    def action_names(self) -> tuple[str, ...]:
        """Names of the discrete actions, for reports."""
        space = self.action_space
        return tuple(str(a) for a in range(space.n)) if isinstance(space, Discrete) else ()

    def render(self, state: State) -> np.ndarray:
        """A picture of one (unbatched) state: uint8 `[height, width, 3]`. On the host, not under `jit`."""
        raise NotImplementedError(f"{type(self).__name__} has no picture")
