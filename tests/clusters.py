"""Clusters of processes on this machine."""

from __future__ import annotations

import json
import socket


def config(workers, kind="worker", index=0, **more):
    """The text of TF_CONFIG."""
    task = {"type": kind, "index": index}
    return json.dumps({"cluster": {"worker": workers, **more}, "task": task})


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found
