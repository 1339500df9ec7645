"""Keras 2 comes from one module, whatever the version of TensorFlow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ROOT.iterdir()
    if (folder / "__init__.py").exists()
    for path in folder.rglob("*.py")
)
THE_ONE = ROOT / "mgnm_tf" / "keras2.py"
# This test's own texts name what it looks for.
OTHERS = [path for path in SOURCES if path not in (THE_ONE, Path(__file__))]


def other_ways(source):
    """Lines that get Keras, or change it for others, without `mgnm_tf.keras2`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            wrong = any(n[0] in ("keras", "tf_keras") or "keras" in n for n in names)
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            names = [alias.name for alias in node.names]
            wrong = parts[0] in ("keras", "tf_keras") or (
                parts[0] == "tensorflow" and "keras" in [*parts, *names]
            )
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", None)
            wrong = node.attr == "keras" and owner in ("tf", "tensorflow")
        else:
            wrong = getattr(node, "value", None) == "TF_USE_LEGACY_KERAS"
        if wrong:
            found.append(node.lineno)
    return found


def test_no_other_source_gets_keras_by_itself():
    assert THE_ONE in SOURCES
    found = {str(path): other_ways(path.read_text()) for path in OTHERS}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import keras",
        "import tf_keras as keras",
        "import tensorflow.keras.layers",
        "from tensorflow import keras",
        "from tensorflow.keras import layers",
        "from tf_keras import layers",
        "import tensorflow as tf\ntf.keras.utils.set_random_seed(1)",
        "import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'",
    ],
)
def test_another_way_to_keras_is_seen(source):
    assert len(other_ways(source)) == 1


def imported(folder, tensorflow, tf_keras=None, code=""):
    """What importing Keras 2 does beside pretended packages of these versions."""
    (folder / "tensorflow").mkdir()
    text = f"__version__ = {tensorflow!r}\nclass keras: place = 'inside'\n"
    (folder / "tensorflow" / "__init__.py").write_text(text)
    if tf_keras:
        (folder / "tf_keras").mkdir()
        text = f"__version__ = place = {tf_keras!r}\n{code}\n"
        (folder / "tf_keras" / "__init__.py").write_text(text)
    (folder / "keras-2.15.0.dist-info").mkdir()
    (folder / "keras-2.15.0.dist-info" / "METADATA").write_text("Version: 2.15.0\n")
    ours = folder / "mgnm_tf"
    ours.mkdir()
    (ours / "__init__.py").touch()
    (ours / "keras2.py").write_text(THE_ONE.read_text())
    command = "from mgnm_tf.keras2 import keras; print(keras.place)"
    # Without the packages of the environment, so that there is no other tf_keras.
    return subprocess.run(
        [sys.executable, "-S", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("tensorflow", "tf_keras", "expected"),
    [
        ("2.15.1", None, "inside"),
        ("2.15.1", "2.15.1", "inside"),
        ("2.16.2", "2.16.0", "2.16.0"),
        ("2.21.0", "2.21.0", "2.21.0"),
    ],
)
def test_keras_2_is_that_of_tensorflow(tmp_path, tensorflow, tf_keras, expected):
    done = imported(tmp_path, tensorflow, tf_keras)
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(
    ("tensorflow", "tf_keras", "fault"),
    [
        ("2.14.1", None, "runs with TensorFlow 2.15 to 2.21. Found: 2.14.1"),
        ("2.22.0", "2.22.0", "runs with TensorFlow 2.15 to 2.21. Found: 2.22.0"),
        ("2.16.2", None, "needs the package tf-keras.*pip install 'tf-keras==2.16.*'"),
        ("2.21.0", "2.20.1", "Found: tf-keras 2.20.1; pip install 'tf-keras==2.21.*'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, tensorflow, tf_keras, fault):
    done = imported(tmp_path, tensorflow, tf_keras)
    last = done.stderr.strip().splitlines()[-1]
    assert re.match("ImportError: .*" + fault.replace("*'", r"\*'"), last), last


def test_a_fault_inside_tf_keras_is_not_hidden(tmp_path):
    done = imported(tmp_path, "2.21.0", "2.21.0", code="import numpie")
    assert "No module named 'numpie'" in done.stderr
    assert "needs the package" not in done.stderr
