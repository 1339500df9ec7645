"""Figures 3 to 7 from stored runs: PNG, SVG, and the numbers of each as CSV."""

from __future__ import annotations

from pathlib import Path

from experiments.reports.sweeps import draw_sweep
from experiments.results import finished_runs, variants
from experiments.studies.levels.figures import is_video, poolings, wins


def write(
    output_dir: Path, runs_dir: Path, datasets: list[tuple[str, str]]
) -> list[Path]:
    """Writes what the stored runs allow to `<output_dir>/figures/`; returns the paths.

    Figure 5 has the micro-video logs, Figure 6 all other data sets, as in the paper.
    """
    folder = output_dir / "figures"
    runs = {pair: finished_runs.read_runs(runs_dir, *pair) for pair in datasets}
    return [
        *draw_sweep(folder, "fig3", variants.with_layers, runs),
        *draw_sweep(folder, "fig4", variants.with_interests, runs),
        *wins(folder, "fig5", {p: f for p, f in runs.items() if is_video(p[0])}),
        *wins(folder, "fig6", {p: f for p, f in runs.items() if not is_video(p[0])}),
        *poolings(folder, runs),
    ]
