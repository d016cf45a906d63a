"""From an expert's play to a recovered reward and a policy per agent."""

import mairl

game = mairl.make_game("gems")
expert = mairl.load_expert("gems")
demos = mairl.record(game, expert.policy, mairl.key(0), num_steps=5_000)
algorithm, budget = mairl.learner_recipe("mamql", "gems", budget=2_000)
result = mairl.fit(algorithm, game, demos, budget=budget, seeds=2)
result.learned.save("runs/quickstart")
for row in result.rows[-2:]:
    print(row["seed"], row["return/agent_mean"], row["heldout_log_likelihood"])
