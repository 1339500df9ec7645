"""Workers of one run meet before TensorFlow starts: checked, agreed, watched."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.errors import UserError
from harness import cluster
from tests import clusters
from tests.clusters import free_addresses
from tests.slow import slow_but

ROOT = Path(__file__).parent.parent
HOSTS = ["host1:2222", "host2:2222"]
WORKER = """
import json, sys, time
from harness import cluster
from tests import clusters
from tests.clusters import free_addresses
claims, timeout, silence, seconds = map(json.loads, sys.argv[1:])
try:
    with cluster.joined(cluster.from_environment(), claims, timeout, silence):
        print("started", flush=True)
        time.sleep(seconds)
except cluster.UserError as error:
    sys.exit(f"error: {error}")
"""


def config(workers=HOSTS, **more):
    return clusters.config(workers, **more)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is not set"),
        ("{", "it is not JSON"),
        ("[1]", "it is not an object"),
        ('{"cluster": {}}', "it lacks `cluster` or `task`"),
        ('{"cluster": [], "task": {}}', "it lacks `cluster` or `task`"),
        (config(ps=["host3:1"]), "here are others: ps"),
        (config(chief=["host3:1"]), "here are others: chief"),
        (config([]), "a list of addresses"),
        (config("host1:2222"), "a list of addresses"),
        (config([1, 2]), 'an address is text, "host:port", not 1'),
        (config(["host1", "host2:1"]), 'the address "host1" is not'),
        (config([":2222"]), 'the address ":2222" is not'),
        (config(["a b:2222"]), 'the address "a b:2222" is not'),
        (config(["http://host:2222"]), 'the address "http://host:2222" is not'),
        (config(["host1:0"]), 'the port of "host1:0" is not'),
        (config(["host1:65536"]), 'the port of "host1:65536" is not'),
        (config(["host1:x"]), 'the port of "host1:x" is not'),
        (config(["host1:1", "host1:1"]), "host1:1 is there twice"),
        (config(kind="evaluator"), 'not "evaluator"'),
        (config(kind=None), "not null"),
        (config(index=True), "is a number, not true"),
        (config(index="0"), 'is a number, not "0"'),
        (config(index=None), "is a number, not null"),
        (config(index=2), "is 2, of 2 workers"),
        (config(index=-1), "is -1, of 2 workers"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_refused_for_its_reason(text, problem):
    with pytest.raises(UserError, match="TF_CONFIG") as raised:
        cluster.from_environment({"TF_CONFIG": text})
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_cluster_that_can_be_joined_is_read():
    found = cluster.from_environment({"TF_CONFIG": config(index=1)})
    assert (found.workers, found.index) == (tuple(HOSTS), 1)


def start(workers, index, claims, timeout=60.0, silence=60.0, seconds=0.5):
    # The times are long where none is to run out: the machine may be busy.
    values = map(json.dumps, (claims, timeout, silence, seconds))
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *values],
        cwd=ROOT,
        env={**os.environ, "TF_CONFIG": config(workers, index=index)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(address):
    """A connection to a worker that may still be starting."""
    host, _, port = address.partition(":")
    for _ in range(600):
        try:
            return socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise TimeoutError(address)


def finish(processes):
    outputs = [process.communicate(timeout=90) for process in processes]
    return [
        (process.returncode, out, err)
        for process, (out, err) in zip(processes, outputs)
    ]


def test_workers_that_agree_begin_and_end():
    workers = free_addresses(3)
    claims = {"seed": 1, "learning_rate": 0.1}
    ended = finish([start(workers, index, claims) for index in (2, 0, 1)])
    assert ended == [(0, "started\n", "")] * 3


def test_workers_that_disagree_do_not_begin_and_say_in_what():
    workers = free_addresses(2)
    ended = finish(
        [
            start(workers, 0, {"seed": 1, "l2": 0.5, "data": "a" * 64}),
            start(workers, 1, {"seed": 2, "l2": 0.5, "data": "b" * 64}),
        ]
    )
    for code, out, err in ended:
        assert (code, out) == (1, "")
        assert "Worker 1 and worker 0 differ in data, seed (2 and 1)." in err
        assert "No worker was started." in err


def test_a_worker_that_never_comes_is_named_in_time():
    workers = free_addresses(3)
    started = time.monotonic()
    ended = finish([start(workers, index, {}, timeout=2.0) for index in (0, 1)])
    assert time.monotonic() - started < 60
    for code, out, err in ended:
        assert (code, out) == (1, "")
        assert f"worker 2 ({workers[2]}) did not come within 2 s" in err


def test_a_chief_that_never_comes_is_named_in_time():
    workers = free_addresses(2)
    ((code, out, err),) = finish([start(workers, 1, {}, timeout=1.0)])
    assert (code, out) == (1, "")
    assert f"worker 0 ({workers[0]}) cannot be reached within 1 s" in err


def test_two_processes_of_one_index_are_refused():
    workers = free_addresses(3)
    chief = start(workers, 0, {})
    hello = {"worker": 1, "claims": {"TF_CONFIG": workers}}
    with call(workers[0]) as first, call(workers[0]) as second:
        for each in (first, second):
            each.sendall(json.dumps(hello).encode() + b"\n")
        ((code, _, err),) = finish([chief])
    assert code == 1
    assert "Two processes say that they are worker 1" in err


def test_a_worker_that_left_and_came_again_is_one():
    workers = free_addresses(3)
    chief = start(workers, 0, {})
    hello = {"worker": 1, "claims": {"TF_CONFIG": workers}}
    with call(workers[0]) as first:
        first.sendall(json.dumps(hello).encode() + b"\n")
        time.sleep(1.0)  # Worker 0 has read it, and waits for the next one.
    ended = finish([chief, start(workers, 1, {}), start(workers, 2, {})])
    assert [(code, out) for code, out, _ in ended] == [(0, "started\n")] * 3


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        workers = [f"127.0.0.1:{taken.getsockname()[1]}", *free_addresses(1)]
        ((code, _, err),) = finish([start(workers, 0, {})])
    assert code == 1
    assert f"The port of worker 0 ({workers[0]}) cannot be opened here" in err


def test_strangers_at_the_port_change_nothing():
    workers = free_addresses(2)
    chief = start(workers, 0, {})
    for message in (b"", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"worker": 9}\n'):
        with call(workers[0]) as stranger:
            stranger.sendall(message)
    ended = finish([chief, start(workers, 1, {})])
    assert [(code, out) for code, out, _ in ended] == [(0, "started\n")] * 2


@pytest.mark.parametrize(
    ("how", "what"),
    [(signal.SIGKILL, "has ended or died"), (signal.SIGSTOP, "no sign of life")],
)
@pytest.mark.parametrize("victim", slow_but([0, 2], [0]))
def test_a_lost_worker_ends_the_others_with_its_name(how, what, victim):
    workers = free_addresses(3)
    every = [start(workers, i, {}, silence=4.0, seconds=600) for i in range(3)]
    for process in every:
        assert process.stdout.readline() == "started\n"
    every[victim].send_signal(how)
    others = [process for process in every if process is not every[victim]]
    started = time.monotonic()
    ended = finish(others)
    every[victim].kill()
    every[victim].communicate()
    assert time.monotonic() - started < 60
    for code, _, err in ended:
        assert code == 1
        assert f"error: worker {victim} ({workers[victim]})" in err
        assert "from the last checkpoint" in err
    assert any(what in err for _, _, err in ended)
