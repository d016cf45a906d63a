"""Random play in JaxMARL's MPE_simple_spread_v3, observation and automatic restarts included (episodes of 26 steps)."""

import json
import sys
import time

import jax
import jaxmarl


def rate(batch: int, steps: int, repeats: int = 5) -> dict:
    """Environment steps a second at one batch size: the median of `repeats` runs after one that compiles."""
    env = jaxmarl.make("MPE_simple_spread_v3")

    def one(key, state):
        key_act, key_step = jax.random.split(key)
        keys = jax.random.split(key_act, env.num_agents)
        actions = {a: jax.random.randint(k, (), 0, 5) for a, k in zip(env.agents, keys)}
        obs, state, reward, _, _ = env.step(key_step, state, actions)
        return state, (sum(reward.values()), sum(o.sum() for o in obs.values()))

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
    rates = [rate(int(b), max(20, min(2000, 100_000 // int(b)))) for b in sys.argv[1:]]
    print(json.dumps({"jaxmarl": getattr(jaxmarl, "__version__", ""), "jax": jax.__version__, "rates": rates}))
