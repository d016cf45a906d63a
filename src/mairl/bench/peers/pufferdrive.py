"""PufferDrive 2's C environment without Python in between: random play at the size that it is trained with.

    MAIRL_PUFFERDRIVE=CHECKOUT python pufferdrive.py [--worlds STORE] [--scenes 37] [--agents 518] [--seconds 2]

Prints agent-steps a second of one process and of one process per core at the same time. A step is all that PufferDrive
does in training: motion, collisions, off-road, goals, respawns, restarts after 91 steps, and its observation of every
controlled vehicle. Its settings are those of its own `drive.ini` (bicycle, infractions ignored, respawn at the goal),
its actions continuous. Tried with commit 95ceedd5, the last whose observation has 63 vehicles and 200 segments.

Needs a checkout of Emerge-Lab/PufferDrive (named by MAIRL_PUFFERDRIVE; `pufferlib/ocean/drive` of it is enough), a C
compiler (`cc`, or the one in CC), and this package. raylib is not needed: what draws is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shlex
import statistics
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mairl.bench.peers.pufferdrive_map import write_map
from mairl.scenarios import store
from mairl.scenarios.generate import generate_many
from mairl.scenarios.schema import Scenario

FLAGS = ("-O3", "-march=native", "-ffast-math")
"""Faster than PufferDrive's own build, which has -O2."""

SETTINGS = {
    "action_type": "1",
    "dynamics_model": "CLASSIC",
    "dt": "0.1f",
    "reward_vehicle_collision": "-0.5f",
    "reward_offroad_collision": "-0.2f",
    "reward_goal": "1.0f",
    "reward_goal_post_respawn": "0.25f",
    "goal_radius": "2.0f",
    "goal_speed": "100.0f",
    "scenario_length": "EPISODE",
    "episode_length": "EPISODE",
}
"""Fields of `struct Drive`; all others are 0, as in `drive.ini`. Those that a version does not have are passed over."""

DRAWING = re.compile(r"^struct Client\s*\{", re.MULTILINE)
"""Where the part of drive.h that draws begins; nothing before it needs it."""

RAYLIB = """
#include <stdbool.h>
#define PI 3.14159265358979323846f
typedef struct { unsigned char r, g, b, a; } Color;
"""
"""All that the rest needs of raylib."""

