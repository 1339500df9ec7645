"""README and docs: their lines, their links, and the numbers of their tables."""

from __future__ import annotations

import collections
import json
import re
import statistics
from pathlib import Path

import pytest

from experiments.results import paper, variants
from experiments.results.model_names import ADDED_NAMES, MODEL_NAMES, display_name
from harness import run_folder
from harness.metrics import METRICS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = {name: model for model, name in {**MODEL_NAMES, **ADDED_NAMES}.items()}

STORES = {
    "toys": "toys_5core_order-leave_one_out",
    "sports": "sports_5core-global_time",
    "instruments": "instruments_5core-global_time",
    "kuairand": "kuairand_likes_hates-by_date",
}
CELL = re.compile(r"\d\.\d{4}(?: ± \d\.\d{4})?")


def page_id(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_line_is_over_160_characters(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [n for n, line in enumerate(lines, 1) if len(line) > 160] == []


def test_the_readme_has_at_most_1200_words():
    assert len(README.read_text(encoding="utf-8").split()) <= 1_200


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text)
    local = [link for link in links if not re.match(r"https?:|mailto:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_picture_stands_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = ROOT.glob("docs/images/*.png")
    assert [p.name for p in pictures if f"images/{p.name})" not in text] == []


def test_every_page_is_in_the_site():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(p.relative_to(ROOT / "docs")) for p in ROOT.glob("docs/**/*.md")]
    assert [page for page in pages if f": {page}\n" not in listed] == []


def lines_of(log):
    """What the lines of a JSONL file hold."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def passports(store):
    return lines_of(ROOT / f"docs/passports/{store}.jsonl")


def stored(store):
    """Of each whole model its passports' test metrics, by protocol and grouping."""
    found = {}
    for run in passports(store):
        if run["variant"] == "paper":
            found.setdefault(run["model"], []).append(run["metrics"]["test"])
    return found


def spelled(values):
    """Mean ± standard deviation, as tables have it; one seed has no deviation."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def rows(text):
    """(model, cells that are metrics) of each row of a Markdown table."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = cells[0].replace("‡", "").strip()
        if line.startswith("|") and name in NAMES:
            yield NAMES[name], [match for c in cells[1:] for match in CELL.findall(c)]


def section(page, start, end):
    text = page.read_text(encoding="utf-8")
    return text.split(start, 1)[1].split(end, 1)[0]


def check_table2(text, store, metrics=METRICS):
    runs = stored(store)
    table = list(rows(text))
    assert {model for model, _ in table} == set(runs)
    for model, cells in table:
        tests = [test["uni1000"]["instance"] for test in runs[model]]
        assert cells == [spelled([test[m] for test in tests]) for m in metrics], model


@pytest.mark.parametrize("name", STORES)
def test_table_2_of_a_page_is_that_of_the_passports(name):
    page = ROOT / f"docs/results/{name}.md"
    check_table2(section(page, "## Table 2", "###"), STORES[name])


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Toys and Games", "toys"),
        ("Sports and Outdoors", "sports"),
        ("KuaiRand's likes", "kuairand"),
        ("Musical Instruments", "instruments"),
    ],
)
def test_the_tables_of_the_strong_recipe_are_those_of_the_passports(title, name):
    text = section(ROOT / "docs/results/strong.md", f"## {title}", "\n## ")
    check_table2(text, f"{STORES[name]}-strong")


def test_the_whole_catalogue_under_the_strong_recipe_is_that_of_the_passports():
    text = section(ROOT / "docs/results/strong.md", "## The whole catalogue", "\n## ")
    table = dict(rows(text))
    order = ("toys", "sports", "kuairand", "instruments")
    runs = [stored(f"{STORES[name]}-strong") for name in order]
    assert {*table} == {model for one in runs for model in one}
    for model, cells in table.items():
        found = [one[model] for one in runs if model in one]
        values = [test["full"]["instance"]["ndcg@10"] for (test,) in found]
        assert cells == [f"{value:.4f}" for value in values], model


def test_the_table_of_256_negatives_is_that_of_the_passports():
    page = ROOT / "docs/results/strong.md"
    text = section(page, "## With 256 negatives and no shift", "no such heading")
    table = re.findall(r"^\| (\w+) \| ([\w+]+) \| (.*) \|$", text, flags=re.M)[1:]
    assert len(table) == 8
    for name, model, cells in table:
        (test,) = stored(f"{STORES[name.lower()]}-strong-earlier")[NAMES[model]]
        drawn = test["uni1000"]["instance"]
        assert cells == f"{drawn['gauc']:.4f} | {drawn['ndcg@5']:.4f}", (name, model)


def test_what_the_shift_changes_is_that_of_the_passports():
    page = ROOT / "docs/results/strong.md"
    text = section(page, "## What the shift changes", "\n## ")
    table = re.findall(r"^\| (\w+) \| ([\w -]+) \| (0\..*) \|$", text, flags=re.M)
    names = {name.lower(): model for name, model in NAMES.items()}
    for name, model, cells in table:
        expected = [[], [], []]
        for end in ("-no_shift", ""):
            (test,) = stored(f"{STORES[name.lower()]}-strong{end}")[
                names[model.lower()]
            ]
            drawn = test["uni1000"]["instance"]
            full = test["full"]["instance"]["ndcg@10"]
            for pair, value in zip(expected, (drawn["gauc"], drawn["ndcg@5"], full)):
                pair.append(f"{value:.4f}")
        assert cells == " | ".join(" → ".join(pair) for pair in expected), (name, model)
    dated = ("sports", "kuairand", "instruments")
    every = sum(len(stored(f"{STORES[name]}-strong-no_shift")) for name in dated)
    assert len(table) == every == 15


def test_the_output_that_the_readme_shows_is_that_of_the_passports():
    text = section(README, "```console", "```")
    check_table2(text, "ml-100k-global_time-quick")


def test_our_numbers_beside_the_fields_are_those_of_the_passports():
    page = ROOT / "docs/field.md"
    text = section(page, "| model | ours, `paper`", "- **Ours, `paper`**")
    recipes = [stored(STORES["toys"] + end) for end in ("", "-strong")]
    shown = 0
    for line in text.splitlines()[1:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if name not in NAMES:
            continue
        for cell, runs in zip(cells, recipes):
            tests = runs.get(NAMES[name])
            if cell != "–":
                values = [test["full"]["instance"]["ndcg@10"] for test in tests]
                assert cell == f"{statistics.mean(values):.4f}", name
                shown += 1
    assert shown > 9


def test_the_measured_forms_of_mgnm_plus_are_those_of_the_passports():
    text = section(ROOT / "docs/mgnm_readings.md", "### What was measured", "MGNM+ has")
    stores = [f"{STORES['toys']}-strong{end}" for end in ("", "-earlier")]
    stores += [p.stem for p in (ROOT / "docs/passports").glob("toys*mgnm_plus*.jsonl")]
    found = set()
    for store in stores:
        for run in passports(store):
            test = run["metrics"]["test"]
            drawn = test["uni1000"]["instance"]
            valid = run["metrics"]["valid"]
            values = [
                *(valid["gauc"], valid["ndcg@5"], drawn["gauc"], drawn["ndcg@5"]),
                test["full"]["instance"]["ndcg@10"],
            ]
            found.add(tuple(f"{value:.4f}" for value in values))
    table = re.findall(r"^\|.*0\.\d{4}.*$", text, flags=re.M)
    assert len(table) > 8
    for row in table:
        assert tuple(re.findall(r"0\.\d{4}", row)) in found, row


def test_the_levels_and_their_sum_are_those_of_the_log():
    text = section(
        ROOT / "docs/tables.md", "## Measured: which level wins", "no such heading"
    )
    runs = collections.defaultdict(list)
    for run in passports("levels"):
        runs[run["dataset"].partition("_")[0].title()].append(run)

    def shares(run, kind="negative"):
        wins = run["wins_of_50_users"][kind]
        return [f"{count / sum(wins):.0%}" for count in wins]

    def row(label):
        return re.search(rf"^\| {label} \| (.*) \|$", text, flags=re.M)[1].split(" | ")

    for name in ("Toys", "Instruments"):
        first, second, *_ = runs[name]
        assert row(f"{name} 5-core, negatives") == shares(first)
        assert f"{shares(second)[0]} on {name}" in text
    (video,) = runs["Kuairand"]
    assert row("KuaiRand, negatives") == shares(video)
    items = sum(video["wins_of_50_users"]["positive"])
    label = f"KuaiRand, the {items} test items of Figure 5's users"
    assert row(label) == shares(video, "positive")
    means = [
        statistics.mean(run[pooling]["ndcg@5"] for run in runs[name])
        for name in ("Toys", "Instruments")
        for pooling in ("max", "sum")
    ]
    gauc = [
        statistics.mean(run[pooling]["gauc"] for run in runs["Toys"])
        for pooling in ("max", "sum")
    ]
    told = [f"{value:.4f}" for value in (*means, *gauc)]
    assert re.findall(r"0\.\d{4}", text) == told


def test_numbers_are_of_clean_commits_but_where_the_pages_say_so():
    logs = [*ROOT.glob("docs/passports/*.jsonl"), ROOT / "docs/validation_trials.jsonl"]
    dirty = {
        log.stem
        for log in logs
        for run in lines_of(log)
        if run["commit"].endswith("-dirty")
    }
    instruments = STORES["instruments"]
    # Runs of before; no table shows them.
    assert dirty == {f"{instruments}-drawn", f"{instruments}-earlier"}


def test_the_table_of_the_readme_is_that_of_the_passports():
    store = re.search(r"<!-- table: (\S+) -->", README.read_text(encoding="utf-8"))
    text = section(README, store.group(), "## Which model")
    check_table2(text, store.group(1), ("gauc", "ndcg@5"))


@pytest.mark.parametrize("name", STORES)
def test_the_protocols_of_a_page_are_those_of_the_passports(name):
    runs = stored(STORES[name])
    page = ROOT / f"docs/results/{name}.md"
    text = section(page, "## Protocols side by side", "\n## ")
    tables = re.split(r"^\| (NDCG@5|HIT@5|GAUC) \|(.*)$", text, flags=re.MULTILINE)
    assert len(tables) > 3
    for metric, head, body in zip(tables[1::3], tables[2::3], tables[3::3]):
        columns = [cell.strip() for cell in head.strip("|").split("|")]
        for model, cells in rows(body.split("\n\n")[0]):
            expected = [
                spelled(
                    [
                        test[column.split()[0]][
                            "user" if "user" in column else "instance"
                        ][metric.lower()]
                        for test in runs[model]
                    ]
                )
                for column in columns
                if column.split()[0] in runs[model][0]
            ]
            assert cells == expected, (metric, columns, model)


ORDERS = {
    "stored": "stored",
    "redrawn": "redrawn",
    "history shuffled": "shuffled",
    "another user's history": "another_user",
}


@pytest.mark.parametrize("name", ["toys", "instruments", "kuairand"])
def test_the_fragility_of_a_page_is_that_of_the_log(name):
    page = ROOT / f"docs/results/{name}.md"
    text = section(page, "## Fragility", "Kendall's tau")
    runs = collections.defaultdict(list)
    for run in passports(f"{STORES[name]}-fragility"):
        runs[run_folder.run_folder(run["model"], run["variant"])].append(run)
    folders = {display_name(model): model for model in runs}
    shown, model = set(), None
    for line in re.findall(r"^\|.*\|$", text, flags=re.M):
        first, order, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if order not in ORDERS:
            continue
        if first:
            model = folders[first.replace("‡", "").strip()]
        seeds = [run["fragility"]["orders"][ORDERS[order]] for run in runs[model]]
        assert len({len(draws) for draws in seeds}) == 1
        assert len(cells) == len(METRICS)
        for metric, cell in zip(METRICS, cells):
            values = [
                statistics.mean(draw["metrics"]["instance"][metric] for draw in draws)
                for draws in zip(*seeds)
            ]
            expected = spelled(values)
            if order == "redrawn":
                expected += f" [{min(values):.4f}, {max(values):.4f}]"
            assert re.sub(r" [†§]$", "", cell) == expected, (model, order, metric)
        shown.add((model, order))
    orders = {order for run in runs.values() for order in run[0]["fragility"]["orders"]}
    assert len(shown) == len(runs) * len(orders)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("## Measured: Musical Instruments 5-core", "instruments"),
        ("## Measured: Toys and Games 5-core, Table 3", "toys"),
    ],
)
def test_table_3_is_that_of_the_passports(title, name):
    dataset = STORES[name].partition("-")[0]
    runs = passports(f"{STORES[name]}-table3")
    text = section(ROOT / "docs/tables.md", title, "\n## ")
    shown = 0
    for row, variant in variants.table3(dataset).items():
        (cells,) = re.findall(rf"^\| {re.escape(row)} \|(.*)$", text, re.M) or [None]
        if cells is None:  # Toys: "w/o UGCN" does not train.
            continue
        tests = [
            run["metrics"]["test"]["uni1000"]["instance"]
            for run in runs
            if f"mgnm-{run['variant']}".removesuffix("-paper") == variant.folder
        ]
        values = [spelled([test[metric] for test in tests]) for metric in METRICS]
        assert CELL.findall(cells) == values, row
        shown += 1
    assert shown >= 8


