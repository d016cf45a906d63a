"""What every test runs under: programs are compiled once, and a little less thoroughly.

Most of a run's time is XLA's, and most of that goes into the speed of programs that run for milliseconds. Without
LLVM's optimisation (it compiles the same optimised HLO) the whole takes about half as long as with its second
level. XLA's older way to write loops compiles faster too, and so does a program that is not cut into parts for several
threads, as every core has a worker of its own (flags of jaxlib 0.10: others may not know them). The
cache is for programs that several tests, or a test and the processes that it starts, compile alike. It lives as long as
the run, and each worker of pytest-xdist has its own, because JAX writes into it without a lock. Set either variable to
choose for yourself, such as a cache that is kept.

A program that was compiled stays in its process, in about ten memory mappings, of which Linux grants a process 65,530:
the whole suite in one process would end in a segmentation fault inside XLA. So programs go when there are many.
"""

import os
import shutil
import sys
import tempfile
from importlib.metadata import version

import pytest

LEVEL, FUSED = "--xla_backend_optimization_level", "--xla_cpu_use_fusion_emitters"
PARTS = "--xla_cpu_parallel_codegen_split_count"
CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    """Before anything starts JAX. Every process that a test starts inherits both."""
    flags = os.environ.get("XLA_FLAGS", "")
    if LEVEL not in flags:
        flags += f" {LEVEL}=0"
    for flag, value in ((FUSED, "false"), (PARTS, "1")):
        if flag not in flags and version("jaxlib").startswith("0.10."):
            flags += f" {flag}={value}"
    os.environ["XLA_FLAGS"] = flags.strip()
    works = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if works and CACHE not in os.environ:
        folder = tempfile.mkdtemp(prefix="mairl-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ[CACHE] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


@pytest.fixture(scope="module", autouse=True)
def few_memory_mappings():
    """Drops all compiled programs after a file of tests that leaves many mappings behind."""
    yield
    if "mairl.core.programs" in sys.modules:
        sys.modules["mairl.core.programs"].drop_if_many()
