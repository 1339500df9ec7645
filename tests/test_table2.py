"""Tables from fabricated runs, without a model at hand."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from experiments.reports import table2, table2_page, table2_text
from experiments.reports.text import TERMS
from experiments.reproduction import profiles, stages
from experiments.results import finished_runs, model_names, paper
from harness import ledger, run_manifest
from tests.runs import NUM_INSTANCES, write_run

ROOT = Path(__file__).parent.parent


@pytest.fixture
def runs(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path, "mgnm", seed, shift=0)
        write_run(tmp_path, "gru4rec", seed, shift=2)
        write_run(tmp_path, "popularity", seed, shift=30)
    return tmp_path


def test_a_cell_is_the_mean_over_seeds(runs):
    table = table2.make_table(runs, "shop", "global_time")
    found = [run.test_metrics()["ndcg@5"] for run in table.by_model["gru4rec"]]
    cell = table.cells["gru4rec"]["ndcg@5"]
    assert cell.mean == pytest.approx(np.mean(found))
    assert cell.sd == pytest.approx(np.std(found, ddof=1))
    assert cell.place == 2


def test_the_best_is_bold_and_what_it_beats_is_marked(runs):
    table = table2.make_table(runs, "shop", "global_time")
    best, worst = table.cells["mgnm"]["hit@5"], table.cells["popularity"]["hit@5"]
    assert (best.place, best.by_seeds, best.by_users) == (1, False, False)
    assert (worst.place, worst.by_seeds, worst.by_users) == (0, True, True)


def test_no_difference_is_no_mark(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path, "mgnm", seed, shift=0)
        write_run(tmp_path, "mind", seed + 10, shift=0)
    table = table2.make_table(tmp_path, "shop", "global_time")
    marked = [
        cell.by_seeds or cell.by_users
        for cells in table.cells.values()
        for cell in cells.values()
    ]
    assert not any(marked)


def test_markdown_has_models_in_the_order_of_the_paper_then_ours(runs):
    text = table2_text.to_markdown([table2.make_table(runs, "shop", "global_time")])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    names = [row.split("|")[1].strip() for row in rows[2:6]]
    assert names == ["GRU4Rec", "MGNM", "*ours to add:*", "Popularity ‡"]
    assert "not comparable" in text
    assert "seeds 1, 2, 3" in text


def test_numbers_of_the_paper_stand_only_beside_its_data(tmp_path):
    kept = {"users": 60_739, "items": 56_301, "interactions": 1, "test": NUM_INSTANCES}
    data = {**kept, "sha256": "f", "matches_table1": True}
    write_run(tmp_path, "mgnm", 1, 0, data=data)
    (tmp_path / "shop").rename(tmp_path / "instruments")
    table = table2.make_table(tmp_path, "instruments", "global_time")
    text = table2_text.to_markdown([table])
    assert "0.7480" in text
    assert "not comparable" not in text


def test_csv_rows_can_be_read_back(runs):
    text = table2_text.to_csv([table2.make_table(runs, "shop", "global_time")])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 3 * 4
    assert {row["seeds"] for row in rows} == {"3"}
    assert float(rows[0]["mean"]) == pytest.approx(0.795, abs=0.05)


def test_latex_has_a_rule_before_our_models(runs):
    text = table2_text.to_latex([table2.make_table(runs, "shop", "global_time")])
    before, after = text.split(r"\midrule")[1:]
    assert "MGNM" in before
    assert "Popularity" in after
    assert text.count(r"\\") == 4
    assert "global\\_time" in text


def test_the_page_holds_everything_and_loads_nothing(runs, tmp_path):
    table2_text.write(tmp_path / "out", runs, [("shop", "global_time")])
    page = (tmp_path / "out" / "table2.html").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("table2.md", "table2.csv", "table2.tex", "table2.html"),
        "table2.png",
    }
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert len(ElementTree.fromstring(svg)) > 0
    assert not [word for word in ("<script", "<link", "src=") if word in page]
    assert "Popularity" in page


def test_runs_of_other_data_cannot_share_a_table(runs):
    data = {"users": 1, "items": 1, "interactions": 1, "test": 1, "sha256": "bad"}
    write_run(runs, "mind", 1, 0, data=data)
    with pytest.raises(ValueError, match="have different prepared data"):
        table2.make_table(runs, "shop", "global_time")


def test_runs_of_other_candidates_cannot_share_a_table(runs):
    write_run(runs, "mind", 1, 0, candidates={"seed": 2})
    with pytest.raises(ValueError, match="have different candidate seeds"):
        table2.make_table(runs, "shop", "global_time")


def test_missing_seeds_and_several_commits_are_said(runs):
    write_run(runs, "mind", 1, 0, commit="def")
    found = " ".join(table2.make_table(runs, "shop", "global_time").warnings)
    assert "MIND lacks the seeds 2, 3." in found
    assert "several commits: abc, def" in found


def test_a_form_without_times_keeps_its_place_and_is_said(runs):
    for model in ("sli_rec-no_times", "mgnm-mine"):
        write_run(runs, model, 1, 0)
    table = table2.make_table(runs, "shop", "global_time")
    assert model_names.ordered(table.cells) == [
        *("gru4rec", "sli_rec-no_times", "mgnm", "mgnm-mine", "popularity")
    ]
    assert "SLi_Rec (no_times): the data has no times" in " ".join(table.warnings)
    text = table2_text.to_markdown([table])
    assert "| SLi_Rec (no_times) |" in text
    assert "| MGNM (mine) ‡ |" in text


def test_no_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no finished run"):
        table2.make_table(tmp_path, "shop", "global_time")


def test_the_command_rebuilds_tables_without_tensorflow(runs, tmp_path):
    code = (
        "import sys; sys.modules['tensorflow'] = None; "
        "from pathlib import Path; from experiments import report; "
        "from experiments.reports import table2_text; "
        f"print(table2_text.write(Path({str(tmp_path / 'o')!r}), "
        f"Path({str(runs)!r}), [('shop', 'global_time')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "MGNM" in done.stdout


@pytest.mark.parametrize("dataset", sorted(paper.TABLE2))
def test_the_bold_cells_of_the_paper_follow_from_its_numbers(dataset):
    columns = zip(*paper.TABLE2[dataset].values())
    models = list(paper.TABLE2[dataset])
    best = [models[int(np.argmax(column))] for column in columns]
    expected = {
        "micro_video": ["mgnm"] * 4,
        "toys": ["mgnm"] * 4,
        "instruments": ["tgsrec", "comirec_dr", "mgnm", "mgnm"],
    }
    assert best == expected[dataset]


def test_tgsrec_has_no_micro_video_result():
    assert "tgsrec" not in paper.TABLE2["micro_video"]
    assert len(paper.TABLE2["toys"]) == len(paper.MODEL_NAMES)


def test_a_second_training_that_was_tested_is_said(tmp_path):
    write_run(tmp_path, "mgnm", 1, shift=0)
    folder = tmp_path / "shop" / "global_time" / "mgnm" / "seed-1"
    for number in range(2):
        (folder / "config.json").write_text("{}")
        (folder / "model.weights.h5").write_text(str(number))
        ledger.seal(folder / "config.json", folder / "model.weights.h5")
        ledger.record_look(
            folder / "config.json", folder / "model.weights.h5", "uni1000", "abc"
        )
        run_manifest.write(folder)
        warnings = table2.make_table(tmp_path, "shop", "global_time").warnings
        assert any("for 2 trainings" in text for text in warnings) == (number == 1)


@pytest.mark.parametrize(("commits", "said"), [(["abc"], False), (["abc", "d"], True)])
def test_a_training_by_several_commits_is_said(tmp_path, commits, said):
    write_run(tmp_path, "mgnm", 1, shift=0)
    path = tmp_path / "shop" / "global_time" / "mgnm" / "seed-1" / "passport.json"
    passport = json.loads(path.read_text())
    passport["training"]["commits"] = commits
    path.write_text(json.dumps(passport))
    warnings = table2.make_table(tmp_path, "shop", "global_time").warnings
    assert (
        any("by other code" in text and "abc, d" in text for text in warnings) == said
    )


def test_a_training_under_two_tensorflows_is_said(tmp_path):
    write_run(tmp_path, "mgnm", 1, shift=0)
    path = tmp_path / "shop" / "global_time" / "mgnm" / "seed-1" / "passport.json"
    passport = json.loads(path.read_text())
    for versions, said in ((["2.15.1"], False), (["2.15.1", "2.21.0"], True)):
        passport["training"]["tensorflow"] = versions
        path.write_text(json.dumps(passport))
        warnings = table2.make_table(tmp_path, "shop", "global_time").warnings
        assert any("2.15.1, 2.21.0" in text for text in warnings) == said


def test_the_passports_behind_a_table_are_kept_one_a_line(runs):
    lines = finished_runs.to_jsonl(runs, "shop", "global_time").splitlines()
    found = [json.loads(line) for line in lines]
    assert [(one["model"], one["seed"]) for one in found] == [
        (model, seed)
        for model in ("gru4rec", "mgnm", "popularity")
        for seed in (1, 2, 3)
    ]
    stored = runs / "shop/global_time/gru4rec/seed-1/passport.json"
    assert found[0] == json.loads(stored.read_text())


def test_what_made_a_table_and_what_it_is_for_stands_above_it(runs, tmp_path):
    about = profiles.about("quick", "paper", max_epochs=None, seeds=1)
    pairs = [("shop", "global_time")]
    text = table2_text.write(tmp_path / "out", runs, pairs, about)
    assert text.splitlines()[2] == (
        "Profile quick, recipe paper: at most 2 epochs, 1 seed, the newest 8 events, "
        "a sample of 2,000 test instances. It shows that everything works. Do not rank "
        "models by it: the runs are too short."
    )
    assert f"<p>{about}</p>" in (tmp_path / "out" / "table2.html").read_text()
    assert "Recipe: paper, the paper's own (docs/recipe.md)." in text


@pytest.mark.parametrize(
    ("name", "epochs", "seeds", "expected"),
    [
        ("folder", None, 5, "Profile folder, recipe strong: 5 seeds. These numbers c"),
        ("public", 1, 1, "Profile folder, recipe strong: at most 1 epoch, 1 seed. It "),
        ("paper", None, 5, "Profile paper, recipe strong: 5 seeds. These numbers st"),
    ],
)
def test_a_bounded_profile_is_no_comparison(name, epochs, seeds, expected):
    assert profiles.about(name, "strong", epochs, seeds).startswith(expected)


def test_a_table_that_compares_nothing_has_no_marks_and_says_why(tmp_path):
    pairs = [("shop", "global_time")]
    for name, budget in (("long", 10), ("short", 9)):
        write_run(tmp_path / name, "mgnm", 1, shift=0, budget=budget)
        write_run(tmp_path / name, "gru4rec", 1, shift=9, budget=30)
        # Nothing to train: its budget says nothing.
        write_run(tmp_path / name, "item_knn", 1, shift=20, budget=0)
    text = table2_text.write(tmp_path / "out", tmp_path / "short", pairs)
    page = (tmp_path / "out" / "table2.html").read_text()
    for words in (text, page):
        words = words.replace("**Note:**", "").replace("<b>Note:</b>", "")
        assert not [mark for mark in ("†", "**", "<u>", "<b>") if mark in words]
        assert "Bold: best" not in words
        assert "t-test" not in words
        assert words.count("No number is marked as the best") == 1
    rows = csv.DictReader(io.StringIO((tmp_path / "out/table2.csv").read_text()))
    assert {(row["place"], row["by_users"]) for row in rows} == {("0", "0")}
    marked = table2.make_table(tmp_path / "long", *pairs[0]).cells["mgnm"]["hit@5"]
    plain = table2.make_table(tmp_path / "short", *pairs[0]).cells["mgnm"]["hit@5"]
    assert (plain.mean, plain.sd) == (marked.mean, marked.sd)
    assert (plain.place, marked.place) == (0, 1)


@pytest.mark.parametrize(
    ("name", "epochs", "compares"),
    [
        ("quick", None, False),
        ("folder", 9, False),
        ("folder", None, True),
        ("paper", 10, True),
    ],
)
def test_what_a_table_says_of_short_runs(name, epochs, compares):
    about = profiles.about(name, "paper", epochs, seeds=1)
    assert ("Do not rank models by it" in about) != compares


def test_one_seed_has_no_spread_and_no_test_over_seeds(tmp_path):
    write_run(tmp_path, "mgnm", 1, shift=0)
    write_run(tmp_path, "gru4rec", 1, shift=9)
    words = table2.caption(table2.make_table(tmp_path, "shop", "global_time"))
    assert "; seed 1. Split" in words
    assert "standard deviation" not in words
    assert "t-test" not in words


@pytest.mark.parametrize(
    ("sample", "said"),
    [(None, "; 200 test instances, each"), (50, "; 50 of 200 test instances, one")],
)
def test_a_table_says_how_many_instances_it_is_of(tmp_path, sample, said):
    config = {"split_rule": "by time", "test_instances": sample}
    write_run(tmp_path, "mgnm", 1, shift=0, config=config)
    words = table2.caption(table2.make_table(tmp_path, "shop", "global_time"))
    assert said in words


def test_the_page_marks_what_is_ours_and_has_a_legend(runs, tmp_path):
    table2_text.write(tmp_path / "out", runs, [("shop", "global_time")])
    page = (tmp_path / "out" / "table2.html").read_text()
    assert "<i>ours to add:</i>" in page
    assert "<td>Popularity ‡</td>" in page
    assert "<td>GRU4Rec</td>" in page
    assert "‡ Not in the paper's Table 2.</p>" in page
    assert "see <code>--candidates=full</code>" in page
    assert "`" not in page
    for label in ("MGNM", "‡ ours to add, not in the paper"):
        assert label in page


def test_terms_of_a_report_are_linked_to_the_glossary(runs, tmp_path):
    folder = tmp_path / "my out"
    table2_text.write(folder, runs, [("shop", "global_time")])
    last = (folder / "table2.md").read_text().splitlines()[-1]
    page = (folder / "table2.html").read_text()
    for term in ("GAUC", "uni1000", "global_time", "Holm", "bootstrap"):
        (address,) = re.findall(rf"\[{term}\]\((\S+)\)", last)
        assert f'<a href="{address}">{term}</a>' in page
        path, _, _ = address.partition("#")
        assert (folder / path).resolve() == ROOT / "docs" / "glossary.md"
    assert "[pop1000]" not in last


def test_every_linked_term_has_a_heading_in_the_glossary():
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    headings = [line[4:].lower() for line in lines if line.startswith("### ")]
    anchors = {re.sub(r"[^\w -]", "", text).replace(" ", "-") for text in headings}
    assert {*TERMS.values()} <= anchors


def test_a_table_names_the_source_of_its_data(runs, tmp_path):
    data = {"users": 9, "items": 9, "interactions": 8, "test": NUM_INSTANCES}
    one = tmp_path / "one"
    write_run(one, "mgnm", 1, 0, data={**data, "sha256": "f", "source": "a.csv"})
    found = table2.caption(table2.make_table(one, "shop", "global_time"))
    assert "8 interactions, read from a.csv; 200 test" in found
    unknown = table2.caption(table2.make_table(runs, "shop", "global_time"))
    assert "read from" not in unknown


def test_only_the_weaknesses_of_this_table_are_said(runs, tmp_path):
    table = table2.make_table(runs, "shop", "global_time")
    found = " ".join(table2.weaknesses(table))
    assert "sampled negatives" in found
    assert "t-test over few seeds" in found
    assert "later events" not in found
    assert "the time of the one before" not in found
    one = tmp_path / "one"
    data = {"users": 9, "items": 9, "interactions": 9, "test": NUM_INSTANCES}
    data |= {"sha256": "f", "same_time_share": 0.48}
    write_run(one, "mgnm", 1, 0, data=data)
    (one / "shop" / "global_time").rename(one / "shop" / "leave_one_out")
    found = " ".join(table2.weaknesses(table2.make_table(one, "shop", "leave_one_out")))
    assert "48% of the events have the time of the one before" in found
    assert "leave_one_out lets training see later events" in found
    assert "t-test" not in found


@pytest.mark.parametrize(
    ("log", "keeps_past", "says"),
    [
        ({"repeated_test_targets": 41, "test_targets": 100}, False, True),
        ({"repeated_test_targets": 9, "test_targets": 100}, False, False),
        ({"repeated_test_targets": 41, "test_targets": 100}, True, False),
        (None, False, False),
    ],
)
def test_a_table_says_where_repeats_decide(tmp_path, log, keeps_past, says):
    data = {"users": 9, "items": 9, "interactions": 9, "test": NUM_INSTANCES}
    data |= {"sha256": "f", "log": log, "keeps_past": keeps_past}
    write_run(tmp_path, "mgnm", 1, 0, data=data)
    table = table2.make_table(tmp_path, "shop", "global_time")
    found = " ".join(table2.weaknesses(table))
    assert ("41% of the test targets are items that the user had" in found) == says


def test_each_table_has_its_own_weaknesses_below_it(runs):
    table = table2.make_table(runs, "shop", "global_time")
    text = table2_text.to_markdown([table])
    below = text[text.index("### Known weaknesses of this protocol") :]
    assert below.count("\n- ") == len(table2.weaknesses(table))
    page = table2_page.to_html([table])
    assert page.count("<li>") == len(table2.weaknesses(table))


def test_tensorboard_gets_no_html():
    text = stages._without_html("| <u>0.2 ± 0.1</u> | 0.1 |\nBold, underlined: second.")
    assert text == "| _0.2 ± 0.1_ | 0.1 |\nBold, in italics: second."
