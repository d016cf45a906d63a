"""Whom a vehicle looks at, drawn over the picture of an intersection: as the MAMQL paper's Fig. 1."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.games.intersection import Intersection
from mairl.games.intersection.lanes import world
from mairl.games.intersection.render import SCALE, SIZE, render
from mairl.games.intersection.types import IntersectionState
from mairl.networks.build import PerAgent
from mairl.networks.heads import BoltzmannPolicy, CategoricalPolicy
from mairl.networks.social_attention import SocialAttention

HEADS = ((255, 212, 59), (151, 117, 250), (99, 230, 190), (255, 168, 168))
"""Colours of the heads, in order."""

WIDEST, RING, CLEAR = 14.0, 4.2, 3.0
"""Pixels that a weight of 1 is wide; metres from the ego to its ring, and from lines' ends to the centres."""


def attention_weights(policy: Policy, obs: PyTree[Array]) -> Float[Array, "agent head 1+entity"]:
    """Everybody's attention: to itself, then to its entities in the observation's order; sums to 1.

    Args:
        policy: one seed's, whose networks are of kind "attention".
        obs: leaves `[agent, ...]`.

    Raises:
        Unsupported: other networks.
    """
    net = policy.critic if isinstance(policy, BoltzmannPolicy) else getattr(policy, "net", None)
    if not isinstance(policy, BoltzmannPolicy | CategoricalPolicy) or not isinstance(net, PerAgent):
        raise Unsupported(f"a {type(policy).__name__} has no attention to draw")
    if not isinstance(net.net, SocialAttention):
        raise Unsupported(
            f"a {type(net.net).__name__} has no attention to draw: train with a network of kind 'attention'"
        )
    axis = None if net.shared else eqx.if_array(0)
    return eqx.filter_vmap(lambda n, o: n.weights(o), in_axes=(axis, 0))(net.net, obs)


def draw_attention(
    game: MarkovGame, policy: Policy, state: IntersectionState, ego: int = 0
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of one state with a line from the ego to every other vehicle, as wide as the ego's attention to it.

    Each head has a colour of its own (yellow, violet, …), its lines side by side with the others'; the ring around the
    ego is the attention to itself.

    Raises:
        Unsupported: another game, or other networks.
    """
    if not isinstance(game, Intersection):
        raise Unsupported(f"attention is drawn between the vehicles of an intersection, not in {type(game).__name__}")
    if not 0 <= ego < game.num_agents:
        raise Unsupported(f"vehicles are 0 … {game.num_agents - 1}, not {ego}")
    weights = np.asarray(attention_weights(policy, game.observe(state)))[ego]
    positions = np.asarray(world(state.turn, jax.tree.map(jnp.asarray, state.body))[0])
    image = render(state).astype(np.float32)
    if bool(state.body.gone[ego]):
        return image.astype(np.uint8)
    others = (ego + np.arange(1, game.num_agents)) % game.num_agents
    for k, other in enumerate(others):
        widths = WIDEST * weights[:, 1 + k]
        offset = -widths.sum() / 2
        for head, width in enumerate(widths):
            _line(image, positions[ego], positions[other], offset + width / 2, width, HEADS[head % len(HEADS)])
            offset += width
    radius = RING * SCALE
    for head, width in enumerate(WIDEST * weights[:, 0]):
        _ring(image, positions[ego], radius + width / 2, width, HEADS[head % len(HEADS)])
        radius += width
    return np.round(image).astype(np.uint8)


def _pixels() -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's place in metres."""
    centre = (np.arange(SIZE) + 0.5 - SIZE / 2) / SCALE
    x, y = np.meshgrid(centre, centre)
    return x, y


def _line(image: np.ndarray, start: np.ndarray, end: np.ndarray, offset: float, width: float, colour) -> None:
    """A line `width` pixels wide, `offset` pixels to the right of the one between the centres."""
    length = float(np.hypot(*(end - start)))
    if length <= 2 * CLEAR:
        return
    x, y = _pixels()
    direction = (end - start) / length
    along = (x - start[0]) * direction[0] + (y - start[1]) * direction[1]
    across = -(x - start[0]) * direction[1] + (y - start[1]) * direction[0]
    beyond = np.maximum(np.maximum(CLEAR - along, along - (length - CLEAR)), 0.0)
    _blend(image, np.hypot(across * SCALE - offset, beyond * SCALE), width, colour)


def _ring(image: np.ndarray, centre: np.ndarray, radius: float, width: float, colour) -> None:
    """A circle of `radius` pixels, drawn `width` pixels wide."""
    x, y = _pixels()
    _blend(image, np.abs(np.hypot(x - centre[0], y - centre[1]) * SCALE - radius), width, colour)


def _blend(image: np.ndarray, distance: np.ndarray, width: float, colour) -> None:
    """Paints pixels within half a width; edges in part, thin lines faintly."""
    cover = np.clip((width - 2 * distance) / 2 + 0.5, 0.0, min(width, 1.0))[..., None]
    image += 0.85 * cover * (np.array(colour, np.float32) - image)
