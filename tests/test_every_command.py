"""Every command over one table of what can be wrong: one sentence, nothing left behind.

What is wrong is a place that is not there, a file in the place of a folder, a folder
that cannot be written, a damaged file, a full disk, a value that a flag does not take.
Each command's flags are read from its source, so that a new one is tried too.
"""

from __future__ import annotations

import ast
import dataclasses
import errno
import importlib.util
import os
import shutil
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from data import locks
from tests.calls import call

RUN, DATA = "runs/tiny/leave_one_out/mgnm/seed-1", "prepared/tiny/leave_one_out"
HUGE = "9" * 30


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that would end well in the fixture's folder.

    Attributes:
        arguments: its flags, `{folder}` is the fixture's, `{out}` a new one.
        reads: files that it reads, and that a hash or a form protects.
        inputs: flags that name what it reads.
        outputs: flags that name what it writes.
        locks: folders that it alone may write.
    """

    arguments: tuple[str, ...]
    reads: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()


OF_RUN = ("--run_dir={folder}/" + RUN, "--data_dir={folder}/prepared")
OF_DATA = ("--dataset=tiny", "--data_dir={folder}/prepared")
FEW = ("--max_epochs=1", "--set=embedding_dim=4")
RUNS_FILES = (
    f"{RUN}/model.weights.h5",
    f"{RUN}/config.json",
    f"{RUN}/seal.json",
    f"{DATA}/items.npy",
)
COMMANDS = {
    "data.prepare": Command(
        ("--dataset=csv", "--source={folder}/tiny.csv", "--data_dir={out}"),
        inputs=("source",),
        outputs=("data_dir",),
        locks=("{out}/csv/global_time",),
    ),
    "data.sequential": Command(
        OF_DATA, reads=(f"{DATA}/items.npy",), inputs=("data_dir",)
    ),
    "experiments.train": Command(
        ("--model=mean_pooling", *OF_DATA, "--run_dir={out}/seed-1", *FEW),
        reads=(f"{DATA}/train.npy",),
        inputs=("data_dir", "init_from"),
        outputs=("run_dir",),
        locks=("{out}/seed-1",),
    ),
    "experiments.tune": Command(
        ("--model=mean_pooling", *OF_DATA, "--output_dir={out}", "--trials=1"),
        reads=(f"{DATA}/valid.npy",),
        inputs=("data_dir",),
        outputs=("output_dir",),
    ),
    "experiments.evaluate": Command(
        (*OF_RUN, "--candidates=full"),
        reads=RUNS_FILES,
        inputs=("run_dir", "data_dir"),
        locks=("{folder}/" + RUN,),
    ),
    "experiments.levels": Command(
        OF_RUN,
        reads=RUNS_FILES,
        inputs=("run_dir", "data_dir"),
        locks=("{folder}/" + RUN,),
    ),
    "experiments.fragility": Command(
        OF_RUN,
        reads=RUNS_FILES,
        inputs=("run_dir", "data_dir"),
        locks=("{folder}/" + RUN,),
    ),
    "experiments.report": Command(
        ("--runs_dir={folder}/runs", "--output_dir={out}"),
        reads=(f"{RUN}/passport.json", f"{RUN}/ranks.parquet", f"{RUN}/config.json"),
        inputs=("runs_dir",),
        outputs=("output_dir",),
    ),
    "experiments.recommend": Command(
        (*OF_RUN, "--all_users", "--output={out}/all.csv"),
        reads=(*RUNS_FILES[:2], f"{RUN}/items.parquet", f"{DATA}/items.npy"),
        inputs=("run_dir", "data_dir", "candidates"),
        outputs=("output",),
    ),
    "experiments.export": Command(
        (*OF_RUN, "--to={out}/bundle"),
        reads=(*RUNS_FILES[:2], f"{RUN}/items.parquet", f"{DATA}/items.npy"),
        inputs=("run_dir", "data_dir"),
        outputs=("to",),
        locks=("{out}/bundle",),
    ),
    "experiments.refit": Command(
        (*OF_RUN, "--to={out}/model"),
        reads=(*RUNS_FILES[:2], f"{DATA}/train.npy"),
        inputs=("run_dir", "data_dir"),
        outputs=("to",),
        locks=("{out}/model",),
    ),
    "experiments.from_log": Command(
        ("--source={folder}/tiny.csv", "--output_dir={out}", "--models=mean_pooling"),
        inputs=("source",),
        outputs=("output_dir",),
    ),
    "experiments.reproduce": Command(
        (
            *("--what=table2", "--profile=folder", "--data_dir={folder}/logs"),
            *("--prepared_dir={out}/p", "--runs_dir={out}/r", "--reports_dir={out}/t"),
            *("--models=mean_pooling", "--seeds=1", "--max_epochs=1"),
        ),
        inputs=("data_dir",),
        outputs=("prepared_dir", "runs_dir", "reports_dir"),
    ),
    "experiments.reproduce_table2": Command(
        (
            *("--profile=folder", "--data_dir={folder}/logs"),
            *("--prepared_dir={out}/p", "--runs_dir={out}/r", "--reports_dir={out}/t"),
            *("--models=mean_pooling", "--seeds=1", "--max_epochs=1"),
        ),
        inputs=("data_dir",),
        outputs=("prepared_dir", "runs_dir", "reports_dir"),
    ),
    "experiments.waterfall": Command(
        (*OF_DATA, "--output_dir={out}", "--steps=recipe", "--seeds=1"),
        reads=(f"{DATA}/items.npy",),
        inputs=("data_dir",),
        outputs=("output_dir",),
    ),
    "experiments.audit": Command(
        ("--model=popularity", "--output={out}/audit.md"), outputs=("output",)
    ),
    "experiments.paper_consistency": Command(()),
}


@pytest.fixture(scope="module")
def whole(tiny_data, mgnm_run, tmp_path_factory):
    """A log, prepared data, and a finished run of MGNM."""
    folder = tmp_path_factory.mktemp("every") / "whole"
    (folder / "logs").mkdir(parents=True)
    rows = [
        (f"u{u}", f"i{(u * (t + 1)) % 37 + 2}", 1_600_000_000 + 86_400 * t + u)
        for u in range(1, 31)
        for t in range(8)
    ]
    table = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    for path in (folder / "tiny.csv", folder / "logs/tiny.csv"):
        table.to_csv(path, index=False)
    (folder / "file").write_text("u1,i2\n")
    shutil.copytree(tiny_data.folder, folder / DATA)
    shutil.copytree(mgnm_run[0], folder / RUN)
    return folder


def given(module, folder, out, **changed):
    """The arguments of a command, with some of its flags changed or added."""
    flags = {}
    repeated = []
    for argument in COMMANDS[module].arguments:
        name, _, value = argument[2:].partition("=")
        if name == "set":
            repeated.append(argument)
        else:
            flags[name] = value
    flags |= changed
    texts = [
        f"--{n}={v}" if v != "" or n in changed else f"--{n}" for n, v in flags.items()
    ]
    return [
        text.replace("{folder}", str(folder)).replace("{out}", str(out))
        for text in [*texts, *repeated]
    ]


def check(done, *named):
    """One sentence that names one of these, no traceback, an exit code that says so."""
    assert not done.is_traceback, done.err[-3000:]
    assert done.code in (1, 2), done.err[-1000:]
    said = done.sentence
    if said.startswith("FATAL"):  # The flags' own sentence stands in the next line.
        said = " ".join(done.err.split("Pass --help")[0].split())
    assert said, done.err[-1000:]
    assert any(str(name) in said for name in named), said
    assert "Epoch" not in done.err


def kept(folder):
    """Every file of a folder but locks and the ledger, with its content."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.startswith((".lock", "test_looks", "candidates-"))
    }