def test_the_printed_table_2_is_that_of_the_paper():
    page = ROOT / "docs/table2_printed.md"
    cells = re.findall(r"0\.\d{4,5}", section(page, "## Micro-video", "Source:"))
    printed = [v for table in paper.TABLE2.values() for r in table.values() for v in r]
    assert [float(cell) for cell in cells] == printed


def test_the_cost_page_is_what_the_measured_rates_give():
    scope = {"__file__": str(ROOT / "docs/figures/cost.py"), "__name__": "cost"}
    exec((ROOT / "docs/figures/cost.py").read_text(encoding="utf-8"), scope)
    text = (ROOT / "docs/cost.md").read_text(encoding="utf-8")
    for lines in (scope["by_size"](), scope["paper_profile"]()):
        assert "\n".join(lines) in text


def on_validation():
    """Of trials, of searches and of stored runs: the scores on validation instances."""
    logs = [
        ROOT / "docs/validation_trials.jsonl",
        *(ROOT / "harness/tuned").glob("*_5core*/*.jsonl"),
        *(ROOT / "docs/passports").glob("*-strong*.jsonl"),
    ]
    for log in logs:
        for run in lines_of(log):
            valid = run["metrics"]["valid"] if "metrics" in run else run
            numbers = {**valid, **valid.get("valid", {})}.values()
            yield [number for number in numbers if isinstance(number, float)]


