"""`mairl data import waymo | gpudrive | … | generate | info | validate`: stores of driving scenarios."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.live_line import LiveLine
from mairl.cli.output import emit
from mairl.core.errors import InvalidData, MairlError
from mairl.scenarios import store
from mairl.scenarios.importing import Done, import_scenarios
from mairl.scenarios.readers import FORMATS


@dataclasses.dataclass(frozen=True)
class Import:
    """Imports driving logs, many files in parallel.

    Attributes:
        paths: files, and folders to search for files of this format (known by their content, if damaged by name).
        out: store (STORE) to create.
        skip_bad: leave out bad records and files, and list them, instead of ending at the first.
        workers: processes; 0: one per core.
        resume: go on from STORE.partial; files that were finished are not read again.
        overwrite: replace an existing store, and unfinished work.
        ray: spread the files over a Ray cluster instead (RAY_ADDRESS; all machines see the same absolute paths).
        json: print one JSON object.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    skip_bad: bool = False
    workers: int = 0
    resume: bool = False
    overwrite: bool = False
    ray: bool = False
    json: bool = False


def run_import(name: str, options: Import, formats: Mapping[str, str] = FORMATS) -> None:
    """Imports, and prints what came of it."""
    if options.workers < 0:
        raise InvalidData(f"--workers is {options.workers}: choose 1 or more, or 0 for one per core")
    line = LiveLine("import", "looking for files")

    def show(done: Done) -> None:
        text = f"{done.files:,}/{done.total_files:,} files, {done.scenarios:,} scenarios"
        text += f", {line.speed / 1e6:,.1f} MB/s" if line.speed else ""
        text += f", {done.skipped:,} skipped" if done.skipped else ""
        line.show(done.bytes, done.total_bytes, text)

    try:
        facts = import_scenarios(
            options.paths,
            name,
            options.out,
            skip_bad=options.skip_bad,
            workers=options.workers,
            resume=options.resume,
            overwrite=options.overwrite,
            ray=options.ray,
            report=show,
            formats=formats,
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise MairlError(f"{where}{error.strerror or error}; what was finished stays: go on with --resume") from error
    finally:
        line.close()
    size = sum(shard["bytes"] for shard in facts["shards"])
    names = ("source", "scenarios", "agents", "valid_agent_steps", "files", "skipped")
    result = {"out": str(options.out), **{k: facts[k] for k in names}, "shards": len(facts["shards"]), "bytes": size}
    lines = [
        f"{options.out}: {facts['scenarios']:,} scenarios of {facts['files']:,} files, {facts['agents']:,} agents, "
        f"{facts['valid_agent_steps']:,} agent-steps, {size / 1e6:,.1f} MB"
    ]
    if facts["skipped"]:
        lines += [f"{len(facts['skipped']):,} skipped (all are listed in {options.out}/metadata.json):"]
        lines += [f"  {bad['reason']}" for bad in facts["skipped"][:10]]
    emit(result, options.json, lines)


def info(store_path: Annotated[Path, tyro.conf.Positional], *, where: str = "", json: bool = False) -> None:
    """Lists the scenarios of a store.

    Args:
        store_path: the STORE.
        where: only those for which this holds, such as "num_agents > 20 and num_steps == 91".
        json: print one JSON object.
    """
    found = store.open(store_path)
    facts, total = found.facts, len(found)
    if where:
        found = found.where(where)
    rows = found.metadata.to_pylist()
    result = {
        "scenarios": rows,
        "source": facts["source"],
        "count": len(rows),
        "of": total,
        "agents": sum(row["num_agents"] for row in rows),
        "valid_agent_steps": sum(row["valid_agent_steps"] for row in rows),
        "skipped": facts.get("skipped", []),
        "bytes": sum(file.stat().st_size for file in store_path.iterdir() if file.is_file()),
    }
    summary = (
        f"{store_path}: {len(rows):,} of {total:,} scenarios ({', '.join(facts['source'])}), {result['agents']:,} "
        f"agents, {result['valid_agent_steps']:,} agent-steps, {len(result['skipped']):,} skipped; "
        f"{result['bytes'] / 1e6:,.1f} MB"
    )
    emit(result, json, [*(_table(rows) if rows and not json else []), summary])


def validate(store_path: Annotated[Path, tyro.conf.Positional], *, json: bool = False) -> None:
    """Reads every scenario as training would; exits with 2 and the reason if one is not valid.

    Args:
        store_path: the STORE.
        json: print one JSON object.
    """
    facts = store.validate(store_path)
    emit({"valid": True, **facts}, json, [f"{store_path}: valid, {facts['scenarios']:,} scenarios"])


def main(argv: list[str], formats: Mapping[str, str] = FORMATS) -> None:
    """Dispatches `import FORMAT`, `generate`, `info` and `validate`."""
    if argv[0] == "import":
        prog = f"mairl data import {argv[1]}"
        run_import(argv[1], tyro.cli(Import, args=argv[2:], prog=prog), formats)
    elif argv[0] == "generate":
        from mairl.cli.generate_data_command import generate

        tyro.cli(generate, args=argv[1:], prog="mairl data generate")
    else:
        tyro.cli({"info": info, "validate": validate}[argv[0]], args=argv[1:], prog=f"mairl data {argv[0]}")


def concerns(argv: list[str]) -> bool:
    """The arguments of `mairl data` are about scenarios, not about recordings of play."""
    if argv[:1] == ["import"]:
        return len(argv) > 1 and argv[1] in FORMATS
    return argv[:1] == ["generate"] or (
        argv[:1] in (["info"], ["validate"])
        and any(word.startswith("--where") or _is_store(Path(word)) for word in argv[1:])
    )


def _is_store(path: Path) -> bool:
    """A STORE, or one that an unfinished import or generation was to become."""
    return store.is_store(path) or (
        not path.exists() and path.with_name(path.name + ".partial").joinpath("parts").is_dir()
    )


_SHOWN = ("scenario_id", "source", "num_agents", "num_steps", "dt", "num_lanes", "num_road_edges", "sdc_index")


def _table(rows: list[dict]) -> list[str]:
    """Columns as wide as their widest cell; text to the left, numbers to the right."""
    cells = [list(_SHOWN), *[["–" if row[name] is None else f"{row[name]}" for name in _SHOWN] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
