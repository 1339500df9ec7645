"""Small data that every test may read."""

from __future__ import annotations

import fcntl
import gc
import http.server
import os
import signal
import threading

import pytest

from harness import provenance, runner
from mgnm_tf.keras2 import keras
from tests import runs, seeds
from tests.datasets import make_prepared


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """What is noted of this machine's files is none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _seeded():
    """TensorFlow's own seed, which operations that keep a state read: once for all."""
    keras.utils.set_random_seed(0)


# Whole files go to one of a few processes: those that take longest begin, first the
# slow tests' and then the others'.
LONGEST = (
    *("test_across_stacks", "test_cluster_restarts", "test_your_model", "test_runner"),
    *("test_audit_checks", "test_synthetic", "test_benchmarks", "test_soak"),
    *("test_model_contract", "test_export", "test_commands", "test_browser"),
    *("test_distribution", "test_surge", "test_mimn", "test_recommender"),
    *("test_tgsrec", "test_tensorboard", "test_index", "test_campaign", "test_tune"),
    *("test_model", "test_answer", "test_layer_contract", "test_released"),
    *("test_finishing", "test_installation", "test_table2", "test_objectives"),
    *("test_evaluate_and_compile", "test_fragility", "test_tables_and_figures"),
)


def pytest_configure():
    """One of several processes takes no more threads than its share of the cores.

    Ctrl-C is heard also where a shell started the tests in the background, as CI may:
    what is started so ignores it, and so does all that it starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        share = max(1, provenance.cores() // processes)
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(share))


def pytest_collection_modifyitems(items):
    """The longest files first, so that neither process is left alone at the end."""
    # TensorFlow's modules live as long as the process: the collector, which would look
    # through them at each of many traces, takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Weights that a test does not set are drawn alike in every run of it."""
    seeds.seed(0)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def mgnm_run(tiny_data, tmp_path_factory):
    """A finished run of `runs.small_config()`, and its passport; to be read only.

    The first of several processes makes it; the others find it finished.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    run_dir = folder / "runs" / "mgnm"
    run_dir.parent.mkdir(exist_ok=True)
    with (run_dir.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        passport = runner.run(runs.small_config(), tiny_data, run_dir, runs.SEED)
    return run_dir, passport


@pytest.fixture
def file_server(tmp_path):
    """Serves the files of `folder` at `url` of this machine; `asked` lists paths."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args):
            server.asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.folder, server.asked = folder, []
        server.url = f"http://127.0.0.1:{server.server_address[1]}/"
        serving = {"poll_interval": 0.01}
        threading.Thread(
            target=server.serve_forever, kwargs=serving, daemon=True
        ).start()
        yield server
        server.shutdown()
