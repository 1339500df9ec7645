"""Nothing that a user could be sent is ever unpickled or evaluated.

Pickles run what their writer wants. The authors' files are pickles, and are read as
opcodes (`data/opcode_reader.py`); everything that we write ourselves is of other forms.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for path in ROOT.glob("*/**/*.py")
    if path.relative_to(ROOT).parts[0] not in ("tests", "build")
    and not path.relative_to(ROOT).parts[0].startswith(".")
)
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "read_pickle", "to_pickle", "enable_unsafe_deserialization"}


def faults_of(text):
    """Lines that load or write pickles, or evaluate text, as `line: what`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [(node.module or "").split(".")[0]]
        found += [f"{node.lineno}: {name}" for name in names if name in MODULES]
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {fault}" for fault in _faults_of_call(node)]
    return found


def _faults_of_call(node):
    function = node.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    owner = getattr(getattr(function, "value", None), "id", "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in CALLS and (isinstance(function, ast.Name) or name not in ("eval",)):
        yield name
    if (owner, name) in (("np", "load"), ("np", "save")):
        allowed = given.get("allow_pickle")
        if not (isinstance(allowed, ast.Constant) and allowed.value is False):
            yield f"np.{name} without allow_pickle=False"
    elif "allow_pickle" in given:
        yield "allow_pickle"
    if (owner, name) == ("torch", "load") and "weights_only" not in given:
        yield "torch.load without weights_only"
    if getattr(given.get("safe_mode"), "value", True) is False:
        yield "safe_mode=False"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_loads_pickles_or_evaluates_text(path):
    assert faults_of(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "import numpy as np\nnp.load('a')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "pd.read_pickle('a')",
        "eval('1')",
        "torch.load('a')",
        "keras.models.load_model('a', safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
    ],
)
def test_the_look_at_the_sources_finds_what_it_is_for(text):
    assert faults_of(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "import pickletools",
        "model.eval()",
        "import numpy as np\nnp.load('a', allow_pickle=False)",
        "np.save('a', rows, allow_pickle=False)",
    ],
)
def test_it_lets_what_is_safe_pass(text):
    assert faults_of(text) == []


def test_there_are_sources_to_look_at():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} >= {
        *("data", "mgnm_tf", "baselines", "experiments", "benchmarks")
    }
