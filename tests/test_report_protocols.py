"""Protocols side by side, from fabricated runs whose orders are known."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from experiments.reports import table2
from experiments.reports.protocols import agreement
from experiments.reports.protocols import table as protocol_table
from experiments.reports.protocols import text as report_protocols
from experiments.reports.text import signed
from harness import metrics
from tests.runs import write_run

SHOP = ("shop", "global_time")
UNI, POP, FULL = ((name, "instance") for name in ("uni1000", "pop1000", "full"))


def write_protocols(runs, model, seed, shifts, candidates=None, by_user=None):
    """A run whose positives stand some places lower than drawn ones, by protocol.

    `by_user` is the value of all pooled metrics under uni1000.
    """
    places = np.random.default_rng(seed).integers(0, 40, 200)
    by_protocol = {protocol: places + shift for protocol, shift in shifts.items()}
    write_places(runs, model, seed, by_protocol, candidates, by_user)


def write_places(runs, model, seed, by_protocol, candidates=None, by_user=None):
    tables, found = [], {}
    for protocol, drawn in by_protocol.items():
        count = (candidates or {}).get(protocol, 100)
        negatives = np.full(200, count - 1)
        ranks = metrics.Ranks(drawn, drawn, negatives)
        found[protocol] = {"instance": metrics.instance_metrics(ranks)}
        table = {
            "user": np.arange(200) // 2,
            "protocol": protocol,
            "rank_pessimistic": drawn,
            "rank_optimistic": drawn,
            "candidates": count,
        }
        tables.append(pd.DataFrame(table))
    if by_user is not None:
        names = found["uni1000"]["instance"]
        found["uni1000"]["user"] = dict.fromkeys(names, by_user)
    write_run(runs, model, seed, 0, metrics={"test": found})
    folder = runs / "shop/global_time" / model / f"seed-{seed}"
    pd.concat(tables).to_parquet(folder / "ranks.parquet")


@pytest.fixture
def runs(tmp_path):
    """Under `full` the second and the third change places; pooled, all are reversed."""
    for seed in (1, 2):
        for model, uni, full, by_user in (
            ("caser", 0, 0, 0.1),
            ("gru4rec", 1, 2, 0.2),
            ("mind", 2, 1, 0.3),
            ("mgnm", 3, 3, 0.4),
        ):
            shifts = {"uni1000": uni, "pop1000": uni, "full": full}
            candidates = {"uni1000": 100, "pop1000": 90, "full": 500}
            write_protocols(tmp_path, model, seed, shifts, candidates, by_user)
    return tmp_path


def test_tau_by_hand(runs):
    taus = protocol_table.make_table(runs, *SHOP).taus
    for metric in ("ndcg@5", "hit@5"):
        assert taus[metric] == {
            (UNI, POP): pytest.approx(1.0),
            (UNI, FULL): pytest.approx(4 / 6),  # One pair of six is swapped.
            (POP, FULL): pytest.approx(4 / 6),
            (UNI, ("uni1000", "user")): pytest.approx(-1.0),
        }


def test_a_pair_that_changes_its_order_is_said(runs):
    notes = protocol_table.make_table(runs, *SHOP).notes
    (text,) = (t for t in notes if t.startswith("By NDCG@5, uni1000 and full"))
    assert "on the order of 1 of 6 pairs of models: GRU4Rec and MIND." in text
    # Each instance stands alike apart: no resample of users has another sign.
    assert text.endswith("over these pairs): GRU4Rec and MIND.")
    assert not [t for t in notes if "uni1000 and pop1000" in t]
    (pooled,) = (t for t in notes if t.startswith("By GAUC, uni1000 by instance"))
    assert "6 of 6 pairs" in pooled
    assert "chance" not in pooled  # Ranks of pooled lists are not kept.


def test_a_change_within_chance_is_called_so(tmp_path):
    # Both are noise: what one has under one protocol, the other has under the other.
    noise = [np.random.default_rng(seed).integers(0, 60, 200) for seed in (1, 2)]
    for model, (uni, full) in (("caser", noise), ("mind", noise[::-1])):
        by_protocol = {"uni1000": uni, "full": full}
        write_places(tmp_path, model, 1, by_protocol, {"full": 500})
    notes = protocol_table.make_table(tmp_path, *SHOP).notes
    (text,) = (t for t in notes if t.startswith("By HIT@5"))
    assert "1 of 1 pairs of models: Caser and MIND." in text
    assert text.endswith("over these pairs): none.")


def test_a_cell_has_mean_sd_and_place(runs):
    text = report_protocols.write(runs / "out", runs, [SHOP])
    rows = list(csv.DictReader(io.StringIO((runs / "out/protocols.csv").read_text())))
    assert len(rows) == 4 * 4 * 3  # Models, columns, metrics.
    table = table2.make_table(runs, *SHOP)
    (row,) = (
        row
        for row in rows
        if (row["model"], row["protocol"], row["grouping"], row["metric"])
        == ("mind", "uni1000", "instance", "ndcg@5")
    )
    cell = table.cells["mind"]["ndcg@5"]
    assert float(row["mean"]) == pytest.approx(cell.mean, abs=1e-6)
    assert float(row["sd"]) == pytest.approx(cell.sd, abs=1e-6)
    assert (row["seeds"], row["place"]) == ("2", "3")
    assert f"{cell.mean:.4f} ± {cell.sd:.4f} (3)" in text
    assert "200 test instances with 500 candidates each" in text


def test_where_a_user_has_one_instance_both_groupings_are_one(tmp_path):
    write_protocols(tmp_path, "mgnm", 1, {"uni1000": 0, "full": 1})
    path = tmp_path / "shop/global_time/mgnm/seed-1/passport.json"
    passport = json.loads(path.read_text())
    test = passport["metrics"]["test"]
    test["uni1000"]["user"] = test["uni1000"]["instance"]
    path.write_text(json.dumps(passport))
    text = report_protocols.to_markdown([protocol_table.make_table(tmp_path, *SHOP)])
    assert "Under uni1000 each user has one test instance" in text
    assert "difference" not in text


def test_groupings_stand_beside_each_other_with_their_difference(runs):
    table = protocol_table.make_table(runs, *SHOP)
    own = table.cells["ndcg@5"][UNI]["mgnm"][0]
    text = report_protocols.to_markdown([table])
    assert f"| {own:.4f} (4) | 0.4000 (1) | {0.4 - own:+.4f} |" in text


def test_models_of_one_mean_share_a_place():
    found = agreement.places({"a": (0.2, None), "b": (0.3, None)})
    assert found == {"a": 2, "b": 1}
    cells = {"a": (0.2, None), "b": (0.2, None), "c": (0.1, None)}
    assert agreement.places(cells) == {"a": 1, "b": 1, "c": 3}


def test_a_catalogue_below_a_thousand_makes_two_protocols_one(tmp_path):
    for model, shift in (("caser", 0), ("mind", 2)):
        candidates = {"uni1000": 80, "pop1000": 70, "full": 80}
        shifts = {"uni1000": shift, "pop1000": 2 - shift, "full": shift}
        write_protocols(tmp_path, model, 1, shifts, candidates)
    notes = protocol_table.make_table(tmp_path, *SHOP).notes
    assert [text for text in notes if "one protocol here" in text] == [notes[0]]
    assert notes[0].startswith("uni1000 and full are one protocol here")
    # What pop1000 and uni1000 disagree on is not said of full again.
    pairs = [text for text in notes if text.startswith("By NDCG@5")]
    assert len(pairs) == 1
    assert "uni1000 and pop1000 disagree" in pairs[0]


def test_a_run_that_lacks_a_protocol_is_said_and_left_out_of_its_column(runs):
    write_protocols(runs, "sasrec", 1, {"uni1000": 9})
    table = protocol_table.make_table(runs, *SHOP)
    assert "sasrec" in table.cells["hit@5"][UNI]
    assert "sasrec" not in table.cells["hit@5"][FULL]
    remedy = "python -m experiments.evaluate --candidates=full"
    assert any(
        text.startswith("Not ranked under full") and "SASRec. `" + remedy in text
        for text in table.notes
    )
    assert table.taus["hit@5"][UNI, FULL] == pytest.approx(4 / 6)  # Of the others.
    text = report_protocols.to_markdown([table])
    assert [line for line in text.splitlines() if line.endswith("(5) | – | – |")]


@pytest.mark.slow
def test_the_figure_is_drawn_alike_twice(runs, tmp_path):
    names = ("protocols.csv", "protocols.png", "protocols.svg")
    for folder in ("a", "b"):
        report_protocols.write(tmp_path / folder, runs, [SHOP])
    for name in names:
        one, other = ((tmp_path / f / name).read_bytes() for f in ("a", "b"))
        assert one == other
    tree = ElementTree.parse(tmp_path / "a/protocols.svg")
    texts = {node.text for node in tree.iter() if node.text}
    labels = {"uni1000", "pop1000", "full", "uni1000 by user"}
    assert labels | {"MGNM", "Caser", "shop"} <= texts


def test_no_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no finished run"):
        report_protocols.write(tmp_path, tmp_path, [SHOP])
    assert list(tmp_path.iterdir()) == []


def test_a_difference_that_rounds_to_zero_has_no_minus():
    changes = (-4e-5, 4e-5, -6e-5, 0.00123)
    signs = ["+0.0000", "+0.0000", "-0.0001", "+0.0012"]
    assert [signed(change) for change in changes] == signs
