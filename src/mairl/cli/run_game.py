"""What a run was learned in and from: as its `run.json` says, or as the command is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from mairl.core.errors import InvalidData, InvalidGame
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.data.collect import play_episodes
from mairl.data.demonstrations import Demonstrations
from mairl.games import make_game
from mairl.games.recorded import RecordedGame
from mairl.networks.build import PerAgent

NO_GAME = ("", "none")


def told(facts: dict[str, Any], game: str = "", demos: Path | None = None) -> dict[str, Any]:
    """A run's facts with the game and the recording that the command names instead.

    Raises:
        InvalidData: no recording is there.
    """
    if demos is not None and not demos.is_dir():
        raise InvalidData(f"{demos} is no recording")
    return {**facts, **({"game": game} if game else {}), **({"demos": str(demos)} if demos is not None else {})}


def game_name(run: Path, facts: dict[str, Any]) -> str:
    """The id and options of the game that a run is of.

    Raises:
        InvalidData: it names none.
    """
    name = facts.get("game")
    if name == "none":
        raise InvalidData(f"{run} was learned from a recording alone, without a game: name one with --game")
    if not name:
        raise InvalidData(f"{run} does not say in which game it was learned: name it with --game")
    return name


def game_or_recording(run: Path, facts: dict[str, Any], data: Demonstrations | None) -> MarkovGame:
    """The game that a run is of; where it names none, what its recording tells of the game.

    Raises:
        InvalidData: there is no recording either.
    """
    name, demos = facts.get("game") or "", facts.get("demos")
    if name not in NO_GAME:
        return make_game(name)
    if data is not None:
        return RecordedGame.of(data)
    if demos:
        raise InvalidData(f"{run} learned from {demos}, which is gone: put it back there, or say where it is (--demos)")
    raise InvalidData(f"{run} says neither in which game nor from what it learned: name one with --game or --demos")


def check_plays(run: Path, policy: Policy, game: MarkovGame, name: str) -> None:
    """Traces an episode of one seed's policy.

    Raises:
        InvalidGame: the policy was learned in a game with other observations, actions or agents.
    """
    try:
        eqx.filter_eval_shape(play_episodes, game, policy, jax.random.key(0), 1)
    except (TypeError, ValueError) as error:
        raise InvalidGame(f"{run} cannot act in {name}: it learned from other observations or actions") from error


def agents_of(policy: Policy) -> int | None:
    """How many agents a policy has networks for; None where they share one."""
    nets = jax.tree.leaves(policy, is_leaf=lambda x: isinstance(x, PerAgent))
    own = [net for net in nets if isinstance(net, PerAgent) and not net.shared]
    return jax.tree.leaves(eqx.filter(own[0], eqx.is_array))[0].shape[0] if own else None
