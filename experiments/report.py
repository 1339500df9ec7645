"""Every table and figure but Table 1 again, as far as stored runs go.

Example: python -m experiments.report --runs_dir=runs --output_dir=reports

Table 2 comes as Markdown, CSV, LaTeX and a page with charts; the passports behind all
of it, one a line, as passports-<data set>-<split>.jsonl. Reads passports, ranks, and
what `experiments.levels` and `experiments.fragility` left; no model is loaded and
nothing is trained.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import app, flags

from experiments import metrics, sealed, statistics, studies
from experiments.configs import NO_TIMES, RELEASED
from experiments.paper import ADDED_NAMES, METRICS, MODEL_NAMES, TABLE2

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05  # of significance, as in the paper


@dataclasses.dataclass(frozen=True)
class Cell:
    """One metric of one model on one data set.

    Attributes:
        mean, sd: over seeds; sd is None for one seed.
        place: 1 for the best of the column, 2 for the second, else 0.
        by_seeds: the best, or what the others are compared with, differs, paired
            t-test over seeds, Holm-corrected.
        by_users: the same by the paired bootstrap over users.
    """

    mean: float
    sd: float | None
    place: int
    by_seeds: bool
    by_users: bool


@dataclasses.dataclass(frozen=True)
class DatasetTable:
    """The rows of one data set; models in the paper's order, then ours.

    Attributes:
        dataset, split: which.
        passports: by model, one a seed.
        cells: by model and metric.
        is_papers_data: whether users and items are Table 1's.
        warnings: what a reader has to know.
    """

    dataset: str
    split: str
    passports: dict[str, list[dict[str, Any]]]
    cells: dict[str, dict[str, Cell]]
    is_papers_data: bool
    warnings: list[str]


def make_table(runs_dir: Path, dataset: str, split: str) -> DatasetTable:
    """Reads the finished runs of a data set under `uni1000`, by instance.

    Raises:
        ValueError: if there is none, or they were made from other data or candidates.
    """
    passports = models_passports(runs_dir, dataset, split)
    every = [passport for runs in passports.values() for passport in runs]
    return DatasetTable(
        dataset=dataset,
        split=split,
        passports=passports,
        cells=compare(passports),
        is_papers_data=every[0]["data"].get("matches_table1", False),
        warnings=[*run_warnings(passports), *left_out(runs_dir, dataset, split)],
    )


def models_passports(
    runs_dir: Path, dataset: str, split: str
) -> dict[str, list[dict[str, Any]]]:
    """Those of `read_passports` that belong in Table 2.

    All but the studies', and those that see labels through the batch.

    Raises:
        ValueError: if there is none.
    """
    found = read_passports(runs_dir, dataset, split)
    kept = {
        folder: runs
        for folder, runs in found.items()
        if not (studies.is_study(folder) or any(map(is_leaky, runs)))
    }
    if not kept:
        raise ValueError(f"{runs_dir}/{dataset}/{split} holds no finished run.")
    return kept


def read_passports(
    runs_dir: Path, dataset: str, split: str
) -> dict[str, list[dict[str, Any]]]:
    """The finished runs of a data set by the name of their folder, one a seed.

    Each has its own folder under "folder".

    Raises:
        ValueError: if they were made from several data or candidates.
    """
    found = defaultdict(list)
    for path in sorted((runs_dir / dataset / split).glob("*/seed-*/passport.json")):
        passport = json.loads(path.read_text())
        if passport["status"] == "complete":
            found[path.parent.parent.name].append({**passport, "folder": path.parent})
    every = [passport for runs in found.values() for passport in runs]
    for what, values in {
        "prepared data": {passport["data"]["sha256"] for passport in every},
        "candidate seeds": {passport["candidates"]["seed"] for passport in every},
    }.items():
        if len(values) > 1:
            raise ValueError(
                f"The runs in {runs_dir}/{dataset}/{split} have different {what}; they "
                "cannot share a table. Delete the ones that are out of date."
            )
    return {
        model: sorted(runs, key=lambda run: run["seed"])
        for model, runs in found.items()
    }


def write_report(
    output_dir: Path, runs_dir: Path, datasets: list[tuple[str, str]]
) -> str:
    """Writes table2.md, .csv, .tex and .html; returns the Markdown."""
    from experiments.report_html import to_html

    tables = [make_table(runs_dir, dataset, split) for dataset, split in datasets]
    markdown = to_markdown(tables)
    write_files(
        output_dir,
        {
            "table2.md": markdown,
            "table2.csv": to_csv(tables),
            "table2.tex": to_latex(tables),
            "table2.html": to_html(tables),
        },
    )
    return markdown


def write_files(output_dir: Path, texts: dict[str, str]) -> None:
    """Writes each text under its name, whole or not at all."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        partial = output_dir / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, output_dir / name)


