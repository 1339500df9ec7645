"""The package as it is installed: all in `mgnm_tf`, whatever the user's folder has."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from installation import rooms

ROOT = Path(__file__).parent.parent
MODULES = {"data", "data.store", "experiments.train", "harness", "serving"}


def run(command, folder, **environment):
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from data import store", "from mgnm_tf.data import store"),
        ("from  data.store import (\n a)", "from  mgnm_tf.data.store import (\n a)"),
        ("if 1:\n\tfrom harness import x", "if 1:\n\tfrom mgnm_tf.harness import x"),
        ("é = 1; from data import x", "é = 1; from mgnm_tf.data import x"),
        ("['-m', 'experiments.train']", "['-m', 'mgnm_tf.experiments.train']"),
        ('f("data.store", data)', 'f("mgnm_tf.data.store", data)'),
        ('"`python -m data.prepare --x`"', '"`mgnm-prepare --x`"'),
        ('f"python -m experiments.tune_all {x}"', 'f"mgnm-tune-all {x}"'),
        ('"data.missing"', '"data.missing"'),
        ('"data"', '"data"'),
        ('"a text about data.store"', '"a text about data.store"'),
        ("from mgnm_tf import batch", "from mgnm_tf import batch"),
        ("from database import x", "from database import x"),
        ("from . import data", "from . import data"),
        ("import dataclasses, data_kit", "import dataclasses, data_kit"),
    ],
)  # fmt: skip
def test_names_of_the_rooms_move_into_the_package(source, expected):
    assert rooms.rewrite(source, MODULES) == expected


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import data.store", "line 1: write `from ... import"),
        ("x = 1\nimport data as d", "line 2: write"),
        ('f"experiments.{name}"', "line 1: an f-string makes the name"),
        ("from \\\n  data import x", "line 1: data cannot be found"),
        ('("data." "store")', "line 1: data.store cannot be found"),
    ],
)
def test_what_cannot_be_rewritten_for_sure_fails(source, fault):
    with pytest.raises(ValueError, match=fault):
        rooms.rewrite(source, MODULES)


def test_every_source_can_be_rewritten(tmp_path):
    rooms.write(ROOT, tmp_path / "mgnm_tf")
    assert (tmp_path / "mgnm_tf" / "data" / "store.py").exists()
    assert not list(tmp_path.glob("mgnm_tf/data/raw"))


def test_commands_have_names_of_their_own(tmp_path):
    found = rooms.commands(ROOT)
    assert found["mgnm-train"] == "experiments.train"
    assert found["mgnm-prepare"] == "data.prepare"
    for room in ("data", "experiments"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
        (tmp_path / room / "same.py").write_text('\nif __name__ == "__main__":\n  0')
    with pytest.raises(ValueError, match="would both be the command mgnm-same"):
        rooms.commands(tmp_path)


def test_a_checkout_has_the_public_names_of_an_installation():
    command = (
        "from mgnm_tf.data.store import SequenceStore as one;"
        "import mgnm_tf.data.store;"
        "from data.store import SequenceStore as other; import data.store;"
        "assert one is other and mgnm_tf.data.store is data.store;"
        "assert data.store.__spec__.name == 'data.store'"
    )
    done = run([sys.executable, "-c", command], ROOT)
    assert done.returncode == 0, done.stderr


def test_a_missing_module_of_a_room_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"mgnm_tf\.data\.nothing"):
        import mgnm_tf.data.nothing  # noqa: F401


def test_in_a_checkout_another_data_package_is_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    command = [sys.executable, "-c", "from mgnm_tf.data import store"]
    done = run(command, tmp_path, PYTHONPATH=str(ROOT))
    assert f"another package of that name from {tmp_path / 'data'}" in done.stderr


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel and the sdist, as `make wheel` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    done = run([*command, ROOT], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The folder of the commands of a new environment that holds the wheel.

    What the wheel needs is lent by the tests' own environment.
    """
    folder = tmp_path_factory.mktemp("environment")
    done = run([sys.executable, "-m", "venv", folder], folder)
    assert done.returncode == 0, done.stderr
    lent = sysconfig.get_paths()["purelib"]
    own = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(own, "lent.pth").write_text(lent + "\n")
    (wheel,) = archives.glob("*.whl")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--no-deps", wheel]
    done = run([*pip, "--force-reinstall", "--no-index"], folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_has_one_top_level_name(archives):
    (wheel,) = archives.glob("*.whl")
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name.split("-")[0] for name in names} == {"mgnm_tf"}
    assert list(archives.glob("*.tar.gz"))


@pytest.mark.slow
def test_the_wheel_trains_beside_packages_of_the_user(installed, tmp_path):
    for name in ("data", "baselines", "harness", "experiments", "serving"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('mine')")
    with (tmp_path / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("user", "item", "order")]
            + [(u, f"i{u * t % 23}", t) for u in range(1, 31) for t in range(1, 8)]
        )
    for command in (
        [
            *("mgnm-prepare", "--dataset=csv", "--source=shop.csv", "--name=shop"),
            "--split=leave_one_out",
        ],
        ["mgnm-train", "--model=gru4rec", "--dataset=shop", "--max_epochs=1"],
        [
            *("mgnm-reproduce-table2", "--profile=folder", "--data_dir=."),
            *("--seeds=1", "--models=popularity,mean_pooling", "--max_epochs=1"),
        ],
    ):
        done = run([installed / command[0], *command[1:]], tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "table2.md").exists()
    where = "import mgnm_tf.harness as h; print(h.__file__)"
    done = run([installed / "python", "-c", where], tmp_path)
    assert str(installed.parent) in done.stdout, done.stderr


@pytest.mark.slow
def test_help_of_an_installed_command_names_it(installed, tmp_path):
    done = run([installed / "mgnm-train", "--help"], tmp_path)
    assert "Example: mgnm-train --model=mgnm" in done.stdout
