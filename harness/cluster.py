"""The workers of one run on several machines: checked, agreed, and watched.

TensorFlow waits for minutes, without a word, for a worker that never comes, and trains
happily with one that was given another seed. So before it is even imported the workers
meet here, at the address of worker 0: they wait a bounded time for each other, compare
what they are about to do, and keep the connection, by which each learns in a moment
that another has died. What is sent is JSON; nothing that comes is run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data.errors import UserError

TF_CONFIG = "TF_CONFIG"
_FORM = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_MOST_BYTES = 1 << 20  # of a line, so that a stranger cannot fill the memory
_STRANGER_S = 2.0  # for one who connects to say who it is
_REACH_S = 5.0  # for an address to answer
_BEAT_S = 1.0
_ALIVE, _BYE, _LOST = "alive", "bye", "lost"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Who takes part.

    Attributes:
        workers: the address of each worker, as "host:port", in the order of their
            numbers.
        index: of this process; worker 0 is the chief.
    """

    workers: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        return f"worker {index} ({self.workers[index]})"


def from_environment(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster of the variable TF_CONFIG.

    Raises:
        UserError: if it names none that can be joined, saying what is wrong with it.
    """
    text = environment.get(TF_CONFIG, "")
    problem, cluster = _read(text)
    if cluster is None:
        raise UserError(
            f"--strategy=multi_worker reads the cluster from the variable {TF_CONFIG}, "
            f"as in {_FORM}: {problem}. Received: {text[:300] or 'nothing'}"
        )
    return cluster


def _read(text: str) -> tuple[str, Cluster | None]:
    """What is wrong with TF_CONFIG, or the cluster."""
    if not text:
        return "it is not set", None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "it is not JSON", None
    if not isinstance(content, dict):
        return "it is not an object", None
    jobs, task = content.get("cluster"), content.get("task")
    if not isinstance(jobs, dict) or not isinstance(task, dict):
        return "it lacks `cluster` or `task`", None
    if {*jobs} != {"worker"}:
        others = ", ".join(sorted({*jobs} - {"worker"})) or "none"
        return f"`cluster` has `worker` alone, and here are others: {others}", None
    workers, index = jobs["worker"], task.get("index")
    if not isinstance(workers, list) or not workers:
        return "`worker` is a list of addresses", None
    for address in workers:
        problem = _problem_of_address(address)
        if problem:
            return problem, None
    twice = sorted({one for one in workers if workers.count(one) > 1})
    if twice:
        return f"the address {twice[0]} is there twice", None
    if task.get("type") != "worker":
        return (
            f'the type of `task` is "worker", not {json.dumps(task.get("type"))}',
            None,
        )
    if isinstance(index, bool) or not isinstance(index, int):
        return f"the index of `task` is a number, not {json.dumps(index)}", None
    if index not in range(len(workers)):
        return f"the index of `task` is {index}, of {len(workers)} workers", None
    return "", Cluster(tuple(workers), index)


def _problem_of_address(address: Any) -> str:
    if not isinstance(address, str):
        return f'an address is text, "host:port", not {json.dumps(address)}'
    host, _, port = address.rpartition(":")
    if not host or any(letter.isspace() or letter == "/" for letter in address):
        return f'the address "{address}" is not "host:port"'
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        return f'the port of "{address}" is not 1 to 65535'
    return ""


def hash_of_code() -> str:
    """SHA-256 of the sources that decide a run's numbers, wherever they lie."""
    from baselines import __file__ as of_baselines
    from data import __file__ as of_data
    from mgnm_tf import __file__ as of_mgnm_tf

    digest = hashlib.sha256()
    packages = [Path(str(one)).parent for one in (of_baselines, of_data, of_mgnm_tf)]
    for folder in [*packages, Path(__file__).parent]:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def joined(
    cluster: Cluster,
    claims: dict[str, Any],
    timeout: float,
    silence: float | None = None,
) -> Iterator[None]:
    """Begins when all workers are here and agree; ends the process if one is lost.

    Args:
        cluster: the workers that train together, and which of them this process is.
        claims: by name, what must be the same for all: JSON values.
        timeout: seconds to wait for the others to come.
        silence: seconds without a sign of life after which a worker is lost; as
            `timeout` if None.

    Raises:
        UserError: if one does not come in time, or claims something else.
    """
    claims = json.loads(json.dumps({**claims, "TF_CONFIG": list(cluster.workers)}))
    deadline = time.monotonic() + timeout
    listener = _listen(cluster)
    try:
        if cluster.index == 0:
            others = _gather(listener, cluster, claims, deadline, timeout)
        else:  # The chief tries whether this one's port is open, too.
            others = {0: _call(cluster, claims, deadline, timeout)}
    finally:
        listener.close()  # TensorFlow listens there from now on.
    watch = _Watch(cluster, others, timeout if silence is None else silence)
    yield
    # Not after an error: the others wait for this one, and have to be told.
    watch.say_goodbye()


class _Line:
    """A connection that carries one JSON value a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(_STRANGER_S)  # Of sending; one thread hears, two speak.

    def send(self, value: Any) -> None:
        self._connection.sendall(json.dumps(value).encode() + b"\n")

    def receive(self, seconds: float) -> Any:
        """The next value.

        Raises:
            OSError: if none comes in time, or the other end is closed.
            ValueError: if what comes is no line of JSON.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(max(deadline - time.monotonic(), 1e-3)):
                    raise socket.timeout("timed out")
            more = self._connection.recv(1 << 16)
            if not more:
                raise ConnectionResetError("closed")
            self._rest += more
            if len(self._rest) > _MOST_BYTES:
                raise ValueError("too long")
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def is_closed(self) -> bool:
        """Whether the other end is gone; to be asked before it is to speak."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            return bool(selector.select(0))

    def close(self) -> None:
        self._connection.close()


def _listen(cluster: Cluster) -> socket.socket:
    """Listens at the own port, which so is known to be free.

    Raises:
        UserError: if it is not.
    """
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("", port))
        listener.listen(len(cluster.workers))
    except OSError as error:
        listener.close()
        raise UserError(
            f"The port of {cluster.name(cluster.index)} cannot be opened here: "
            f"{error.strerror}. End what holds it, or name another in {TF_CONFIG}."
        ) from error
    return listener


def _gather(
    listener: socket.socket,
    cluster: Cluster,
    claims: dict[str, Any],
    deadline: float,
    timeout: float,
) -> dict[int, _Line]:
    """The chief's part: waits for the others, compares, and answers them all."""
    others: dict[int, _Line] = {}
    refusal = ""
    while not refusal and len(others) < len(cluster.workers) - 1:
        listener.settimeout(max(deadline - time.monotonic(), 1e-3))
        try:
            line = _Line(listener.accept()[0])
        except socket.timeout:
            missing = _missing(cluster, _still_there(others))
            refusal = (
                f"{', '.join(map(cluster.name, missing))} did not come within "
                f"{timeout:g} s. Start every worker, or give them more time by "
                "--peer_timeout."
            )
            break
        try:
            hello = line.receive(_STRANGER_S)
            index, theirs = hello["worker"], hello["claims"]
            differences = _differences(claims, theirs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            line.close()  # A stranger.
            continue
        others = _still_there(others)  # Now: one may have left and come again.
        missing = _missing(cluster, others)
        if differences:
            refusal = (
                f"Worker {index} and worker 0 differ in {differences}. Start all "
                "workers with the same flags, data and code."
            )
        elif index not in missing:
            refusal = (
                f"Two processes say that they are worker {index}: give each its own "
                f"index in {TF_CONFIG}."
            )
        others[index if index in missing else -1] = line
    refusal = refusal or _unreachable(cluster)
    for line in others.values():
        with contextlib.suppress(OSError):
            line.send({"refused": refusal})
    if refusal:
        raise UserError(f"{refusal} No worker was started.")
    return others


def _still_there(others: dict[int, _Line]) -> dict[int, _Line]:
    return {i: line for i, line in others.items() if not line.is_closed()}


def _missing(cluster: Cluster, others: dict[int, _Line]) -> list[int]:
    return [i for i in range(1, len(cluster.workers)) if i not in others]


def _unreachable(cluster: Cluster) -> str:
    """Which worker's address does not answer, which TensorFlow would wait for."""
    for index, address in enumerate(cluster.workers[1:], start=1):
        host, _, port = address.rpartition(":")
        try:
            where = (host.strip("[]"), int(port))
            socket.create_connection(where, timeout=_REACH_S).close()
        except OSError as error:
            return (
                f"{cluster.name(index)} has come, but cannot be reached from worker 0 "
                f"at that address: {error.strerror or error}."
            )
    return ""


def _call(
    cluster: Cluster, claims: dict[str, Any], deadline: float, timeout: float
) -> _Line:
    """Another worker's part: calls the chief until it answers."""
    host, _, port = cluster.workers[0].rpartition(":")
    problem = "it did not answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            address = (host.strip("[]"), int(port))
            line = _Line(socket.create_connection(address, timeout=left))
            line.send({"worker": cluster.index, "claims": claims})
            # The chief answers when all are there, within its own time.
            refusal = line.receive(timeout + _STRANGER_S)["refused"]
        except OSError as error:
            problem = error.strerror or str(error)
        except (ValueError, KeyError, TypeError):
            problem = "what answers there is no worker of this program"
        else:
            if refusal:
                raise UserError(f"{refusal} No worker was started.")
            return line
        time.sleep(min(0.2, max(deadline - time.monotonic(), 0)))
    raise UserError(
        f"{cluster.name(0)} cannot be reached within {timeout:g} s: {problem}. Start "
        "every worker, or give them more time by --peer_timeout. No worker was started."
    )


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Names of what is not the same, with both values where they are short."""
    shown = []
    for name in sorted({*ours, *theirs}):
        one, other = json.dumps(theirs.get(name)), json.dumps(ours.get(name))
        if one != other:
            short = max(len(one), len(other)) <= 40
            shown.append(f"{name} ({one} and {other})" if short else name)
    return ", ".join(shown)


class _Watch:
    """Sends signs of life, and ends the process when they stop coming.

    A lost worker leaves the others inside TensorFlow's operations, which no exception
    reaches: the process ends at once. All that a run writes is written whole or not at
    all, so that nothing is lost but the steps since the last checkpoint.
    """

    def __init__(
        self, cluster: Cluster, others: dict[int, _Line], timeout: float
    ) -> None:
        self._cluster = cluster
        self._others = others
        self._timeout = timeout
        self._over = threading.Event()
        self._first = threading.Lock()
        self._gone: set[int] = set()  # said goodbye
        for index in others:
            threading.Thread(target=self._hear, args=(index,), daemon=True).start()
        threading.Thread(target=self._speak, daemon=True).start()

    def say_goodbye(self) -> None:
        self._over.set()
        for line in self._others.values():
            with contextlib.suppress(OSError):
                line.send(_BYE)

    def _speak(self) -> None:
        while not self._over.wait(_BEAT_S):
            for line in self._others.values():
                with contextlib.suppress(OSError):  # Hearing tells it.
                    line.send(_ALIVE)

    def _hear(self, index: int) -> None:
        while True:
            try:
                word = self._others[index].receive(self._timeout)
            except socket.timeout:
                return self._end(index, f"gave no sign of life for {self._timeout:g} s")
            except (OSError, ValueError):
                return self._end(index, "has ended or died")
            if word == _BYE:
                return None
            if isinstance(word, list) and word[0] == _LOST:
                return self._end(int(word[1]), "has ended or died")

    def _end(self, index: int, what: str) -> None:
        # The first to know says it: what the others then answer is no news.
        if self._over.is_set() or not self._first.acquire(blocking=False):
            return
        for line in self._others.values():
            with contextlib.suppress(OSError):
                line.send([_LOST, index])
        sys.stderr.write(
            f"error: {self._cluster.name(index)} {what}, and the others cannot go on "
            "without it. Start all workers again with the same command: they go on "
            "from the last checkpoint.\n"
        )
        sys.stderr.flush()
        os._exit(1)
