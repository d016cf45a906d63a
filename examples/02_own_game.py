"""A PettingZoo game of one's own: recorded with scripted players, learned from, and asked what each agent wants.

python examples/02_own_game.py        needs pip install 'mairl[games]'
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

import mairl

CELLS, LEFT, STAY, RIGHT = 7, 0, 1, 2


class Meeting(ParallelEnv):
    """A host and a guest walk on a line. The guest wants to be where the host is, the host to be in the middle."""

    metadata = {"name": "meeting", "render_modes": []}  # noqa: RUF012

    def __init__(self):
        self.possible_agents = ["host", "guest"]
        self.max_cycles = 8

    def observation_space(self, agent):
        return Box(-1.0, 1.0, (2,), np.float32)

    def action_space(self, agent):
        return Discrete(3)

    def reset(self, seed=None, options=None):
        self.agents, self.time = list(self.possible_agents), 0
        self.cell = dict(zip(self.agents, np.random.default_rng(seed).integers(0, CELLS, 2), strict=True))
        return self.seen(), {a: {} for a in self.agents}

    def seen(self):
        places = np.array([self.cell["host"], self.cell["guest"]], np.float32) / (CELLS - 1) * 2 - 1
        return dict.fromkeys(self.possible_agents, places)

    def step(self, actions):
        self.time += 1
        for agent, action in actions.items():
            self.cell[agent] = int(np.clip(self.cell[agent] + action - STAY, 0, CELLS - 1))
        meet, middle = self.cell["guest"] == self.cell["host"], self.cell["host"] == CELLS // 2
        over, none = self.time >= self.max_cycles, dict.fromkeys(self.agents, False)
        result = (
            self.seen(),
            {"host": float(middle), "guest": float(meet)},
            none,
            dict.fromkeys(self.agents, over),
            {a: {} for a in self.agents},
        )
        self.agents = [] if over else self.agents
        return result


def scripted(obs, agent):
    """What people might do: the host goes to the middle, the guest to the host. Sometimes they wait."""
    host, guest = obs
    towards = -host if agent == "host" else host - guest
    return STAY if scripted.rng.random() < 0.1 else int(np.sign(np.round(towards * 3))) + STAY


scripted.rng = np.random.default_rng(0)

if __name__ == "__main__":
    game = mairl.from_pettingzoo(Meeting)
    demos = mairl.record(game, scripted, mairl.key(0), num_episodes=120, workers=0)
    algorithm, budget = mairl.learner_recipe("mamql", "meeting", budget=1_200)
    learned = mairl.fit(algorithm, game, demos, budget=budget, seeds=1, evaluations=2, episodes=8).learned
    print(f"{demos.num_steps} steps recorded, true returns {np.asarray(demos.true_reward).sum(1).mean(0).round(2)}")

    # What does each agent want, with the host on the left and the guest in the middle? What its own move would be paid,
    # in the mean over what the other does, and how likely it is.
    places = jnp.array([[-1.0, 0.0], [-1.0, 0.0]])

    def asked(learned):
        paid = [learned.induced_reward(places, jnp.full(2, move), places, jnp.zeros(2, bool)) for move in range(3)]
        return jnp.stack(paid, axis=-1), jnp.exp(learned.policy.log_probs(places))

    paid, chance = eqx.filter_vmap(asked)(learned)  # both `[seed, agent, move]`
    for i, agent in enumerate(game.agent_names()):
        moves = zip(("left", "stay", "right"), paid[0, i], chance[0, i], strict=True)
        print(f"{agent}: " + ", ".join(f"{move} is paid {r:+.2f} and has {p:.0%}" for move, r, p in moves))
