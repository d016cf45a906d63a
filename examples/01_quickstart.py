"""From an expert's play to a recovered reward and policy: the whole way in ten lines."""

import mairl

game = mairl.make_game("gems")
expert = mairl.load_expert("gems")
demos = mairl.record(game, expert.policy, mairl.key(0), num_steps=20_000)
algorithm, budget = mairl.learner_recipe("mamql", "gems")
result = mairl.fit(algorithm, game, demos, budget=budget, seeds=2)
result.learned.save("runs/quickstart")
for row in result.rows[-2:]:
    print(
        f"seed {row['seed']}: return per agent {row['return/agent_mean']:.2f}, "
        f"held-out log-likelihood {row['heldout_log_likelihood']:.3f}"
    )