def pairs(attribute):
    """(module, value) of an attribute of all commands."""
    return [
        pytest.param(module, value, id=f"{module}-{value}")
        for module, command in COMMANDS.items()
        for value in getattr(command, attribute)
    ]


def defined_flags(module):
    """(kind, name) of each flag that a command's source defines, or takes over."""
    found = []
    names = [module]
    if module == "experiments.reproduce_table2":
        names = ["experiments.reproduce"]
    for name in names:
        source = Path(importlib.util.find_spec(name).origin).read_text()
        names += [  # These follow in the same loop.
            f"data.{shared}"
            for shared in ("log_flags", "filter_flags")
            if f"adopt_module_key_flags({shared})" in source
        ]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                kind = node.func.attr.removeprefix("DEFINE_")
                if kind != node.func.attr and isinstance(node.args[0], ast.Constant):
                    found.append((kind, node.args[0].value))
    return [one for one in found if one != ("enum", "what") or module[-2:] != "e2"]


WRONG = {
    "integer": ("x", "", "1.5", "-7", HUGE),
    "float": ("x", "", "nan", "inf", "-inf"),
    "bool": ("maybe",),
    "enum": ("nonsense", ""),
    "string": ("",),
    "list": ("",),
    "multi_string": ("",),
}


def wrong_values():
    """(module, flag, value): every fourth with each test run, the others slow."""
    found = [
        (module, name, value)
        for module in COMMANDS
        for kind, name in defined_flags(module)
        for value in WRONG[kind]
    ]
    return [
        pytest.param(
            *(module, name, value),
            id=f"{module}-{name}={value[:5]}",
            marks=[pytest.mark.slow] if number % 4 else [],
        )
        for number, (module, name, value) in enumerate(found)
    ]


