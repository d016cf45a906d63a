"""`mairl data import | export | info | validate`: recordings of play."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit
from mairl.core.errors import InvalidData, MairlError
from mairl.data import store
from mairl.data.demonstrations import Demonstrations, Metadata
from mairl.data.table import Mapping, read_table
from mairl.scenarios.readers import FORMATS


def info(store_path: Annotated[Path, tyro.conf.Positional], *, json: bool = False) -> None:
    """Describes a recording.

    Args:
        store_path: the STORE.
        json: print one JSON object.
    """
    facts = store.info(store_path)
    emit(facts, json, [f"{key}: {value}" for key, value in facts.items()])


def validate(store_path: Annotated[Path, tyro.conf.Positional], *, json: bool = False) -> None:
    """Checks a recording as learning would; exits with 2 and the reason if it is not valid.

    Args:
        store_path: the STORE.
        json: print one JSON object.
    """
    data = store.load(store_path)
    _check_fits(data)
    facts = {"valid": True, "episodes": data.num_episodes, "steps": data.num_steps, "agents": data.num_agents}
    emit(facts, json, [f"{store_path}: valid, {data.num_episodes} episodes, {data.num_steps} joint steps"])


def _check_fits(data: Demonstrations) -> None:
    """Raises `InvalidGame` where a recording names one of our games and cannot be of it."""
    from mairl.games import make_game

    if not data.metadata.game:
        return
    try:
        game = make_game(data.metadata.game)
    except MairlError:
        return  # Somebody else's game, or one whose worlds are not here.
    data.check_fits(game)


def import_humans(
    path: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    verify: bool = False,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Imports human play in Overcooked, one recording per kitchen and split: STORE/cramped_room-train, ….

    Args:
        path: folder or file of the trials; default: the installed package overcooked-ai 1.1.0.
        out: folder (STORE) to create.
        verify: play every joint transition and count those that end exactly as recorded.
        overwrite: replace an existing folder.
        json: print one JSON object.
    """
    from mairl.games.overcooked import human

    if out.exists() and not overwrite:
        raise InvalidData(f"{out} exists: choose another folder, or replace it on purpose (--overwrite)")
    trials = human.read_trials(path)
    facts = human.verify(trials) if verify else {"transitions": sum(len(t.actions) for t in trials)}
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    stores = {}
    for layout, split in sorted({(t.layout, t.split) for t in trials}):
        data = human.human_demonstrations(trials, layout, split)
        name = f"{layout}-{split}"
        store.save(data, partial / name)
        stores[name] = {"episodes": data.num_episodes, "steps": data.num_steps}
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    facts = {**facts, "stores": stores, "out": str(out)}
    lines = [f"{out}: {len(trials)} trials, {facts['transitions']:,} joint transitions"]
    if verify:
        lines.append(f"  {facts['exact']:,} of {facts['transitions']:,} replay exactly (next state and reward)")
    lines += [f"  {name}: {s['episodes']} episodes, {s['steps']:,} steps" for name, s in stores.items()]
    emit(facts, json, lines)


def import_table(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    mapping: Annotated[Mapping, tyro.conf.arg(name="")] = Mapping(),
    game: str = "",
    source: str = "",
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Imports recordings in CSV, NPZ or Parquet.

    Args:
        paths: one or more tables with the same columns.
        out: recording (STORE) to create.
        mapping: which columns mean what.
        game: id of the game, if it is one of ours.
        source: who acted.
        overwrite: replace an existing recording.
        json: print one JSON object.
    """
    data = read_table(list(paths), mapping, Metadata.of(game, source))
    _check_fits(data)
    store.save(data, out, overwrite=overwrite)
    facts = {"out": str(out), "episodes": data.num_episodes, "steps": data.num_steps, "agents": data.num_agents}
    emit(
        facts,
        json,
        [f"{out}: {data.num_episodes} episodes, {data.num_steps:,} joint steps of {data.num_agents} agents"],
    )


def import_minari(
    source: Annotated[str, tyro.conf.Positional],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Imports a Minari dataset.

    Args:
        source: id of a dataset on this machine, or its folder.
        out: recording (STORE) to create.
        overwrite: replace an existing recording.
        json: print one JSON object.
    """
    from mairl.data.minari import read_minari

    data = read_minari(source)
    store.save(data, out, overwrite=overwrite)
    facts = {"out": str(out), "episodes": data.num_episodes, "steps": data.num_steps, "agents": data.num_agents}
    emit(facts, json, [f"{out}: {data.num_episodes} episodes, {data.num_steps:,} joint steps"])


def export_minari(
    store_path: Annotated[Path, tyro.conf.Positional],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    name: str = "",
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Writes a recording as a Minari dataset.

    Args:
        store_path: the STORE. Where it holds states of one of our games, observations are computed from them.
        out: folder to create.
        name: id of the dataset; default: from the folder's name.
        overwrite: replace an existing folder.
        json: print one JSON object.
    """
    from mairl.data.minari import write_minari
    from mairl.games import make_game

    data = store.load(store_path)
    if data.obs is None and data.metadata.game:
        data = data.observed(make_game(data.metadata.game))
    write_minari(data, out, name=name, overwrite=overwrite)
    facts = {"out": str(out), "episodes": data.num_episodes, "steps": data.num_steps, "agents": data.num_agents}
    emit(facts, json, [f"{out}: {data.num_episodes} episodes, {data.num_steps:,} joint steps as a Minari dataset"])


def main(argv: list[str]) -> None:
    """Dispatches `import FORMAT`, `export FORMAT`, `info` and `validate`."""
    commands = {"info": info, "validate": validate}
    formats = {
        "import": {"overcooked-human": import_humans, "table": import_table, "minari": import_minari},
        "export": {"minari": export_minari},
    }
    asks = ("-h", "--help")
    if argv and argv[0] in formats:
        way, known = argv[0], formats[argv[0]]
        names = ", ".join([*known, *(FORMATS if way == "import" else [])])
        if len(argv) > 1 and argv[1] in asks:
            what = "PATH … -o STORE" if way == "import" else "STORE -o FOLDER"
            print(
                f"usage: mairl data {way} FORMAT {what} [options]\n\nFORMAT is one of {names}.\n"
                f"mairl data {way} FORMAT --help shows a format's options."
            )
            return
        if len(argv) < 2 or argv[1] not in known:
            raise InvalidData(f"mairl data {way} FORMAT …: the formats are {names}")
        tyro.cli(known[argv[1]], args=argv[2:], prog=f"mairl data {way} {argv[1]}")
        return
    if argv and argv[0] in asks:
        print(_USAGE)
        return
    if not argv or argv[0] not in commands:
        raise InvalidData(f"mairl data is followed by import, export, generate, {' or '.join(commands)}")
    tyro.cli(commands[argv[0]], args=argv[1:], prog=f"mairl data {argv[0]}")


_USAGE = """usage: mairl data import FORMAT PATH … -o STORE    recordings, or driving logs, as a store
       mairl data export FORMAT STORE -o FOLDER    a recording for other tools
       mairl data generate -o STORE --worlds N     made-up driving scenarios
       mairl data info STORE                       what a store holds
       mairl data validate STORE                   whether it can be learned from

mairl data COMMAND --help shows a command's options."""
