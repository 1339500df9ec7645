"""Takes a data set from its raw file to the prepared form that training reads.

Example: python -m data.prepare --dataset=csv --source=log.csv.gz --name=shop

docs/your_data.md shows one command for each form of log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from data import command_line, filter_flags, log_flags
from data.registry import DATASETS

if TYPE_CHECKING:
    from data.request import Request

_DATASET = flags.DEFINE_enum(
    "dataset",
    None,
    sorted(DATASETS),
    "What to prepare; csv is a file of yours, of any form.",
    required=True,
)
_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "A local file to read instead of downloading: csv, tsv, txt, dat, inter, jsonl or "
    "parquet, each also packed (.gz, .zip); or a folder with one file each of "
    "training, validation and test events.",
)
_TRAIN_FILE = flags.DEFINE_string(
    "train_file", None, "Training events of a log that is split already."
)
_VALID_FILE = flags.DEFINE_string("valid_file", None, "Its validation events.")
_TEST_FILE = flags.DEFINE_string("test_file", None, "Its test events.")
_NAME = flags.DEFINE_string(
    "name", None, "Name of the result, for --dataset of other commands."
)
_SPLIT = flags.DEFINE_enum(
    "split",
    None,
    ["global_time", "by_date", "per_user", "leave_one_out", "as_released"],
    "What trains, validates and tests. Default: the data set's; of a log global_time, "
    "which needs timestamps. as_released: of instruments and toys, as their authors "
    "cut the file.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data/prepared", "Where to write.")
_RAW_DIR = flags.DEFINE_string("raw_dir", "data/raw", "Where downloads are kept.")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Show what would be taken, with what is odd; write nothing."
)
_KEEP_PAST = flags.DEFINE_bool(
    "keep_past",
    False,
    "Keep what a user had before among the candidates and the negatives: for data "
    "where items are had again.",
)
_ALLOW_MISMATCH = flags.DEFINE_bool(
    "allow_mismatch", False, "Only warn where user or item counts are not Table 1's."
)
_RATING_ABOVE = flags.DEFINE_float(
    "rating_above", None, "Keep ratings above this. Default: the data set's rule."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the synthetic data.", lower_bound=0)
_UTC_OFFSET_HOURS = flags.DEFINE_float(
    "utc_offset_hours", 8.0, "Clock of the split by date; 8 is China's."
)
flags.adopt_module_key_flags(log_flags)
flags.adopt_module_key_flags(filter_flags)


def main() -> None:
    request = _request()
    if _DRY_RUN.value:
        from data.describe import preview

        sys.stdout.write(preview(request) + "\n")
        return
    from data.build import write
    from data.describe import describe

    data = write(request)
    sys.stdout.write(describe(data) + f"\nWritten: {data.folder}\n")


def _request() -> Request:
    from data.request import Request

    return Request(
        dataset=_DATASET.value,
        data_dir=Path(_DATA_DIR.value),
        raw_dir=Path(_RAW_DIR.value),
        source=Path(_SOURCE.value) if _SOURCE.value else None,
        files=_files(),
        name=_NAME.value,
        split=_SPLIT.value,
        rating_above=_RATING_ABOVE.value,
        allow_mismatch=_ALLOW_MISMATCH.value,
        seed=_SEED.value,
        utc_offset_hours=_UTC_OFFSET_HOURS.value,
        options=log_flags.options(),
        filters=filter_flags.filters(),
        keeps_past=_KEEP_PAST.value,
    )


def _files() -> dict[str, Path] | None:
    from data.errors import UserError

    given = {
        "train": _TRAIN_FILE.value,
        "valid": _VALID_FILE.value,
        "test": _TEST_FILE.value,
    }
    files = {part: Path(path) for part, path in given.items() if path}
    missing = sorted(given.keys() - files.keys())
    if len(missing) == len(given):
        return None
    if missing or _SOURCE.value:
        raise UserError(
            "--train_file, --valid_file and --test_file go together, and without "
            f"--source. Missing: {', '.join(missing) or 'none'}."
        )
    return files


if __name__ == "__main__":
    command_line.run(
        main, stopped="Stopped. Nothing was written; what was downloaded is kept."
    )
