"""Small data that every test may read."""

from __future__ import annotations

import http.server
import threading

import numpy as np
import pytest
from tensorflow import keras

from data import prepared
from data.store import SequenceStore

NUM_USERS, NUM_ITEMS = 24, 30


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """What is noted of this machine's files is none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Weights that a test does not set are drawn alike in every run of it."""
    keras.utils.set_random_seed(0)


def make_prepared(folder, name="tiny", times=True, seed=0):
    """Two dozen users of 5 to 12 events, leave-one-out, written to `folder`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 13, NUM_USERS)
    users = np.repeat(np.arange(1, NUM_USERS + 1), lengths)
    items = rng.integers(1, NUM_ITEMS + 1, len(users))
    stamps = np.sort(rng.integers(10**9, 10**9 + 10**6, len(users)))
    store = SequenceStore.build(
        users, items, stamps if times else None, NUM_USERS + 1, NUM_ITEMS + 1
    )
    last = lengths - 1
    everyone = np.arange(1, NUM_USERS + 1)
    train = [(u, e) for u, n in zip(everyone, last) for e in range(1, n - 1)]
    instances = {
        "train": np.array(train, np.int32),
        "valid": np.stack([everyone, last - 1], axis=1).astype(np.int32),
        "test": np.stack([everyone, last], axis=1).astype(np.int32),
    }
    counts = {part: len(rows) for part, rows in instances.items()}
    statistics = {
        "users": NUM_USERS,
        "items": NUM_ITEMS,
        "interactions": len(items),
        **counts,
    }
    meta = {
        "name": name,
        "split": "leave_one_out",
        "split_rule": "the last event tests, the one before validates",
        "statistics": statistics,
    }
    keys = {
        "users": [f"u{u}" for u in everyone],
        "items": [f"i{i}" for i in range(1, NUM_ITEMS + 1)],
    }
    return prepared.write(folder / name / "leave_one_out", store, instances, meta, keys)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


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
