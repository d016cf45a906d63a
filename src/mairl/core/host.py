"""Games that only their own program can step: on the host, forward, one environment at a time.

A learner never sees the difference. What such a game shows (observations and allowed actions) is taken for its state,
so `observe` and `action_mask` are projections, replayed play keeps what was seen, and every learner that does not
play a state again works unchanged.
"""

# No postponed annotations here: Equinox reads `AbstractVar` from the annotation itself.
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame, State, TimeStep
from mairl.core.spaces import ActionSpace, Discrete


class HostState(eqx.Module):
    """What the players see: the only part of a host game's state that is known.

    Attributes:
        obs: `[agent, ...]`; zeros for an agent that is out of the game.
        action_mask: `[agent, action]` allowed actions (all, for an agent that is out), or None when all always are.
    """

    obs: Array
    action_mask: Bool[Array, "agent action"] | None = None


class HostStep(NamedTuple):
    """What one environment showed, as NumPy arrays with an agent axis. After `reset` what stands after `present`
    means nothing.

    Attributes:
        obs, action_mask: as in `HostState`.
        present: `[agent]` takes part in the next step.
        reward: `[agent]` float32.
        terminated: `[agent]` has terminated, now or before.
        truncated: the episode is over although not all agents have terminated.
        over: the episode is over.
        features: `[agent, feature]` float32 of the step (see `MarkovGame.features`), or None.
    """

    obs: np.ndarray
    action_mask: np.ndarray | None
    present: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    over: np.ndarray
    features: np.ndarray | None = None


class HostEnv(Protocol):
    """One environment, agents stacked."""

    def reset(self, seed: int) -> HostStep:
        """Starts the episode that belongs to `seed`."""
        ...

    def step(self, actions: np.ndarray) -> HostStep:
        """Plays the joint action `[agent]` or `[agent, size]`; entries of agents that are out are ignored."""
        ...

    def raw(self) -> dict[str, Any]:
        """The environment's own observation of each agent that takes part in the next step, by name."""
        ...

    def encode(self, actions: dict[str, Any]) -> np.ndarray:
        """The environment's own actions as a joint action for `step`."""
        ...

    def close(self) -> None:
        """Releases what the environment holds."""
        ...


class HostGame(MarkovGame):
    """A game stepped on the host. Build one with `from_pettingzoo` or `from_gymnasium`.

    Attributes:
        num_agents: the length of every agent axis.
        action_space: of every agent; agents with fewer actions carry an action mask.
        observation_spec: one agent's observation.
        horizon: an episode is truncated after this many steps, by the environment or else from outside.
        names: of the agents.
        has_masks: whether action masks are given with every step.
        static_mask: `[agent][action]` actions that an agent has at all, where agents differ; else None.
        make: builds one environment. It is sent to worker processes, so it must be picklable to use them.
        title: what the game is called in messages.
        weights: of the features that each step shows, by name, `(name, (of each agent))`; () where it shows none.
    """

    num_agents: int = eqx.field(static=True)
    action_space: ActionSpace = eqx.field(static=True)
    observation_spec: PyTree[jax.ShapeDtypeStruct]
    horizon: int = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    has_masks: bool = eqx.field(static=True)
    static_mask: tuple[tuple[bool, ...], ...] | None = eqx.field(static=True)
    make: Callable[[], HostEnv] = eqx.field(static=True)
    title: str = eqx.field(static=True)
    weights: tuple[tuple[str, tuple[float, ...]], ...] = eqx.field(static=True, default=())
    pure = False

    def reset(self, key: Key[Array, ""]) -> tuple[State, PyTree[Array]]:
        """Raises `Unsupported`."""
        raise self._refusal()

    def step(self, key: Key[Array, ""], state: State, actions: Array) -> tuple[State, TimeStep]:
        """Raises `Unsupported`."""
        raise self._refusal()

    def observe(self, state: HostState) -> PyTree[Array]:
        """What the players saw."""
        return state.obs

    def action_mask(self, state: HostState) -> Bool[Array, "agent action"] | None:
        """What the players were allowed."""
        return state.action_mask

    def state_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """Shapes of a `HostState`."""
        n, space = self.num_agents, self.action_space
        spec: Any = jax.tree.map(lambda s: jax.ShapeDtypeStruct((n, *s.shape), s.dtype), self.observation_spec)
        mask = jax.ShapeDtypeStruct((n, space.n), jnp.bool_) if self.has_masks and isinstance(space, Discrete) else None
        return HostState(spec, mask)  # type: ignore[arg-type]

    def feature_names(self) -> tuple[str, ...]:
        """See `MarkovGame.feature_names`."""
        return tuple(name for name, _ in self.weights)

    def feature_weights(self) -> Float[np.ndarray, "agent feature"]:
        """See `MarkovGame.feature_weights`."""
        if not self.weights:
            return super().feature_weights()
        return np.array([weights for _, weights in self.weights]).T

    def agent_names(self) -> Sequence[str]:  # type: ignore[override]
        """As the environment calls them."""
        return self.names

    def _refusal(self) -> Unsupported:
        return Unsupported(
            f"{self.title} is stepped by its own program, which nothing compiled can call: let fit or record play it"
        )
