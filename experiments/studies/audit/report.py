"""Audits as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiments.reports.text import counted
from experiments.studies.audit.findings import (
    CHECKS,
    LEAK,
    NOT_APPLICABLE,
    RANK_BOUND,
    SCORE_BOUND,
    Finding,
)
from experiments.studies.audit.runs import Audit
from harness import provenance

_GAUC = ("noise", "random targets")


def to_json(audits: list[Audit], seed: int) -> dict[str, Any]:
    return {
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "machine": provenance.describe(),
        "seed": seed,
        "audits": [
            {
                "model": audit.name,
                "arguments": audit.arguments,
                "verdict": LEAK if audit.leaks else "ok",
                "seconds": audit.seconds,
                "planted": {"gauc": audit.planted, "bound": audit.planted_bound},
                "checks": {
                    name: dataclasses.asdict(finding)
                    for name, finding in audit.findings.items()
                },
            }
            for audit in audits
        ],
    }


def to_markdown(audits: list[Audit], seed: int) -> str:
    """One model: a line a check. Several: a line a model."""
    lines = _of_one(audits[0]) if len(audits) == 1 else _of_several(audits)
    return "\n".join([*lines, "", *_notes(audits, seed)]) + "\n"


def conclusion(audit: Audit) -> str:
    """The audit in a line."""
    if audit.leaks:
        return f"{audit.name}: LEAK in {', '.join(audit.leaks)} ({audit.seconds:.0f} s)"
    return f"{audit.name}: no leak found ({audit.seconds:.0f} s)"


def _of_one(audit: Audit) -> list[str]:
    lines = [
        f"| {audit.name} | verdict | found | honest | what is asked |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, finding in audit.findings.items():
        cells = [
            name,
            _verdict(finding),
            _value(finding),
            _honest(finding),
            CHECKS[name],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _of_several(audits: list[Audit]) -> list[str]:
    lines = [
        f"| model | {' | '.join(CHECKS)} | planted | s |",
        f"|{' --- |' * (len(CHECKS) + 3)}",
    ]
    for audit in audits:
        cells = [f"{_verdict(f)} {_value(f)}".strip() for f in audit.findings.values()]
        planted = f"{audit.planted:.3f}"
        lines.append(
            f"| {audit.name} | {' | '.join(cells)} | {planted} | {audit.seconds:.0f} |"
        )
    return lines


def _notes(audits: list[Audit], seed: int) -> list[str]:
    bounds = sorted(
        {audit.findings[name].bound or 0 for audit in audits for name in _GAUC}
    )
    limits = " and ".join(f"{bound:.3f}" for bound in bounds)
    described = provenance.describe()
    notes = [
        f"noise and random targets: GAUC, 0.5 within {limits}, four standard "
        "deviations of chance over so many lists. ranks: share of lists whose rank "
        f"changed, at most {RANK_BOUND}. test events: 0 exactly. All others: the "
        "largest change of a score, in standard deviations of the scores, at most "
        f"{SCORE_BOUND:g}.",
        _learned(audits),
        f"Seed {seed}. Commit {provenance.short(provenance.commit())}, "
        f"{described['cpu']}, "
        f"{counted(described['cores'], 'core')}.",
    ]
    reasons: dict[str, list[str]] = {}
    for audit in audits:
        for name, finding in audit.findings.items():
            if finding.verdict == NOT_APPLICABLE:
                reasons.setdefault(f"{audit.name}: {finding.reason}", []).append(name)
    for reason, names in reasons.items():
        notes.append(f"Not applicable ({', '.join(names)}): {reason}")
    return [line for note in notes for line in (note, "")][:-1]


def _learned(audits: list[Audit]) -> str:
    text = (
        f"GAUC over the users with planted interests: {audits[0].planted:.3f}."
        if len(audits) == 1
        else "planted: GAUC over the users with planted interests."
    )
    idle = [audit.name for audit in audits if not audit.has_learned]
    if idle:
        text += (
            f" {', '.join(idle)}: no better than chance, so that the checks that "
            "compare scores had little to compare."
        )
    return text


def _verdict(finding: Finding) -> str:
    return {LEAK: "**LEAK**", NOT_APPLICABLE: "–"}.get(finding.verdict, finding.verdict)


def _value(finding: Finding) -> str:
    if finding.value is None:
        return ""
    return f"{finding.value:.3f}" if finding.expected else f"{finding.value:.2g}"


def _honest(finding: Finding) -> str:
    if finding.bound is None:
        return ""
    if finding.expected:
        return f"{finding.expected} ± {finding.bound:.3f}"
    return f"≤ {finding.bound:g}" if finding.bound else "0"
