"""What the whole run shares: programs are compiled once for all its processes, and a little less thoroughly.

Most of a run's time is XLA's, and most of that goes into the last few per cent of speed of programs that run for
milliseconds. LLVM's second level instead of its third compiles them in half the time, from the same optimised HLO. The
cache is for programs that several tests, or a test and its child processes, compile alike; it lives as long as the run.
Set either variable to choose for yourself, such as a cache that is kept.
"""

import os
import shutil
import tempfile

_FLAG = "--xla_backend_optimization_level"
_CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    """Before anything starts JAX. Workers of xdist, and every process that a test starts, inherit both."""
    if _FLAG not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=2".strip()
    if _CACHE not in os.environ:
        folder = tempfile.mkdtemp(prefix="mairl-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ[_CACHE] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
