"""The audit of one model or of all, from names to the text that is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from data import atomic
from data.errors import UserError
from experiments.studies.audit import report, runs, subjects
from harness.models import MODELS

ALL = "all"


def audit_models(
    model: str,
    variant: str | None = None,
    recipe: str = "paper",
    assignments: list[str] | None = None,
    output: Path | None = None,
    seed: int = 1,
) -> bool:
    """Audits models and reports what leaks; tells whether any of them does.

    Raises:
        UserError: for a model or an output that cannot be.
        KeyboardInterrupt: on Ctrl-C; nothing is written then.
    """
    assignments = assignments or []
    if model == ALL and (variant or assignments):
        raise UserError("--variant and --set are of one model, not of all.")
    if output:
        _check_output(output)
    names = list(MODELS) if model == ALL else [model]
    audited = [subjects.find(name, variant, assignments, recipe) for name in names]
    audits = []
    with runs.grounds(seed) as ground:
        for subject in audited:
            audits.append(runs.audit(subject, ground, seed))
            sys.stderr.write(f"{report.conclusion(audits[-1])}\n")
    text = report.to_markdown(audits, seed)
    if output and output.suffix == ".json":
        atomic.write_json(output, report.to_json(audits, seed))
    elif output:
        atomic.write_text(output, text)
    sys.stdout.write(text)
    return any(audit.leaks for audit in audits)


def _check_output(output: Path) -> None:
    """Before minutes of work, not after."""
    if output.suffix not in (".md", ".json"):
        raise UserError(f"--output ends in .md or .json. Received: {output}")
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"--output: {output.parent} is no folder to write to.")