@pytest.mark.parametrize(("module", "name", "value"), wrong_values())
def test_a_value_that_a_flag_does_not_take_is_named(module, name, value, whole):
    out = whole.parent / "wrong"
    check(call(module, *given(module, whole, out, **{name: value})), name)
    assert not out.exists()


@pytest.mark.parametrize("module", [*COMMANDS])
@pytest.mark.parametrize("more", ["--no_such_flag=1", "argument"])
def test_what_is_no_flag_of_a_command_is_named(module, more, whole, tmp_path):
    arguments = given(module, whole, tmp_path / "out")
    check(call(module, *arguments, more), more.strip("-").partition("=")[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["absent", "file"])
@pytest.mark.parametrize(("module", "flag"), pairs("inputs"))
def test_an_input_that_is_not_there_is_named(module, flag, what, whole, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    before = kept(whole)
    if (flag, what) in (("source", "file"), ("candidates", "file")):
        what = "logs"  # A folder in the place of a file.
    place = whole / what
    if flag == "source" and what == "logs":
        (place / "tiny.csv").rename(whole / "moved")  # An empty one.
    try:
        done = call(module, *given(module, whole, out, **{flag: str(place)}))
    finally:
        if (whole / "moved").exists():
            (whole / "moved").rename(place / "tiny.csv")
    check(done, place, f"--{flag}")
    assert kept(whole) == before
    assert kept(out) == {}


@pytest.mark.parametrize(("module", "flag"), pairs("outputs"))
def test_an_output_that_cannot_be_written_is_named(module, flag, whole, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    place = whole / "file/below"
    if flag == "output":
        place /= "all.csv" if module.endswith("recommend") else "audit.md"
    before = kept(whole)
    check(
        call(module, *given(module, whole, out, **{flag: str(place)})),
        *(whole / "file", f"--{flag}"),
    )
    assert kept(whole) == before


@pytest.mark.parametrize(
    "how",
    [
        "flipped",
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("halved", "deleted")),
    ],
)
@pytest.mark.parametrize(("module", "name"), pairs("reads"))
def test_a_damaged_file_is_named(module, name, how, whole, tmp_path):
    folder, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(whole, folder)
    out.mkdir()
    path = folder / name
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content[: len(content) // 2] if how == "halved" else content)
    before = kept(folder)
    check(call(module, *given(module, folder, out)), path.name)
    assert kept(folder) == before
    assert kept(out) == {}


QUICK = ("data.prepare", "experiments.report", "experiments.evaluate")
WRITING = [
    pytest.param(module, marks=[] if module in QUICK else [pytest.mark.slow])
    for module, command in COMMANDS.items()
    if command.outputs or command.locks
]


@pytest.mark.parametrize("module", WRITING)
def test_a_full_disk_is_said_and_leaves_nothing_half_written(module, whole, tmp_path):
    folder, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(whole, folder)
    out.mkdir()
    before = kept(folder)
    error = OSError(errno.ENOSPC, "no", "a/file")
    refused = [
        mock.patch.object(os, name, side_effect=error) for name in ("replace", "rename")
    ]
    with refused[0], refused[1]:
        done = call(module, *given(module, folder, out))
    assert not done.is_traceback, done.err[-3000:]
    assert done.code in (1, 2)
    assert "the disk is full" in done.err
    after = kept(folder)
    assert {path: after.get(path) for path in before} == before
    left = [path.name for path in out.rglob("*") if path.name.startswith(".partial")]
    assert left == []


@pytest.mark.parametrize(("module", "name"), pairs("locks"))
def test_a_second_writer_is_told_who_holds_the_folder(module, name, whole, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    folder = Path(name.replace("{folder}", str(whole)).replace("{out}", str(out)))
    before = kept(whole)
    with locks.writing(folder, "held"):
        done = call(module, *given(module, whole, out))
    check(done, f"by process {os.getpid()} on ")
    assert str(folder) in done.sentence
    assert kept(whole) == before
