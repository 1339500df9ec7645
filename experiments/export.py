"""Exports a finished run as a SavedModel that needs nothing of this project.

Example: python -m experiments.export --run_dir=runs/shop-mgnm --to=bundles/shop
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from harness import command_line

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of a finished run.", required=True
)
_TO = flags.DEFINE_string(
    "to",
    None,
    "Folder of the bundle; TensorFlow Serving's model_base_path.",
    required=True,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Where `data.prepare` wrote. If given, the bundle holds the histories of all users "
    "of the log too; and a run from before runs kept their raw ids is completed.",
)


def main() -> None:
    from harness import standalone, vocabulary
    from serving.export import export

    run_dir, to = Path(_RUN_DIR.value), Path(_TO.value)
    data_dir = Path(_DATA_DIR.value) if _DATA_DIR.value else None
    if data_dir and not (run_dir / vocabulary.SUMMARY).exists():
        standalone.complete(run_dir, data_dir)
    export(run_dir, to, data_dir)
    logging.info("Written: %s", to)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
