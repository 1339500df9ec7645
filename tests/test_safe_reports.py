"""Names from files appear as text in every form of a report."""

from __future__ import annotations

import csv
import html.parser
import io
import re

import pytest

from experiments.reports import table2, table2_page, table2_text, table4, text
from experiments.reports.protocols import text as protocols_text
from tests.runs import write_run

# Folder names hold no "/": what a closing tag does is seen in the CPU's name.
DATASET = "=cmd|'a'!A1<script>alert(1)\\&_x_$y%`#~^{[b](c)\n*d*"
MODEL = "gru4rec-<img src=x onerror=alert(2)>|_v_"
CPU = "</p><script>alert(3)</script>&amp; | \\ <b>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    machine = {"cpu": CPU, "cores": 2, "memory_gb": 1, "gpu": None}
    config = {"split_rule": CPU, "batch_size": 2, "num_negatives": 5}
    for seed in (1, 2):
        for model, shift in (("mgnm", 0), (MODEL, 2)):
            write_run(folder, model, seed, shift, machine=machine, config=config)
    (folder / "shop").rename(folder / DATASET)
    return folder


@pytest.fixture(scope="module")
def table(runs):
    return table2.make_table(runs, DATASET, "global_time")


class Page(html.parser.HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.text += data


def test_html_shows_names_and_runs_nothing(table):
    page = Page(table2_page.to_html([table]))
    assert not {"script", "img", "iframe", "object"} & {*page.tags}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)" in page.text
    assert "<script>alert(3)</script>" in page.text


def test_the_policy_of_the_page_lets_no_script_and_nothing_from_elsewhere_in(table):
    page = Page(table2_page.to_html([table]))
    policy = dict(
        part.strip().split(" ", 1)
        for part in next(
            value
            for tag, name, value in page.attributes
            if (tag, name) == ("meta", "content") and "default-src" in value
        ).split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {*policy} == {"default-src", "style-src", "img-src"}
    assert "http" not in " ".join(policy.values())


@pytest.mark.parametrize("form", ["table2", "table4", "protocols"])
def test_markdown_has_no_tag_and_no_cell_too_many(form, runs, table):
    pair = (DATASET, "global_time")
    if form == "table2":
        markdown = table2_text.to_markdown([table])
    elif form == "table4":
        markdown = table4.to_markdown({pair: table.by_model})
    else:
        found = protocols_text.protocol_table.make_table(runs, *pair)
        markdown = protocols_text.to_markdown([found])
    plain = markdown.replace("<u>", "").replace("</u>", "")  # Ours: the second best.
    assert not re.search(r"<[A-Za-z/!?]", plain)
    blocks = re.findall(r"(?:^\|.*\n)+", plain, re.MULTILINE)
    for block in blocks:
        borders = [
            len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.splitlines()
        ]
        assert {*borders} == {borders[0]}
    assert blocks
    assert r"\[b\](c) \*d\*" in plain


def test_csv_fields_are_whole_and_no_formula(table):
    rows = list(csv.DictReader(io.StringIO(table2_text.to_csv([table]))))
    assert {row["dataset"] for row in rows} == {"'" + DATASET.replace("\n", " ")}
    assert {row["model"] for row in rows} == {"mgnm", MODEL}
    assert all(None not in row for row in rows)


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t=", " ="])
def test_a_field_that_a_spreadsheet_would_run_is_text(first):
    written = text.csv_text(["head"], [[f"{first}1+1"]])
    assert written.splitlines()[1].lstrip('"').startswith("'")


def test_numbers_stay_numbers_in_csv():
    rows = [["-0.5", "+1e-3", "a,b"], [-0.5, 3, None]]
    written = text.csv_text(["a", "b", "c"], rows)
    assert written == 'a,b,c\n-0.5,+1e-3,"a,b"\n-0.500000,3,\n'


def test_latex_has_each_special_sign_escaped(table):
    source = table2_text.to_latex([table])
    caption = source[source.index(r"\caption") :]
    assert r"\textless{}script\textgreater{}alert(1)" in caption
    for sign in "&_%#$":
        assert not re.search(rf"(?<!\\)\{sign}", text.tex(f"a{sign}b"))
    assert text.tex("\\input{/etc/passwd}") == (r"\textbackslash{}input\{/etc/passwd\}")
    assert "\n" not in text.tex("a\nb")


@pytest.mark.parametrize(
    "plain", ["global_time", "p < 0.05", "* the best is better", "AT&T", "SCN → x"]
)
def test_markdown_leaves_what_is_text_already(plain):
    assert text.markdown_text(plain) == plain
