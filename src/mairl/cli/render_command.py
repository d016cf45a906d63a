"""`mairl render RUN|STORE -o FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit
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
    game: str = "",
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Draws an episode: a learned policy's (RUN), a recorded one or a driving scenario (STORE).

    Args:
        source: a RUN or a STORE.
        out: FILE.html (a RUN's report; a player of a recorded episode, of scenarios, or of a driving RUN's rollouts
            beside the logs), .gif, .png or .mp4.
        episode: which recorded episode.
        greedy: the learned policy's likeliest actions.
        seed: of the learned policy's episode.
        fps: pictures a second; 6 by default, for scenarios their own rate.
        attention: draw whom this vehicle of an intersection looks at, in each picture: the learned policy's attention,
            or that of the expert saved in the STORE, where its networks have one.
        scenario: which driving scenarios, by id; by default the first, in a page the first ones.
        step: of a driving scenario: drawn in a .png, where a page starts.
        game: id and options, if the RUN or STORE does not name its game.
        overwrite: replace an existing FILE.
        json: print one JSON object.
    """
    if out.exists() and not overwrite:
        raise InvalidData(f"{out} exists: choose another file, or replace it on purpose (--overwrite)")
    if not out.parent.is_dir():
        raise InvalidData(f"there is no folder {out.parent} to write {out.name} into")
    from mairl.cli.render_scenarios import holds_scenarios, render_scenarios

    if holds_scenarios(source):
        render_scenarios(source, out, scenario, step, fps)
        emit({"out": str(out)}, json, [str(out)])
        return
    if scenario or step is not None:
        raise InvalidData(f"{source} is no store of scenarios: --scenario and --step are for those")
    import jax
    import numpy as np

    from mairl.cli.run_game import check_plays, game_name, told
    from mairl.core.learned import Learned
    from mairl.data import store
    from mairl.games import make_game
    from mairl.metrics.evaluate import read_run
    from mairl.report.animate import episode_states, frames, write_animation
    from mairl.report.attention import draw_attention
    from mairl.report.html import write_episode, write_report

    page = out.suffix.lower() == ".html"
    if (source / "run.json").exists():
        facts, learned = read_run(source)
        facts = told(facts, game)
        if page and (facts.get("game") or "").partition(":")[0] == "driving":
            from mairl.report.driving_player import write_rollouts

            write_rollouts(facts["game"], learned, out, seed, greedy)
            emit({"out": str(out)}, json, [str(out)])
            return
        if page:
            out.write_text(write_report(source).read_text(encoding="utf-8"), encoding="utf-8")
            emit({"out": str(out)}, json, [str(out)])
            return
        name, policy = game_name(source, facts), one_of(learned.policy, 0)
        played = make_game(name)
        if game:
            check_plays(source, policy, played, name)
        states, paid = episode_states(played, policy, seed, greedy)
    else:
        data = store.load(source)
        name = game or data.metadata.game
        if data.state is None:
            raise InvalidData(f"{source} holds no game states: there is nothing to draw")
        if not name:
            raise InvalidData(f"{source} does not say in which game it was recorded: name it with --game")
        if not 0 <= episode < data.num_episodes:
            raise InvalidData(f"{source} has episodes 0 … {data.num_episodes - 1}, not {episode}")
        played = make_game(name)
        if game:
            data.check_fits(played)
        length = int(data.lengths[episode])
        states = jax.tree.map(lambda x: np.asarray(x[episode, : length + 1]), data.state)
        paid = None if data.true_reward is None else np.asarray(data.true_reward[episode, :length])
        policy = Learned.load(source / "expert").policy if attention is not None else None
    if attention is None or policy is None:
        pictures = frames(played, states)
    else:
        each = [jax.tree.map(lambda x, k=k: x[k], states) for k in range(len(jax.tree.leaves(states)[0]))]
        pictures = [draw_attention(played, policy, state, attention) for state in each]
    if page:
        lead = f"Episode {episode} of {source.name}, {len(pictures) - 1} steps"
        write_episode(pictures, paid, played.agent_names(), out, name, lead)
    else:
        write_animation(pictures, out, 6.0 if fps is None else fps)
    emit({"out": str(out)}, json, [str(out)])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(render, args=argv, prog="mairl render")
