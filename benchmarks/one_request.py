"""Loads a SavedModel with TensorFlow alone, and times requests of one person.

Usage: python one_request.py FOLDER HISTORIES_JSON

Writes, as JSON, the seconds to load and to answer first, and of the later requests the
median and the 99th percentile in milliseconds.
"""

from __future__ import annotations

import json
import sys
import time


def main(folder: str, histories: str) -> None:
    import numpy as np
    import tensorflow as tf

    started = time.perf_counter()
    model = tf.saved_model.load(folder)
    answer = model.signatures["serving_default"]
    loaded = time.perf_counter() - started

    def ask(history: list[str]) -> float:
        began = time.perf_counter()
        response = answer(
            history=tf.constant([history]),
            user=tf.constant([""]),
            k=tf.constant(10),
            exclude_seen=tf.constant(True),
        )
        response["items"].numpy()
        return time.perf_counter() - began

    people = json.loads(histories)
    first = ask(people[0])
    times = [ask(history) for history in people for _ in range(2)]
    figures = {
        "load_s": round(loaded, 2),
        "first_s": round(first, 2),
        "p50_ms": round(1e3 * float(np.quantile(times, 0.5)), 2),
        "p99_ms": round(1e3 * float(np.quantile(times, 0.99)), 2),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
