"""`make setup` chooses a stack by the Pythons that are there, and says so.

The Pythons here are pretended: scripts that run the tests' own Python under another
version number, make environments of such scripts, and note what pip was to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "make", "cat", "ls", "rm", "dirname", "mkdir", "cp", "env", "touch")
PYTHON = """#!/bin/bash
# Python {version}, pretended.
case "$1 $2" in
  "--version ") echo "Python {version}" ;;
  "-c "*) exec {real} -c "import sys; sys.version_info = {numbers}; $2" ;;
  "-m venv")
    {venv}
    for folder in "$@"; do :; done  # The last argument.
    mkdir -p "$folder/bin"
    echo "version = {version}" > "$folder/pyvenv.cfg"
    cp "$0" "$folder/bin/python" ;;
  "-m pip")
    echo "${{MGNM_TENSORFLOW:-none}}: $*" >> "{log}"
    {pip} ;;
esac
"""
UV = """#!/bin/bash
# uv, pretended: makes an environment with the Python that it is asked for.
echo "uv $*" >> "{log}"
for folder in "$@"; do :; done
mkdir -p "$folder/bin"
touch "$folder/pyvenv.cfg"
cp "{python}" "$folder/bin/python"
"""
GETS_UV = 'cp "{uv}" "$(dirname "$0")/uv"'


class Machine:
    """A folder of programs, which is all of PATH."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "bin"
        self.log, self.venv = folder / "log", folder / "with blank" / ".venv"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def add_python(self, name, version, venv="", pip="", folder=None):
        numbers = tuple(map(int, version.split(".")))
        text = PYTHON.format(
            version=version,
            numbers=numbers,
            real=sys.executable,
            log=self.log,
            venv=venv,
            pip=pip,
        )
        return self._write((folder or self.bin) / name, text)

    def add_uv(self, folder=None):
        hidden = self.folder / "managed"
        hidden.mkdir()
        python = self.add_python("python", "3.11.9", folder=hidden)
        text = UV.format(log=self.log, python=python)
        return self._write((folder or self.bin) / "uv", text)

    def _write(self, path, text):
        path.write_text(text)
        path.chmod(0o755)
        return path

    def make(self, *targets, **variables):
        return subprocess.run(
            [
                *(
                    "make",
                    "--no-print-directory",
                    *(targets or ["setup"]),
                    f"VENV={self.venv}",
                ),
                *(f"{name}={value}" for name, value in variables.items()),
            ],
            cwd=ROOT,
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
        )

    def installed(self):
        """The stack of the environment, and what its Python was."""
        config = (self.venv / "pyvenv.cfg").read_text()
        return (self.venv / ".installed").read_text().strip(), config


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("pythons", "forced", "stack", "chosen"),
    [
        (["3.9.1", "3.10.1", "3.11.1", "3.12.1"], "", "2.15", "3.11.1"),
        (["3.9.1", "3.12.1"], "", "2.15", "3.9.1"),
        (["3.12.1", "3.13.1"], "", "latest", "3.12.1"),
        (["3.13.1", "3.14.1"], "", "latest", "3.13.1"),
        (["3.11.1", "3.12.1"], "latest", "latest", "3.12.1"),
        (["3.10.1", "3.11.1"], "latest", "latest", "3.11.1"),
        (["3.10.1", "3.12.1"], "2.15", "2.15", "3.10.1"),
    ],
)
def test_the_stack_follows_the_python(machine, pythons, forced, stack, chosen):
    for version in pythons:
        machine.add_python(f"python{version.rsplit('.', 1)[0]}", version)
    done = machine.make(**({"TENSORFLOW": forced} if forced else {}))
    assert done.returncode == 0, done.stderr
    assert machine.installed() == (stack, f"version = {chosen}\n")
    assert f"Python {chosen} and TensorFlow {stack}: " in done.stdout
    assert machine.log.read_text().startswith(f"{stack}: -m pip install")


def test_python3_is_taken_where_it_fits(machine):
    machine.add_python("python3", "3.13.2")
    assert machine.make().returncode == 0
    assert machine.installed() == ("latest", "version = 3.13.2\n")


def test_a_python_can_be_named(machine):
    machine.add_python("python3.11", "3.11.1")
    other = machine.add_python("mine", "3.10.7")
    assert machine.make(BASE_PYTHON=other).returncode == 0
    assert machine.installed() == ("2.15", "version = 3.10.7\n")


def test_what_is_set_up_is_left_alone(machine):
    machine.add_python("python3.11", "3.11.1")
    machine.make()
    machine.log.unlink()
    done = machine.make("environment")  # What every other target begins with.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not machine.log.exists()


