"""Takes a data set from its raw file to the prepared form that training reads.

Example: python -m data.prepare --dataset=csv --source=log.csv.gz --name=shop
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from data import command_line
from data.registry import DATASETS

_DATASET = flags.DEFINE_enum(
    "dataset",
    None,
    sorted(DATASETS),
    "What to prepare; csv is a file of yours.",
    required=True,
)
_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "A local file to read instead of downloading: csv or csv.gz with the columns "
    "user,item[,rating][,timestamp|order], Amazon ratings without a header, or Amazon "
    "reviews as JSON lines.",
)
_NAME = flags.DEFINE_string(
    "name", None, "Name of the result, for --dataset of other commands."
)
_SPLIT = flags.DEFINE_enum(
    "split",
    None,
    ["global_time", "by_date", "per_user", "leave_one_out"],
    "What trains, validates and tests. Default: by_date for micro_video, else "
    "global_time, which needs timestamps.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data/prepared", "Where to write.")
_RAW_DIR = flags.DEFINE_string("raw_dir", "data/raw", "Where downloads are kept.")
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


def main() -> None:
    from data.build import describe, prepare

    data = prepare(
        _DATASET.value,
        data_dir=Path(_DATA_DIR.value),
        raw_dir=Path(_RAW_DIR.value),
        source=Path(_SOURCE.value) if _SOURCE.value else None,
        name=_NAME.value,
        split=_SPLIT.value,
        rating_above=_RATING_ABOVE.value,
        allow_mismatch=_ALLOW_MISMATCH.value,
        seed=_SEED.value,
        utc_offset_hours=_UTC_OFFSET_HOURS.value,
    )
    sys.stdout.write(describe(data) + f"\nWritten: {data.folder}\n")


if __name__ == "__main__":
    command_line.run(
        main, stopped="Stopped. Nothing was written; what was downloaded is kept."
    )
