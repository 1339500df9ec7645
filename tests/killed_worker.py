"""`experiments.train`, in a process that SIGKILL ends at a given place.

Usage: python -m tests.killed_worker PLACE FLAGS...: in the second "epoch", in the
"validation" after it, in the "ranking" of the test instances, or "nowhere".
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

from harness import epoch
from harness.ranker import Ranker


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_epoch():
    run_steps, calls = epoch._run_steps, []

    def steps(train_step, *rest):
        calls.append(0)

        def step():
            calls[-1] += 1
            if (len(calls), calls[-1]) == (2, 2):
                die()
            return train_step()

        return run_steps(step, *rest)

    epoch._run_steps = steps


def die_in_validation():
    rank, calls = Ranker.rank, []

    def ranking(self, part, *arguments, **named):
        calls.append(part)
        if calls.count("valid") == 2:
            die()
        return rank(self, part, *arguments, **named)

    Ranker.rank = ranking


def die_in_ranking():
    Ranker.rank_protocols = lambda self, part, most: die()


PLACES = {
    "epoch": die_in_epoch,
    "validation": die_in_validation,
    "ranking": die_in_ranking,
    "nowhere": lambda: None,
}

if __name__ == "__main__":
    _, place, *arguments = sys.argv
    PLACES[place]()
    sys.argv = ["experiments.train", *arguments]
    runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)