def display_name(model: str) -> str:
    """As in Table 2; a variant keeps its suffix: "mgnm-x" is "MGNM (x)"."""
    base, _, variant = model.partition("-")
    name = {**MODEL_NAMES, **ADDED_NAMES}.get(base, base)
    return f"{name} ({variant})" if variant else name


def is_added(model: str) -> bool:
    """Whether a model is not in the paper's Table 2; without times it still is."""
    base, _, variant = model.partition("-")
    return base not in MODEL_NAMES or variant not in ("", NO_TIMES)


def ordered(models: Any) -> list[str]:
    """Models of the paper in its order, then the others, each with its variants."""
    order = [*MODEL_NAMES, *ADDED_NAMES]

    def place(model: str) -> tuple[bool, int, str]:
        base = model.partition("-")[0]
        number = order.index(base) if base in order else len(order)
        return is_added(model), number, model

    return sorted(models, key=place)


def title(table: DatasetTable) -> str:
    return f"{table.dataset}, {table.split}, uni1000"


def caption(table: DatasetTable) -> str:
    """What was measured, on what, by which code."""
    first = next(iter(table.passports.values()))[0]
    data, machine = first["data"], first["machine"]
    seeds = sorted({p["seed"] for runs in table.passports.values() for p in runs})
    text = (
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"interactions; {data['test']:,} test instances, each ranked against up to "
        f"1,000 uniformly drawn negatives; seeds {', '.join(map(str, seeds))}; mean ± "
        "standard deviation over seeds. Split: "
        f"{first['config']['split_rule']}. Bold: best, underlined: second. * the best "
        "is better by a paired t-test over seeds, † by a paired bootstrap over users "
        "(both p < 0.05, Holm-corrected over the models of the column). Commit "
        f"{first['commit'][:12]}, {machine['cpu']}, {machine['cores']} cores."
    )
    if not table.is_papers_data:
        text += (
            " These are not the paper's data: the numbers are not comparable with its "
            "Table 2."
        )
    return text


WEAKNESSES = (
    "Ranking against sampled negatives is not ranking the catalogue, and can order "
    "models differently (Krichene & Rendle, KDD 2020): see `--candidates=full`.",
    "Amazon times are whole days: within a day the next item is partly arbitrary.",
    "leave_one_out lets training see later events of other users (Ji et al., TOIS "
    "2023).",
    "A t-test over few seeds says nothing about other data, other splits or other "
    "tuning.",
)


def to_markdown(tables: list[DatasetTable]) -> str:
    lines = ["# Table 2", ""]
    for table in tables:
        paper = _paper_columns(table)
        heads = ["model", *(metric.upper() for metric in METRICS)]
        heads += [f"paper {metric.upper()}" for metric in METRICS] if paper else []
        lines += [
            f"## {title(table)}",
            "",
            markdown_row(heads),
            markdown_row(["---"] * len(heads)),
        ]
        ruled = False
        for model in ordered(table.cells):
            if is_added(model) and not ruled:
                lines.append(markdown_row(["*ours to add:*", *[""] * (len(heads) - 1)]))
                ruled = True
            name = display_name(model) + (" ‡" if is_added(model) else "")
            cells = [markdown_cell(table.cells[model][metric]) for metric in METRICS]
            lines.append(markdown_row([name, *cells, *paper.get(model, [])]))
        lines += ["", caption(table), ""]
        if any(is_added(model) for model in table.cells):
            lines += ["‡ Not in the paper's Table 2.", ""]
        lines += [f"**Note:** {warning}" for warning in table.warnings]
        lines += ["", *_cost_lines(table), ""]
    lines += ["## Known weaknesses of this protocol", ""]
    return "\n".join(lines + [f"- {weakness}" for weakness in WEAKNESSES]) + "\n"


