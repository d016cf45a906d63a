"""Random play in JaxMARL's Overcooked (cramped_room), observation and automatic restarts included."""

import json
import sys
import time

import jax
import jaxmarl
from jaxmarl.environments.overcooked import overcooked_layouts


def rate(batch: int, steps: int, repeats: int = 5) -> dict:
    """Environment steps a second at one batch size: the median of `repeats` runs after one that compiles."""
    env = jaxmarl.make("overcooked", layout=overcooked_layouts["cramped_room"], max_steps=400)

    def one(key, state):
        key_act, key_step = jax.random.split(key)
        keys = jax.random.split(key_act, env.num_agents)
        actions = {a: jax.random.randint(k, (), 0, 6) for a, k in zip(env.agents, keys)}
        obs, state, reward, _, _ = env.step(key_step, state, actions)
        return state, (sum(reward.values()), sum(o.astype("float32").sum() for o in obs.values()))

    @jax.jit
    def play(key, state):
        def tick(state, key):
            return jax.vmap(one)(jax.random.split(key, batch), state)

        state, (paid, seen) = jax.lax.scan(tick, state, jax.random.split(key, steps))
        return state, paid.sum(), seen.sum()

    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), batch))[1]
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(play(jax.random.key(1), state))
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[repeats // 2]
    return {"batch": batch, "steps": steps, "per_s": batch * steps / median, "compile_s": seconds[0] - median}


if __name__ == "__main__":
    batches = [int(b) for b in sys.argv[1:]] or [1, 64, 512, 2048]
    rates = [rate(b, max(20, min(2000, 200_000 // b))) for b in batches]
    print(json.dumps({"jaxmarl": getattr(jaxmarl, "__version__", ""), "jax": jax.__version__, "rates": rates}))