DRIVER = r"""
#define _GNU_SOURCE
#include "drive.h"
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define EPISODE 91
#ifndef EGO_FEATURES_CLASSIC
#define EGO_FEATURES_CLASSIC 7
#define PARTNER_FEATURES 7
#define ROAD_FEATURES 7
#endif

typedef struct { double agent_steps, seconds, busy; } Run;

static unsigned long long draw = 88172645463325252ULL;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static float uniform(void) { /* in [-1, 1); xorshift */
    draw ^= draw << 13, draw ^= draw >> 7, draw ^= draw << 17;
    return (float)(draw >> 40) / (1 << 23) - 1.0f;
}

static Drive *make(char *map, int agents) {
    Drive *env = calloc(1, sizeof(Drive));
    env->map_name = map;
    env->num_agents = agents;
@SETTINGS@
    allocate(env);
    c_reset(env);
    return env;
}

static int step(Drive **envs, int scenes) {
    int agents = 0;
    for (int k = 0; k < scenes; k++) {
        for (int i = 0; i < 2 * envs[k]->active_agent_count; i++) envs[k]->actions[i] = uniform();
        c_step(envs[k]);
        agents += envs[k]->active_agent_count;
    }
    return agents;
}

static void work(Drive **envs, int scenes, int processes, int repeats, double seconds, atomic_int *ready, Run *runs) {
    for (int k = 0; k < EPISODE; k++) step(envs, scenes);
    for (int r = 0; r < repeats; r++) {
        atomic_fetch_add(ready, 1);
        while (atomic_load(ready) < processes * (r + 1)) sched_yield();
        double begin = now(CLOCK_MONOTONIC), worked = now(CLOCK_PROCESS_CPUTIME_ID);
        do runs[r].agent_steps += step(envs, scenes); while (now(CLOCK_MONOTONIC) < begin + seconds);
        runs[r].seconds = now(CLOCK_MONOTONIC) - begin;
        runs[r].busy = now(CLOCK_PROCESS_CPUTIME_ID) - worked;
    }
}

/* driver PROCESSES REPEATS SECONDS {MAP AGENTS}...; one JSON object. PROCESSES 0: only looks at the maps. */
int main(int argc, char **argv) {
    int processes = atoi(argv[1]), repeats = atoi(argv[2]), scenes = (argc - 4) / 2;
    Drive **envs = calloc(scenes, sizeof(Drive *));
    if (processes == 0) {
        printf("[");
        for (int k = 0; k < scenes; k++) {
            Drive *env = make(argv[4 + 2 * k], atoi(argv[5 + 2 * k]));
            printf("%s[%d, %d, %d]", k ? ", " : "", env->num_objects, env->num_roads, env->active_agent_count);
        }
        printf("]\n");
        return 0;
    }
    size_t size = processes * repeats * sizeof(Run);
    Run *runs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    atomic_int *ready = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Log *logs = mmap(NULL, processes * sizeof(Log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *children = calloc(processes, sizeof(pid_t));
    for (int p = 0; p < processes; p++) {
        children[p] = fork();
        if (children[p] == 0) {
            draw += p;
            for (int k = 0; k < scenes; k++) envs[k] = make(argv[4 + 2 * k], atoi(argv[5 + 2 * k]));
            work(envs, scenes, processes, repeats, atof(argv[3]), ready, runs + p * repeats);
            for (int k = 0; k < scenes; k++) {
                logs[p].n += envs[k]->log.n;
                logs[p].collision_rate += envs[k]->log.collision_rate;
                logs[p].offroad_rate += envs[k]->log.offroad_rate;
            }
            _exit(0);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0) {
        if (status == 0 || failed) continue;
        failed = status; /* the others would wait for it for ever */
        for (int p = 0; p < processes; p++) kill(children[p], SIGKILL);
    }
    if (failed) {
        fprintf(stderr, "a process ended with status %d\n", failed);
        return 1;
    }
    double cores = 0;
    printf("{\"rates\": [");
    for (int r = 0; r < repeats; r++) {
        double rate = 0;
        for (int p = 0; p < processes; p++) {
            Run *run = runs + p * repeats + r;
            rate += run->agent_steps / run->seconds;
            cores += run->busy / run->seconds / repeats;
        }
        printf("%s%.1f", r ? ", " : "", rate);
    }
    int floats = EGO_FEATURES_CLASSIC + PARTNER_FEATURES * (MAX_AGENTS - 1);
    floats += ROAD_FEATURES * MAX_ROAD_SEGMENT_OBSERVATIONS;
    printf("], \"cores_used\": %.3f, \"observation_floats\": %d, \"episodes\": %.0f", cores, floats, logs->n);
    printf(", \"collided\": %.4f, \"offroad\": %.4f}\n", logs->collision_rate / logs->n, logs->offroad_rate / logs->n);
    return 0;
}
"""


class Absent(Exception):
    """Why the peer cannot be measured here."""


