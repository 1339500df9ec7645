"""What is asked of `data.prepare`, checked before anything is read."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from data import given_split, names, releases
from data.dataset_spec import DatasetSpec
from data.errors import UserError
from data.filters import Filters
from data.log_options import LogOptions
from data.registry import DATASETS
from data.releases import Release
from data.split import RULES


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of `data.prepare`.

    Attributes:
        dataset: a name of `DATASETS`.
        data_dir: the result goes to `<data_dir>/<name>/<split>`.
        raw_dir: keeps downloads.
        source: a local file instead of a download, or a folder of three.
        files: of a log that is split already, by part.
        name: of the result; None takes the data set's.
        split: a rule of `data.split`; None takes the data set's.
        rating_above: positives have more; None takes the data set's rule.
        allow_mismatch: warn instead of raising where Table 1 disagrees.
        seed: seeds the drawing of synthetic data.
        utc_offset_hours: time zone of the days by which the split by date cuts.
        options: what the user says about the log.
        filters: what is dropped, but for ratings.
        keeps_past: a user's past stays among the candidates and the negatives.
    """

    dataset: str
    data_dir: Path
    raw_dir: Path = Path("data/raw")
    source: Path | None = None
    files: dict[str, Path] | None = None
    name: str | None = None
    split: str | None = None
    rating_above: float | None = None
    allow_mismatch: bool = False
    seed: int = 0
    utc_offset_hours: float = 8.0
    options: LogOptions = dataclasses.field(default_factory=LogOptions)
    filters: Filters = dataclasses.field(default_factory=Filters)
    keeps_past: bool = False

    def __post_init__(self) -> None:
        names.check(self.result, "--name")
        rules = [*RULES, *([releases.SPLIT] if self.release else [])]
        if self.split is not None and self.split not in rules:
            raise UserError(
                f"`split` must be one of {sorted(rules)}. Received: {self.split}"
            )
        if self.split is not None and self.is_split:
            raise UserError(
                "--split and a log that is split already do not go together: its "
                "files say what trains, validates and tests."
            )
        if not abs(self.utc_offset_hours) <= 24:  # Also for NaN.
            raise UserError(
                f"--utc_offset_hours takes -24 to 24. Received: {self.utc_offset_hours}"
            )
        if self.rating_above is not None and not math.isfinite(self.rating_above):
            raise UserError(
                f"--rating_above takes a number. Received: {self.rating_above}"
            )

    @property
    def spec(self) -> DatasetSpec:
        return DATASETS[self.dataset]

    @property
    def release(self) -> Release | None:
        """The authors' files that are rebuilt; a file given instead is a log."""
        given = self.files or (self.source is not None and not self.source.is_dir())
        return None if given else self.spec.release

    @property
    def result(self) -> str:
        """The name of the result."""
        return self.name or self.dataset

    @property
    def is_split(self) -> bool:
        """Whether the log is split already."""
        if self.release is not None:
            return False  # The folder holds the authors' files.
        return bool(self.files) or (self.source is not None and self.source.is_dir())

    @property
    def rule(self) -> str:
        """How the result is split."""
        if self.is_split:
            return given_split.SPLIT
        of_log = self.spec.release is not None and self.release is None
        return self.split or ("global_time" if of_log else self.spec.split)

    @property
    def folder(self) -> Path:
        return self.data_dir / self.result / self.rule

    def identity(self) -> dict[str, Any]:
        """What, beside the source's content, tells one result from another."""
        asked = dataclasses.asdict(self.options)
        bounds = {key: _finite(asked[key]) for key in ("time_from", "time_until")}
        return {
            "dataset": self.dataset,
            "split": self.rule,
            "rating_above": self.rating_above,
            "options": {**asked, **bounds},
            "filters": dataclasses.asdict(self.filters),
            "keeps_past": self.keeps_past,
            "utc_offset_hours": self.utc_offset_hours,
            "seed": self.seed if self.dataset == "synthetic" else None,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
