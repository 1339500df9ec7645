"""The arrows between packages, checked on the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mgnm_tf

ROOT = Path(__file__).parent.parent
PACKAGES = ("mgnm_tf", "data", "baselines", "experiments")


def sources():
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source):
    """Our own modules that a source imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError("Imports must be absolute.")
            # `from data import split` names a module, `from x import y` may not.
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {module_name(path) for path in sources()}
            found |= inner & modules or {node.module}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def allowed(module, target):
    package, other = module.split(".")[0], target.split(".")[0]
    if package == "experiments":
        return True
    if package == "baselines":
        # The package gathers its models, which know nothing of each other.
        shared = target == "baselines.layers"
        return other == "mgnm_tf" or shared or module == "baselines" == other
    if package == "data":
        return other == "data" or target == "mgnm_tf.batch"
    if other != "mgnm_tf":
        return False
    if target in ("mgnm_tf.keras2", "mgnm_tf.checkout"):
        return module != target  # These import none of ours.
    if module.startswith("mgnm_tf.layers"):
        return target in ("mgnm_tf.ops", "mgnm_tf.batch")
    if target == "mgnm_tf.released":
        return False  # The released computation is there to be measured alone.
    if module in ("mgnm_tf.model", "mgnm_tf.released"):
        return target not in (module, "mgnm_tf.released")
    if module == "mgnm_tf.recommender":
        return target in ("mgnm_tf.ops", "mgnm_tf.batch", "mgnm_tf.objectives")
    return module == "mgnm_tf"  # Its public names; the rest imports none of ours.


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_a_module_imports_only_along_the_arrows(path):
    module = module_name(path)
    wrong = [name for name in imported(path.read_text()) if not allowed(module, name)]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data.split", "from mgnm_tf.model import MGNM"),
        ("data.split", "def late():\n    import experiments.runner"),
        ("baselines.mind", "from baselines.gru4rec import GRU4Rec"),
        ("baselines.mind", "from baselines import gru4rec"),
        ("baselines.mind", "from data import store"),
        ("mgnm_tf.model", "from baselines import BASELINES"),
        ("mgnm_tf.layers.shared_gcn", "from mgnm_tf.layers import level_scorer"),
        ("mgnm_tf.ops", "from mgnm_tf import batch"),
        ("mgnm_tf.model", "from mgnm_tf.released import ReleasedMGNM"),
    ],
)
def test_a_wrong_arrow_is_seen(module, source):
    assert not all(allowed(module, name) for name in imported(source))


def test_public_names_come_when_they_are_asked_for():
    command = (
        "import sys, mgnm_tf; assert 'tensorflow' not in sys.modules; "
        "print([getattr(mgnm_tf, name) for name in mgnm_tf.__all__])"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'mgmn'"):
        mgnm_tf.mgmn  # noqa: B018


def test_another_tensorflow_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr("tensorflow.__version__", "2.16.1")
    with pytest.raises(ImportError, match=r"TensorFlow 2\.15.*Found: 2\.16\.1"):
        mgnm_tf.MGNM  # noqa: B018
