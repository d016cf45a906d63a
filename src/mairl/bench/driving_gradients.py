"""What it costs to remember a rollout for back-propagation through time, with and without rematerialisation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mairl.driving.dynamics import Bicycle
from mairl.driving.game import Driving
from mairl.driving.simulator import Rules
from mairl.driving.world import Worlds


def gradient_memory(worlds: Worlds, steps: int = 80, sight=None) -> dict[str, Any]:
    """Bytes that one world's rollout needs besides arguments and results while the gradient of a policy's parameters is
    computed through it, as the compiler says.

    Args:
        steps: of the rollout.
        sight: what the policy sees; default: the small preset, flattened into a linear policy.
    """
    free = Rules(at_goal="ignore", at_collision="ignore", at_off_road="ignore")
    game = Driving(worlds, Bicycle(), rules=free, **({} if sight is None else {"sight": sight}))
    size = sum(leaf.size for leaf in jax.tree.leaves(game.observation_spec))

    def loss(weight, remember: bool):
        def tick(state, _):
            seen = game.observe(state)
            flat = jnp.concatenate(
                [x.reshape(game.num_agents, -1).astype(jnp.float32) for x in jax.tree.leaves(seen)], axis=1
            )
            after, _ = game.step(jax.random.key(0), state, jnp.tanh(flat @ weight))
            gap = (after.motion.x - worlds.goal[0, 0]) ** 2 + (after.motion.y - worlds.goal[0, 1]) ** 2
            return after, jnp.sum(jnp.where(worlds.driven[0], gap, 0.0))

        body = tick if remember else jax.checkpoint(tick)
        return jnp.mean(jax.lax.scan(body, game.reset_to(0)[0], None, length=steps)[1])

    def needed(remember: bool) -> int | None:
        weight = jax.ShapeDtypeStruct((size, 2), jnp.float32)
        compiled = jax.jit(jax.grad(lambda w: loss(w, remember))).lower(weight).compile()
        analysis = compiled.memory_analysis()
        return None if analysis is None else int(analysis.temp_size_in_bytes)

    return {
        "steps": steps,
        "agents": game.num_agents,
        "bytes_remembered": needed(True),
        "bytes_rematerialised": needed(False),
    }
