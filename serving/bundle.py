"""What an exported folder holds, and whether it is still what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data import atomic, sentences
from data.errors import UserError
from data.manifest import file_hash
from harness import vocabulary
from harness.ledger import SEAL
from harness.run_folder import CONFIG, PASSPORT, WEIGHTS, read_json
from serving.histories import Histories

MANIFEST, HISTORIES = "manifest.json", "histories"
# Of what stands in the folder; one of another number is refused.
FORMAT = 1
_ARRAYS = ("items", "offsets", "times")


def check(folder: Path) -> None:
    """Compares the files of a bundle, or of a run, with the hashes beside them.

    Raises:
        UserError: naming the file that is missing or differs, or if the folder is
            neither a bundle nor a finished run.
    """
    manifest, seal = folder / MANIFEST, folder / SEAL
    if manifest.exists():
        content = read_json(manifest)
        if content.get("format") != FORMAT:
            raise UserError(
                f"{folder} is a bundle of format {content.get('format')}; this version "
                f"reads format {FORMAT}. Export the run again."
            )
        for name, expected in _entries(manifest, content, "files")["files"].items():
            vocabulary.check_hash(folder / name, expected)
        return
    if not (folder / PASSPORT).exists():
        what = "an unfinished run" if (folder / CONFIG).exists() else "no run"
        raise UserError(
            f"{folder} holds {what}. Run `python -m experiments.train ... "
            f"--run_dir={folder}` first."
        )
    if not seal.exists():
        raise UserError(
            f"{folder} has no {SEAL}, so its weights are not proven. Train again."
        )
    hashes = _entries(seal, read_json(seal), "config_sha256", "weights_sha256")
    vocabulary.check_hash(folder / CONFIG, hashes["config_sha256"])
    vocabulary.check_hash(folder / WEIGHTS, hashes["weights_sha256"])


def check_replace(folder: Path) -> None:
    """Refuses a folder that holds anything but a bundle as it was written.

    Raises:
        UserError: naming what is not ours.
    """
    if not (folder.exists() or folder.is_symlink()):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} is no folder. It stays as it is: choose another.")
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    files: dict[str, str] = {}
    if MANIFEST in found:
        content = read_json(folder / MANIFEST)
        files = content.get("files", {}) if "format" in content else {}
    others = sorted(found - ({MANIFEST, *files} if files else set()))
    if others:
        raise UserError(
            f"{folder} holds what `experiments.export` did not write: "
            f"{sentences.few(others)}. It stays as it is: choose another folder, or "
            "move that away."
        )


def _entries(path: Path, content: dict[str, Any], *names: str) -> dict[str, Any]:
    """The content of a file that must have some entries.

    Raises:
        UserError: if it lacks one.
    """
    missing = sorted({*names} - content.keys())
    if missing:
        raise UserError(
            f"{path} is damaged: it lacks {', '.join(missing)}. Copy the folder again."
        )
    return content


def write_manifest(folder: Path, about: dict[str, Any]) -> None:
    """Lists every file of a folder with its SHA-256; to be called last."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(folder)): file_hash(path) for path in files}
    atomic.write_json(folder / MANIFEST, {"format": FORMAT, **about, "files": hashes})


def write_histories(folder: Path, histories: Histories) -> None:
    """Writes the histories of all users of a run into its bundle."""
    (folder / HISTORIES).mkdir()
    for name in _ARRAYS:
        array = getattr(histories, name)
        if array is not None:
            np.save(folder / HISTORIES / f"{name}.npy", array, allow_pickle=False)


def read_histories(folder: Path) -> Histories | None:
    """The histories that a bundle holds, memory-mapped; None if it has none."""
    if not (folder / HISTORIES).is_dir():
        return None
    arrays = {
        path.stem: np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        for path in (folder / HISTORIES).glob("*.npy")
    }
    return Histories(arrays["items"], arrays["offsets"], arrays.get("times"))
