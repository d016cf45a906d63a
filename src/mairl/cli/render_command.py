"""`mairl render RUN|STORE -o FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from mairl.core.errors import InvalidData
from mairl.core.stacked import one_of


def render(
    source: Annotated[Path, tyro.conf.Positional],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    episode: int = 0,
    greedy: bool = False,
    seed: int = 0,
    fps: float | None = None,
    attention: int | None = None,
    scenario: tuple[str, ...] = (),
    step: int | None = None,
) -> None:
    """Draws an episode: a learned policy's (RUN), a recorded one or a driving scenario (STORE).

    Args:
        source: a RUN or a STORE.
        out: FILE.html (a RUN's report; a player of scenarios, or of a driving RUN's rollouts beside the logs), .gif,
            .png or .mp4.
        episode: which recorded episode.
        greedy: the learned policy's likeliest actions.
        seed: of the learned policy's episode.
        fps: pictures a second; 6 by default, for scenarios their own rate.
        attention: draw whom this vehicle of an intersection looks at, in each picture: the learned policy's attention,
            or that of the expert saved in the STORE, where its networks have one.
        scenario: which driving scenarios, by id; by default the first, in a page the first ones.
        step: of a driving scenario: drawn in a .png, where a page starts.
    """
    from mairl.cli.render_scenarios import holds_scenarios, render_scenarios

    if holds_scenarios(source):
        render_scenarios(source, out, scenario, step, fps)
        return
    if scenario or step is not None:
        raise InvalidData(f"{source} is no store of scenarios: --scenario and --step are for those")
    import jax
    import numpy as np

    from mairl.core.learned import Learned
    from mairl.data import store
    from mairl.games import make_game
    from mairl.metrics.evaluate import read_run
    from mairl.report.animate import episode_states, frames, write_animation
    from mairl.report.attention import draw_attention
    from mairl.report.html import write_report

    if (source / "run.json").exists():
        facts, learned = read_run(source)
        if out.suffix == ".html" and facts["game"].partition(":")[0] == "driving":
            from mairl.report.driving_player import write_rollouts

            write_rollouts(facts["game"], learned, out, seed, greedy)
            print(out)
            return
        if out.suffix == ".html":
            out.write_text(write_report(source).read_text(encoding="utf-8"), encoding="utf-8")
            print(out)
            return
        game = make_game(facts["game"])
        policy = one_of(learned.policy, 0)
        states, _ = episode_states(game, policy, seed, greedy)
    else:
        data = store.load(source)
        if data.state is None or not data.metadata.game:
            raise InvalidData(f"{source} holds no game states, or not the game's name: there is nothing to draw")
        if not 0 <= episode < data.num_episodes:
            raise InvalidData(f"{source} has episodes 0 … {data.num_episodes - 1}, not {episode}")
        game = make_game(data.metadata.game)
        length = int(data.lengths[episode])
        states = jax.tree.map(lambda x: np.asarray(x[episode, : length + 1]), data.state)
        policy = Learned.load(source / "expert").policy if attention is not None else None
    if attention is None or policy is None:
        pictures = frames(game, states)
    else:
        each = [jax.tree.map(lambda x, k=k: x[k], states) for k in range(len(jax.tree.leaves(states)[0]))]
        pictures = [draw_attention(game, policy, state, attention) for state in each]
    write_animation(pictures, out, 6.0 if fps is None else fps)
    print(out)


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(render, args=argv, prog="mairl render")
