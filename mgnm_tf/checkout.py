"""In a checkout: `mgnm_tf.serving` for the package `serving` beside this one.

Installed, the packages `data`, `harness`, ... lie inside `mgnm_tf`, and whoever uses
them writes `from mgnm_tf.serving import ...`. The same lines work in a checkout: there
`mgnm_tf.serving` is another name of the module `serving`, not a second copy of it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
ROOMS = ("baselines", "data", "experiments", "harness", "serving")
_PREFIX = "mgnm_tf."


def is_one() -> bool:
    """Whether this is a checkout, where the packages lie side by side."""
    return not (Path(__file__).parent / "data").is_dir()


def add_to_path() -> None:
    """Lets `import data` find the checkout's package first, wherever Python started."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


class Rooms(MetaPathFinder, Loader):
    """Finds `mgnm_tf.<room>...`, and gives the module that is named without it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        name = fullname[len(_PREFIX) :]
        if not fullname.startswith(_PREFIX) or name.split(".")[0] not in ROOMS:
            return None
        add_to_path()
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name == name:
                return None
            raise
        module_file = Path(module.__file__ or "")
        if ROOT not in module_file.parents:
            raise ImportError(
                f"{fullname} is the package {name} in {ROOT}, but Python has imported "
                f"another package of that name from {module_file.parent}: start "
                f"Python in {ROOT}, or install this package with `pip install {ROOT}`."
            )
        # Making the module from this spec puts it in the place of the module's own.
        return ModuleSpec(fullname, self, loader_state=module.__spec__)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name[len(_PREFIX) :]]

    def exec_module(self, module: ModuleType) -> None:
        """Gives the module its own spec back; it is executed already."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