def to_csv(tables: list[DatasetTable]) -> str:
    lines = ["dataset,split,model,metric,mean,sd,seeds,place,by_seeds,by_users,paper"]
    for table in tables:
        for model in ordered(table.cells):
            for number, metric in enumerate(METRICS):
                cell = table.cells[model][metric]
                printed = TABLE2.get(table.dataset, {}).get(model)
                paper = printed[number] if printed and table.is_papers_data else ""
                sd = "" if cell.sd is None else f"{cell.sd:.6f}"
                values = [table.dataset, table.split, model, metric]
                values += [f"{cell.mean:.6f}", sd, str(len(table.passports[model]))]
                values += [str(cell.place), str(int(cell.by_seeds))]
                values += [str(int(cell.by_users)), str(paper)]
                lines.append(",".join(values))
    return "\n".join(lines) + "\n"


def to_latex(tables: list[DatasetTable]) -> str:
    """A `booktabs` table for each data set."""
    parts = []
    for table in tables:
        heads = " & ".join(metric.upper() for metric in METRICS)
        lines = [
            r"\begin{table}",
            r"\centering",
            r"\begin{tabular}{lcccc}",
            r"\toprule",
        ]
        lines += [rf"Model & {heads} \\", r"\midrule"]
        ruled = False
        for model in ordered(table.cells):
            if is_added(model) and not ruled:
                lines.append(r"\midrule")
                ruled = True
            cells = [latex_cell(table.cells[model][metric]) for metric in METRICS]
            lines.append(" & ".join([tex(display_name(model)), *cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\caption{{{tex(title(table))}. {tex(caption(table))}}}"]
        parts.append("\n".join([*lines, r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


def costs(table: DatasetTable) -> list[list[str]]:
    """What each model took: means over seeds, a header row first."""
    heads = [
        "model",
        "parameters",
        "epochs (best) of budget",
        "stopped because",
        "s per epoch",
    ]
    rows = [[*heads, "positives/s", "ranked/s", "peak MB"]]
    for model in ordered(table.passports):
        runs = table.passports[model]
        trained = [run["training"] for run in runs]
        epochs = np.mean([run["epochs"] for run in trained])
        best = np.mean([run["best_epoch"] for run in trained])
        seconds = np.mean([run["seconds"] / max(run["epochs"], 1) for run in trained])
        speeds = [run["positives_per_s"] for run in trained if run["positives_per_s"]]
        ranked = np.mean([run["evaluation"]["instances_per_s"] for run in runs])
        memory = np.max([run["peak_memory_mb"] for run in runs])
        reasons = sorted({run["stopped_because"] for run in trained})
        budget = trained[0]["max_epochs"]
        rows.append(
            [
                display_name(model),
                f"{trained[0]['parameters']:,}",
                f"{epochs:.3g} ({best:.3g}) of {budget}" if budget else "–",
                "; ".join(reasons),
                f"{seconds:.1f}" if budget else "–",
                f"{np.mean(speeds):,.0f}" if speeds else "–",
                f"{ranked:,.0f}",
                f"{memory:,.0f}",
            ]
        )
    return rows


def is_leaky(run: dict[str, Any]) -> bool:
    """Whether a row's place in its batch, and so its label, reaches the network."""
    return run.get("leaky", False) or run.get("variant", "").startswith(RELEASED)


def left_out(runs_dir: Path, dataset: str, split: str) -> list[str]:
    """A sentence for each model of the data set that no table of results takes."""
    found = read_passports(runs_dir, dataset, split)
    return [
        f"{display_name(folder)} is left out: in the released computation a row's "
        "place in its batch, and so its label, reaches the network "
        "(docs/released_code.md). `python -m experiments.waterfall` measures it."
        for folder, runs in found.items()
        if any(map(is_leaky, runs))
    ]


def compare(
    passports: dict[str, list[dict[str, Any]]], reference: str | None = None
) -> dict[str, dict[str, Cell]]:
    """The cells of a table, each tested against the column's best or a reference."""
    cells: dict[str, dict[str, Cell]] = {model: {} for model in passports}
    ranks = {model: mean_ranks(runs) for model, runs in passports.items()}
    for metric in METRICS:
        by_seed = {
            model: {run["seed"]: _found(run)[metric] for run in runs}
            for model, runs in passports.items()
        }
        means = {m: statistics.mean_and_sd([*v.values()]) for m, v in by_seed.items()}
        places = sorted(means, key=lambda model: -means[model][0])
        against = reference or places[0]
        others = [model for model in places if model != against]
        by_seeds = below(_seed_p_values(by_seed, against, others))
        by_users = below(_user_p_values(ranks, metric, against, others))
        for model in passports:
            cells[model][metric] = Cell(
                *means[model],
                place=places.index(model) + 1 if model in places[:2] else 0,
                by_seeds=by_seeds.get(model, False),
                by_users=by_users.get(model, False),
            )
    return cells


def _seed_p_values(
    by_seed: dict[str, dict[int, float]], best: str, others: list[str]
) -> dict[str, float]:
    found = {}
    for model in others:
        seeds = sorted(by_seed[best].keys() & by_seed[model].keys())
        ours = [by_seed[best][seed] for seed in seeds]
        theirs = [by_seed[model][seed] for seed in seeds]
        found[model] = statistics.paired_t_test(ours, theirs)
    return found


def _user_p_values(
    ranks: dict[str, Any], metric: str, best: str, others: list[str]
) -> dict[str, float]:
    """Instances are averaged over seeds first, so that users alone are resampled."""
    users, ours = ranks[best]["user"], ranks[best][metric]
    return {
        model: statistics.paired_bootstrap(
            ours, ranks[model][metric], users, resamples=2_000
        ).p_value
        for model in others
    }


def below(p_values: dict[Any, float]) -> dict[Any, bool]:
    """Which of a family of comparisons are below `LEVEL`, Holm-corrected."""
    adjusted = statistics.holm(list(p_values.values()))
    return {model: p < LEVEL for model, p in zip(p_values, adjusted)}


def mean_ranks(
    runs: list[dict[str, Any]], protocol: str = "uni1000"
) -> dict[str, np.ndarray]:
    """Each metric of each instance, averaged over seeds; and the users."""
    import pandas as pd

    tables = [pd.read_parquet(run["folder"] / "ranks.parquet") for run in runs]
    return mean_of_tables([one[one["protocol"] == protocol] for one in tables])


def mean_of_tables(tables: Sequence[pd.DataFrame]) -> dict[str, np.ndarray]:
    """Each metric of each instance, averaged over tables of ranks; and the users."""
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    for table in tables:
        pessimistic = table["rank_pessimistic"].to_numpy()
        above = (pessimistic + table["rank_optimistic"].to_numpy()) / 2
        negatives = table["candidates"].to_numpy() - 1
        values["gauc"].append(1.0 - above / np.maximum(negatives, 1))
        for metric in METRICS[1:]:
            name, k = metric.split("@")
            values[metric].append(metrics.at_cutoff(pessimistic, name, int(k)))
    users = tables[0]["user"].to_numpy()
    return {"user": users, **{key: np.mean(v, axis=0) for key, v in values.items()}}


def _found(run: dict[str, Any]) -> dict[str, float]:
    return run["metrics"]["test"]["uni1000"]["instance"]


def run_warnings(passports: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What a reader of these runs has to know."""
    every = [run for runs in passports.values() for run in runs]
    found = []
    commits = sorted({run["commit"][:12] for run in every})
    if len(commits) > 1:
        found.append(f"The runs come from several commits: {', '.join(commits)}.")
    machines = {json.dumps(run["machine"], sort_keys=True) for run in every}
    if len(machines) > 1:
        found.append("The runs come from several machines; costs do not compare.")
    seeds = {run["seed"] for run in every}
    for model in ordered(passports):
        missing = sorted(seeds - {run["seed"] for run in passports[model]})
        if missing:
            names = ", ".join(map(str, missing))
            found.append(f"{display_name(model)} lacks the seeds {names}.")
        looks = sealed.looks(passports[model][0]["folder"].parent)
        for run in passports[model]:
            own = [look for look in looks if look["run"] == run["folder"].name]
            trainings = {look["weights_sha256"] for look in own}
            if len(trainings) > 1:
                found.append(
                    f"{display_name(model)}, seed {run['seed']}: the ledger says that "
                    f"the test instances were ranked for {len(trainings)} trainings."
                )
        if model.endswith(f"-{NO_TIMES}"):
            found.append(
                f"{display_name(model)}: the data has no times, which this model is "
                "made for; it runs with all of them zero."
            )
    return found


def _paper_columns(table: DatasetTable) -> dict[str, list[str]]:
    if not table.is_papers_data:
        return {}
    printed = TABLE2[table.dataset]
    return {
        model: [f"{value:.4f}" for value in printed[model]]
        if model in printed
        else ["–"] * len(METRICS)
        for model in table.cells
    }


def _cost_lines(table: DatasetTable) -> list[str]:
    rows = costs(table)
    return [
        markdown_row(rows[0]),
        markdown_row(["---"] * len(rows[0])),
        *map(markdown_row, rows[1:]),
    ]


def markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cell_text(cell: Cell) -> str:
    """Mean, spread and marks: "0.0612 ± 0.0010 *†"."""
    text = f"{cell.mean:.4f}" + ("" if cell.sd is None else f" ± {cell.sd:.4f}")
    marks = ("*" if cell.by_seeds else "") + ("†" if cell.by_users else "")
    return f"{text} {marks}".strip()


def markdown_cell(cell: Cell) -> str:
    text = cell_text(cell).replace("*", r"\*")
    return {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.place, text)


def latex_cell(cell: Cell) -> str:
    text = cell_text(cell).replace(" ± ", r" $\pm$ ").replace("†", r"$^\dagger$")
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.place, text)


def tex(text: str) -> str:
    for plain, escaped in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$")):
        text = text.replace(plain, escaped)
    return text.replace("†", r"$\dagger$")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    try:
        text = _write_all(Path(flags.FLAGS.output_dir), Path(flags.FLAGS.runs_dir))
    except ValueError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(text)


def _write_all(output_dir: Path, runs_dir: Path) -> str:
    """Every table and figure that has a run; returns the tables' Markdown."""
    from experiments import (
        figures,
        report_fragility,
        report_protocols,
        report_table3,
        report_table4,
    )

    found = sorted(
        (path.parts[-5], path.parts[-4], path.parts[-3])
        for path in runs_dir.glob("*/*/*/seed-*/passport.json")
    )
    if not found:
        raise ValueError(
            f"{runs_dir} holds no finished run. `make reproduce-table2` makes them."
        )
    folders: dict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset, split, folder in found:
        folders[dataset, split].add(folder)
    compared = [
        pair for pair, names in folders.items() if not all(map(studies.is_study, names))
    ]
    studied = [
        pair
        for pair, names in folders.items()
        if any(map(studies.is_study, names)) and studies.full(pair[0]).folder in names
    ]
    parts = []
    if compared:
        parts.append(write_report(output_dir, runs_dir, compared))
    if studied:
        parts.append(report_table3.write(output_dir, runs_dir, studied))
    if compared:
        parts.append(report_table4.write(output_dir, runs_dir, compared))
        parts.append(report_protocols.write(output_dir, runs_dir, compared))
    measured = [pair for pair in compared if report_fragility.measured(runs_dir, *pair)]
    if measured:
        parts.append(report_fragility.write(output_dir, runs_dir, measured))
    if studied:
        figures.write(output_dir, runs_dir, studied)
    for pair in folders:
        texts = {f"passports-{'-'.join(pair)}.jsonl": to_jsonl(runs_dir, *pair)}
        write_files(output_dir, texts)
    return "\n".join(parts)


def to_jsonl(runs_dir: Path, dataset: str, split: str) -> str:
    """The passports of a data set, one a line: what its tables can be traced to."""
    found = read_passports(runs_dir, dataset, split)
    return "".join(
        json.dumps({key: value for key, value in run.items() if key != "folder"}) + "\n"
        for _, runs in sorted(found.items())
        for run in runs
    )


if __name__ == "__main__":
    # Here, since other commands import this module and have flags of these names.
    flags.DEFINE_string("runs_dir", "runs", "Where the runs are.")
    flags.DEFINE_string("output_dir", "reports", "Where the tables go.")
    app.run(main)
