"""The arrows between packages, checked on the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mgnm_tf

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "mgnm_tf",
    "data",
    "baselines",
    "harness",
    "serving",
    "experiments",
    "benchmarks",
)
# Inside `experiments`, each room may read those before it.
LEAVES = (
    "mgnm_tf.ops",
    "mgnm_tf.batch",
    "mgnm_tf.counted_draws",
    "mgnm_tf.sequence_encoders",
)  # They import none of ours.
ROOMS = ("results", "reports", "studies", "reproduction")


def sources():
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in sources()}


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
            found |= inner & MODULES or {node.module}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def allowed(module, target):
    package, other = module.split(".")[0], target.split(".")[0]
    if package == "benchmarks":
        return True
    if package == "experiments":
        return other != "benchmarks" and (
            other != "experiments" or downstairs(module, target)
        )
    if package == "serving":
        return other not in ("experiments", "benchmarks")
    if package == "harness":
        return other not in ("serving", "experiments", "benchmarks")
    if package == "baselines":
        # The package gathers its models, which know nothing of each other.
        shared = target == "baselines.layers"
        whole = module == "baselines" == other
        released = module.startswith("baselines.released")
        inner = released and target.startswith("baselines.released")
        return other == "mgnm_tf" or shared or whole or inner
    if package == "data":
        return other == "data" or target == "mgnm_tf.batch"
    if other != "mgnm_tf":
        return False
    if target == "mgnm_tf.keras2":
        return module != "mgnm_tf.batch"
    if module.startswith("mgnm_tf.layers"):
        return target in LEAVES
    if module in ("mgnm_tf.model",):
        return target != module
    if module == "mgnm_tf.recommender":
        return target in (*LEAVES, "mgnm_tf.objectives")
    if module == "mgnm_tf.command":
        return target == "mgnm_tf.checkout"
    return module == "mgnm_tf"  # Its public names; ops and batch import none of ours.


def room(module):
    """The room of `experiments` in which a module stands; a command stands in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def downstairs(module, target):
    """Whether the arrow goes to the same room or a lower one."""
    here, there = room(module), room(target)
    if there is None:
        return here is None  # No room imports a command.
    if here is None:
        return True
    if here == there == "studies":
        return module.split(".")[2] == target.split(".")[2]
    return ROOMS.index(there) <= ROOMS.index(here)


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_a_module_imports_only_along_the_arrows(path):
    module = module_name(path)
    wrong = [name for name in imported(path.read_text()) if not allowed(module, name)]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data.split", "from mgnm_tf.model import MGNM"),
        ("data.split", "def late():\n    import harness.runner"),
        ("baselines.mind", "from baselines.gru4rec import GRU4Rec"),
        ("baselines.mind", "from baselines import gru4rec"),
        ("baselines.mind", "from data import store"),
        ("mgnm_tf.model", "from baselines import BASELINES"),
        ("mgnm_tf.layers.shared_gcn", "from mgnm_tf.layers import level_scorer"),
        ("mgnm_tf.ops", "from mgnm_tf import batch"),
        ("mgnm_tf.model", "from baselines.released.model import ReleasedMGNM"),
        ("harness.runner", "from experiments import train"),
        ("harness.runner", "from serving import recommender"),
        ("serving.search", "from experiments.results import comparison"),
        ("experiments.train", "from benchmarks import tables"),
        ("experiments.results.comparison", "from experiments.reports import table2"),
        ("experiments.reports.table2", "from experiments.reproduction import grid"),
        (
            "experiments.studies.levels.look",
            "from experiments.studies.fragility import measure",
        ),
        ("experiments.reproduction.grid", "from experiments import train"),
    ],
)
def test_a_wrong_arrow_is_seen(module, source):
    assert not all(allowed(module, name) for name in imported(source))


def test_no_files_import_each_other():
    arrows = {
        module_name(path): sorted(imported(path.read_text()) - {module_name(path)})
        for path in sources()
    }
    done, under_way = set(), []

    def follow(module):
        assert module not in under_way, " -> ".join([*under_way, module])
        if module in done:
            return
        under_way.append(module)
        for target in arrows.get(module, ()):
            follow(target)
        under_way.pop()
        done.add(module)

    for module in arrows:
        follow(module)


def test_public_names_come_when_they_are_asked_for():
    command = "import sys, mgnm_tf; sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT)
    assert done.returncode == 0
    assert all(getattr(mgnm_tf, name) for name in mgnm_tf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'mgmn'"):
        mgnm_tf.mgmn  # noqa: B018


def test_no_test_file_imports_another():
    """What several need stands in a module of its own under tests/."""
    folder = ROOT / "tests"
    wrong = [
        (path.name, node.module, alias.name)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}".startswith(("tests.test_", "tests.conftest"))
    ]
    assert wrong == []
