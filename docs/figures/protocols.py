"""Draws the models' places under each protocol: docs/images/protocols_*.png.

Reads the stored passports of Table 2's runs in docs/passports; runs no model.

Command: python docs/figures/protocols.py
"""

from __future__ import annotations

import collections
import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent.parent
sys.path.insert(0, str(DOCS.parent))

import stored  # noqa: E402

from experiments.reports.protocols import figure  # noqa: E402
from experiments.reports.protocols.agreement import COMPARED_METRICS  # noqa: E402
from experiments.reports.protocols.table import (  # noqa: E402
    ProtocolTable,
    metric_cells,
)
from experiments.results.model_names import ordered  # noqa: E402
from harness.passport import Run, Runs  # noqa: E402
from harness.run_folder import run_folder  # noqa: E402


def stored_runs(store: str) -> Runs:
    """The runs of a stored Table 2, by model."""
    by_model = collections.defaultdict(list)
    for passport in stored.passports(store):
        name = run_folder(passport["model"], passport["variant"])
        by_model[name].append(Run(Path(), passport))
    return {name: by_model[name] for name in ordered(by_model)}


def main() -> None:
    for page, (store, title) in stored.DATASETS.items():
        runs = stored_runs(store)
        cells = {metric: metric_cells(runs, metric) for metric in COMPARED_METRICS}
        table = ProtocolTable(title, "", runs, cells, {}, [])
        with tempfile.TemporaryDirectory() as folder:
            figure.draw(Path(folder), [table])
            drawn = Path(folder) / "protocols.png"
            shutil.copyfile(drawn, DOCS / f"images/protocols_{page}.png")


if __name__ == "__main__":
    main()