def test_help_passes_through_make_without_a_log(machine):
    machine.add_python("python3.11", "3.11.1")
    refused = machine.make("recommend")
    assert "error: give the log: make recommend SOURCE=log.csv" in refused.stderr
    for arguments in ("--help", "--models=sasrec --helpfull"):
        helped = machine.make("recommend", ARGS=arguments)
        assert helped.returncode == 0, helped.stderr
    shown = machine.make("--dry-run", "bench", ARGS="--help", SERVING_ARGS="--a=b")
    assert "-m benchmarks.serving --help --a=b" in shown.stdout


def test_set_up_ends_with_what_to_do_next(machine):
    machine.add_python("python3.11", "3.11.1")
    ready = (
        f"Ready: source {str(machine.venv).replace(' ', chr(92) + ' ')}/bin/activate"
    )
    assert machine.make().stdout.splitlines()[-1] == ready
    assert machine.make().stdout == f"{ready}\n"


def test_the_other_stack_makes_the_environment_anew(machine):
    machine.add_python("python3.11", "3.11.1")
    machine.make()
    done = machine.make(TENSORFLOW="latest")
    assert "holds TensorFlow 2.15 and is made anew" in done.stdout
    assert machine.installed()[0] == "latest"
    # And stays without being named.
    assert machine.make("environment").stdout == ""
    assert machine.installed()[0] == "latest"


def test_a_changed_setup_updates_in_place(machine):
    machine.add_python("python3.11", "3.11.1")
    machine.make()
    kept = machine.venv / "kept"
    kept.touch()
    os.utime(machine.venv / ".installed", (0, 0))
    done = machine.make()
    assert "setup.py has changed" in done.stdout
    assert kept.exists()


def test_a_failed_installation_is_made_again(machine):
    machine.add_python("python3.11", "3.11.1", pip="exit 1")
    done = machine.make()
    assert done.returncode != 0
    assert "could not be installed" in done.stderr
    assert not (machine.venv / ".installed").exists()
    machine.add_python("python3.11", "3.11.1")
    assert machine.make().returncode == 0


def test_a_folder_that_is_no_environment_is_left_alone(machine):
    machine.add_python("python3.11", "3.11.1")
    machine.venv.mkdir(parents=True)
    (machine.venv / "thesis.txt").write_text("mine")
    done = machine.make()
    assert done.returncode != 0
    assert "is no virtual environment" in done.stderr
    assert (machine.venv / "thesis.txt").exists()


def test_an_unknown_stack_is_refused(machine):
    done = machine.make(TENSORFLOW="2.16")
    assert "TENSORFLOW must be 2.15 or latest. Received: TENSORFLOW=2.16" in done.stderr


def test_a_named_python_that_does_not_fit_is_refused(machine):
    old = machine.add_python("old", "3.8.1")
    done = machine.make(BASE_PYTHON=old)
    assert f"BASE_PYTHON={old} does not fit" in done.stderr


@pytest.mark.parametrize("forced", ["", "2.15", "latest"])
def test_the_uv_at_hand_gets_a_python(machine, forced):
    machine.add_python("python3", "3.14.1")
    machine.add_uv()
    done = machine.make(TENSORFLOW=forced)
    assert done.returncode == 0, done.stderr
    asked = "3.12" if forced == "latest" else "3.11"
    assert f"--python {asked} {machine.venv}" in machine.log.read_text()
    assert (machine.venv / ".installed").read_text().strip() == (forced or "2.15")


def test_uv_comes_from_pypi_where_there_is_none(machine):
    uv = machine.add_uv(folder=machine.folder)
    machine.add_python("python3", "3.8.1", pip=GETS_UV.format(uv=uv))
    done = machine.make()
    assert done.returncode == 0, done.stderr
    assert "No Python here fits" in done.stdout
    log = machine.log.read_text().splitlines()
    assert log[0].endswith("-m pip install --quiet --disable-pip-version-check uv")
    assert log[1].startswith("uv venv")
    assert (machine.folder / "with blank" / ".venv-uv" / "bin" / "uv").exists()


@pytest.mark.parametrize("pythons", [[], ["3.8.1"]])
def test_without_python_and_network_one_sentence_says_what_to_install(machine, pythons):
    for version in pythons:
        machine.add_python("python3", version, pip="exit 1")
    done = machine.make()
    assert done.returncode != 0
    sentence = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert sentence == [
        "error: MGNM-TF needs Python 3.9 to 3.13 (with venv), and uv cannot be had "
        "from PyPI; install one, or install uv, and run make again."
    ]