def header(checkout: Path) -> str:
    """PufferDrive's environment as one text, without what draws.

    Raises:
        Absent: it is not there, or has another form than version 2's.
    """
    for path in (checkout / "pufferlib/ocean/drive/drive.h", checkout / "drive.h"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            break
    else:
        raise Absent(f"{checkout} has no pufferlib/ocean/drive/drive.h: name a checkout of PufferDrive")
    drawing = DRAWING.search(text)
    if drawing is None or "load_map_binary" not in text:
        raise Absent(f"{path} is not PufferDrive 2's drive.h: check out commit 95ceedd5")
    return text[: drawing.start()]


def driver(text: str) -> str:
    """The program, with those settings that this version's `struct Drive` has."""
    body = re.search(r"^struct Drive\s*\{(.*?)^\};", text, re.MULTILINE | re.DOTALL)
    fields = set(re.findall(r"(\w+);", body.group(1))) if body else set()
    lines = [f"    env->{name} = {value};" for name, value in SETTINGS.items() if name in fields]
    return DRIVER.replace("@SETTINGS@", "\n".join(lines))


def compiled(checkout: Path, folder: Path) -> Path:
    """The program, built in `folder`.

    Raises:
        Absent: no compiler, or it refuses.
    """
    text = header(checkout)
    (folder / "drive.h").write_text(text, encoding="utf-8")
    (folder / "raylib.h").write_text("#pragma once\n" + RAYLIB, encoding="utf-8")
    for name in ("raymath.h", "rlgl.h"):
        (folder / name).write_text('#include "raylib.h"\n', encoding="utf-8")
    (folder / "driver.c").write_text(driver(text), encoding="utf-8")
    include = checkout / "pufferlib/ocean/drive"
    command = [*compiler(), *FLAGS, "-w", f"-I{folder}", f"-I{include}", f"-I{checkout}", "driver.c", "-o", "driver"]
    try:
        done = subprocess.run([*command, "-lm"], cwd=folder, capture_output=True, text=True)
    except OSError as error:
        raise Absent(f"{shlex.join(compiler())} cannot be run ({error.strerror}): name a C compiler in CC") from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise Absent(f"drive.h was not compiled ({errors[0]}): check out commit 95ceedd5")
    return folder / "driver"


def compiler() -> list[str]:
    """The C compiler's command."""
    return shlex.split(os.environ.get("CC", "cc"))


def ask(program: Path, processes: int, repeats: int, seconds: float, maps: Iterable[tuple[Path, int]]):
    """What the program prints, for maps with the number of agents that may be controlled in each (0: all)."""
    words = [word for path, agents in maps for word in (str(path), str(agents))]
    command = [str(program), str(processes), str(repeats), str(seconds), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.strip()[-200:] or f"status {done.returncode}"
        raise Absent(f"its environment crashed ({reason}): check out commit 95ceedd5")
    return json.loads(done.stdout.splitlines()[-1])


def shared_out(available: Sequence[int], total: int) -> list[int]:
    """How many agents are controlled in each scene: at most `total`, as evenly as the scenes allow."""
    given = [0] * len(available)
    while total > 0 and (open_ := [k for k, most in enumerate(available) if given[k] < most]):
        share = max(1, total // len(open_))
        for k in open_:
            more = min(share, available[k] - given[k], total)
            given[k] += more
            total -= more
    return given


def measured(
    scenarios: Iterable[Scenario], scenes: int, agents: int, seconds: float, repeats: int, folder: Path
) -> dict:
    """Rates in `scenes` scenes, the given ones in turn, with `agents` controlled vehicles in all, or as many as there
    are. `collided` and `offroad` are the shares of episodes in which a vehicle did so; `cores_used`, well below
    `processes`, says that other work took part of the machine.

    Raises:
        Absent: see the message.
    """
    named = os.environ.get("MAIRL_PUFFERDRIVE")
    if not named:
        raise Absent("MAIRL_PUFFERDRIVE is not set: name a checkout of Emerge-Lab/PufferDrive (commit 95ceedd5) in it")
    program = compiled(Path(named).resolve(), folder)
    paths, sizes = [], []
    for k, scenario in enumerate(itertools.islice(scenarios, scenes)):
        paths.append(folder / f"{k}.bin")
        sizes.append(write_map(scenario, paths[-1], k))
    found = ask(program, 0, 0, 0.0, [(path, 0) for path in paths])
    for size, (objects, roads, _) in zip(sizes, found, strict=True):
        if size != (objects, roads):
            raise Absent(f"it read {objects} objects and {roads} roads of {size[0]} and {size[1]}: another map format")
    usable = [(path, count) for path, (_, _, count) in zip(paths, found, strict=True) if count > 0]
    if not usable:
        raise Absent(f"it controls nobody in these {len(paths)} scenes: it wants vehicles that move more than 2 m")
    taken = [usable[k % len(usable)] for k in range(scenes)]
    given = shared_out([count for _, count in taken], agents)
    maps = [(path, count) for (path, _), count in zip(taken, given, strict=True) if count > 0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    one, all_ = (ask(program, processes, repeats, seconds, maps) for processes in (1, cores))
    version = subprocess.run([*compiler(), "--version"], capture_output=True, text=True).stdout.splitlines()
    return {
        "agent_steps_per_s": statistics.median(all_["rates"]),
        "one_process": statistics.median(one["rates"]),
        "range": [min(all_["rates"]), max(all_["rates"])],
        "one_process_range": [min(one["rates"]), max(one["rates"])],
        "processes": cores,
        "cores_used": all_["cores_used"],
        "agents": sum(given),
        "scenes": len(maps),
        "different_scenes": len({path for path, _ in maps}),
        **{name: one[name] for name in ("observation_floats", "episodes", "collided", "offroad")},
        "compiler": version[0] if version else compiler()[0],
        "flags": " ".join(FLAGS),
    }


def main() -> None:
    """Measures as the arguments say; prints one JSON line: the row, or why there is none."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", type=Path, help="a store of scenarios; default: generated ones")
    parser.add_argument("--scenes", type=int, default=37)
    parser.add_argument("--agents", type=int, default=518)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            scenarios = generate_many(0, given.scenes) if given.worlds is None else store.open(given.worlds)
            row = measured(scenarios, given.scenes, given.agents, given.seconds, given.repeats, Path(folder))
        except Absent as why:
            row = {"skipped": f"PufferDrive: {why}"}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