def is_among(text, scores):
    return any(abs(float(text) - score) < 0.6e-4 for score in scores)


@pytest.mark.parametrize(
    ("page", "start", "end", "rows"),
    [
        ("mgnm_readings.md", "### What the readings are worth", "On Toys the or", 11),
        ("mgnm_readings.md", "### What times are worth", "## MGNM+\n", 10),
        ("mgnm_readings.md", "What parts are worth", "In so short a budget", 6),
        ("recipe.md", "### Prior shift", "### The budget of MGNM+", 26),
        ("recipe.md", "### What was tried on Toys", "### The search", 11),
        ("recipe.md", "SASRec on Toys' 5,000", "### How many negatives", 8),
        ("recipe.md", "### How many negatives", "### Prior shift", 20),
        ("recipe.md", "### The budget of MGNM+", "### What it costs", 5),
    ],
)
def test_scores_on_validation_are_those_of_the_logs(page, start, end, rows):
    runs = list(on_validation())
    number = re.compile(r"0\.\d{4}(?!\d)")
    text = section(ROOT / "docs" / page, start, end)
    table = re.findall(r"^\|.*0\.\d{4}.*$", text, flags=re.M)
    assert len(table) >= rows
    for row in table:
        cells = number.findall(row)
        # All of a row are of one run.
        assert any(all(is_among(cell, run) for cell in cells) for run in runs), row
    every = [score for run in runs for score in run]
    assert [word for word in number.findall(text) if not is_among(word, every)] == []


def test_the_readings_of_mgnm_on_test_are_those_of_the_passports():
    ends = ("-earlier", "-readings")
    runs = {end: passports(STORES["toys"] + end) for end in ends}
    shown = section(ROOT / "docs/mgnm_readings.md", "### On test", "## MGNM in time")
    readings = re.findall(r"^\| `(\w+)` \| (.*) \|$", shown, flags=re.M)
    assert len(readings) > 1
    for reading, cells in readings:
        # `drawn` was the default when Table 2's runs were made.
        store = runs["-earlier" if reading == "drawn" else "-readings"]
        variant = "paper" if reading in ("drawn", "default") else reading
        tests = [
            run["metrics"]["test"]
            for run in store
            if (run["model"], run["variant"]) == ("mgnm", variant)
        ]
        assert len(tests) == 2
        drawn = [test["uni1000"]["instance"] for test in tests]
        values = [spelled([test[metric] for test in drawn]) for metric in METRICS]
        full = [test["full"]["instance"]["ndcg@10"] for test in tests]
        assert cells.split(" | ") == [*values, spelled(full)]
