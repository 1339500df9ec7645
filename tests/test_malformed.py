"""Malformed logs and flags through `data.prepare`: read rightly, or one sentence.

Five sixths of the cases of tests/malformed_logs.py run with `-m slow`; a seeded sample
of them with every test run.
"""

from __future__ import annotations

import collections
import json
import shutil

import pytest

from tests import malformed_logs
from tests.calls import call

SAMPLE = 66
VERDICTS = ("clear", "read", "unclear", "traceback", "accepted", "refused", "left")


def judge(case, folder):
    """What became of a case, and what was said.

    One of "clear" (one sentence that names the file or the flag), "read" (as it has to
    be), "unclear", "traceback", "accepted" (though it had to be refused, or otherwise
    than it stands there), "refused" (though it had to be read) and "left" (something
    half-written).
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case.write(folder)
    flags = [flag.replace("{folder}", str(folder)) for flag in case.flags]
    done = call(
        "data.prepare",
        "--dataset=csv",
        f"--source={folder}/{case.file}",
        "--name=log",
        "--split=leave_one_out",
        f"--data_dir={folder}/prepared",
        *flags,
    )
    said = done.sentence or done.err.strip()[-300:]
    if said.startswith("FATAL"):  # The flags' own sentence stands in the next line.
        said = " ".join(done.err.split("Pass --help")[0].split())
    if done.is_traceback:
        return "traceback", done.err.strip().splitlines()[-1]
    metas = [*folder.rglob("meta.json")]
    if done.code == 0:
        kept = [json.loads(path.read_text())["log"]["kept"] for path in metas]
        return ("read" if kept == [case.kept] else "accepted"), str(kept)
    files = [path for path in folder.rglob("*") if path.is_file()]
    if [path.name for path in files] != [case.file]:
        return "left", f"{files}"
    if case.kept is not None:
        return "refused", said
    parts = (part for flag in flags for part in flag.lstrip("-").split("=", 1))
    named = "--" in said or any(
        part and part.replace("\n", " ") in said for part in (case.file, *parts)
    )
    is_one = said.startswith(("error: ", "FATAL")) and "\n" not in said
    return ("clear" if named and is_one else "unclear"), said


def judged(chosen, folder):
    """Counts by kind, and a line for each case that went wrong."""
    counts = collections.defaultdict(collections.Counter)
    wrong = []
    for case in chosen:
        verdict, said = judge(case, folder)
        counts[case.kind][verdict] += 1
        if verdict not in ("clear", "read"):
            wrong.append(f"{verdict}: {case}: {said}")
    return counts, wrong


def as_table(counts):
    lines = ["| kind | cases | " + " | ".join(VERDICTS) + " |"]
    for kind, found in [
        *counts.items(),
        ("all", sum(counts.values(), collections.Counter())),
    ]:
        cells = [kind, sum(found.values()), *(found[name] for name in VERDICTS)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def test_a_sample_of_malformed_logs_is_read_rightly_or_refused_in_a_sentence(tmp_path):
    _, wrong = judged(malformed_logs.sample(SAMPLE), tmp_path / "case")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_every_malformed_log_is_read_rightly_or_refused_in_a_sentence(tmp_path):
    counts, wrong = judged(malformed_logs.cases(), tmp_path / "case")
    print(as_table(counts))
    assert not wrong, "\n".join(wrong)
