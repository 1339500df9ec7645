"""The data sets that `--dataset` names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import releases
from data.dataset_spec import DatasetSpec
from data.named import Download
from data.releases import Release

if TYPE_CHECKING:
    import pandas as pd

    from data.log_file import Log
    from data.log_options import LogOptions

_SNAP = "https://snap.stanford.edu/data/"
_AMAZON_2014 = f"{_SNAP}amazon/productGraph/categoryFiles/"
_AMAZON_2023 = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/benchmark/5core/"
    "rating_only/"
)
_GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
_KUAIRAND = "https://zenodo.org/records/10439422/files/"
_S3REC = (
    "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/"
    "2a81540ae18615d88ef88227b0c066e5b74781e5/data/"
)
# Those of the 33 categories that have a 5-core.
AMAZON_2023_CATEGORIES = (
    *("All_Beauty", "Arts_Crafts_and_Sewing", "Automotive", "Baby_Products"),
    *("Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl"),
    *("Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Electronics"),
    *("Gift_Cards", "Grocery_and_Gourmet_Food", "Health_and_Household"),
    *("Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store"),
    *("Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments"),
    *("Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Software"),
    *("Sports_and_Outdoors", "Tools_and_Home_Improvement", "Toys_and_Games"),
    *("Video_Games", "Unknown"),
)
_IMPLIED = (
    "The paper's interactions are not checked: the sizes of its id maps and Table 4's\n"
    "iterations, of the released code's 42 positives, imply about {}."
)


# The loaders are imported late: a command's --help shall not wait for pandas.
def _load_log(path: Path, options: LogOptions, with_rating: bool) -> Log:
    from data import log_file

    return log_file.load(path, options, with_rating)


def _load_movielens(path: Path) -> pd.DataFrame:
    from data import movielens

    return movielens.load(path)


def _fetch_movielens(raw_dir: Path) -> tuple[Path, str]:
    from data import movielens

    return movielens.fetch(raw_dir)


def _load_sequences(path: Path) -> pd.DataFrame:
    from data import named

    return named.load_sequences(path)


_RESEARCH = "research; no licence is stated"
_MOVIELENS = "research; no redistribution, no commercial use without permission"


def _amazon_2014(category: str, **more: Any) -> DatasetSpec:
    # No checksum is published; the counts are checked against Table 1 instead.
    return DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=Download(f"{_AMAZON_2014}ratings_{category}.csv"),
        rating_above=2.0,
        licence=_RESEARCH,
        **more,
    )


def _authors(release: Release, **more: Any) -> DatasetSpec:
    return DatasetSpec(
        load=_load_log,
        is_log=True,  # Where a file is given: raw ratings of the same category.
        fetch=None,
        release=release,
        rating_above=2.0,
        split=releases.SPLIT,
        licence=_RESEARCH,
        **more,
    )


def _amazon_2023(category: str) -> DatasetSpec:
    return DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=Download(f"{_AMAZON_2023}{category}.csv.gz", folder="amazon-2023"),
        licence=_RESEARCH,
    )


def _s3rec(
    name: str,
    sha256: str,
    shape: tuple[int, int, int],
    licence: str = _RESEARCH,
) -> DatasetSpec:
    """`user item item ...`, the order alone."""
    return DatasetSpec(
        load=_load_sequences,
        fetch=Download(f"{_S3REC}{name}.txt", "s3rec", f"sha256:{sha256}"),
        split="leave_one_out",
        shape=shape,
        licence=licence,
    )


def _kuairand(
    name: str,
    ending: str,
    md5: str,
    shape: tuple[int, int, int],
    size: int | None = None,
) -> DatasetSpec:
    """The standard logs; a click is a positive. Those of random videos stay out."""
    log = f"{name}/data/log_standard_{{}}_{ending}.csv"
    return DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=Download(
            f"{_KUAIRAND}{name}.tar.gz",
            folder="kuairand",
            checksum=f"md5:{md5}",
            size=size,
            members=(log.format("4_08_to_4_21"), log.format("4_22_to_5_08")),
        ),
        split="by_date",
        rating_above=0.0,
        shape=shape,
        licence="CC BY-SA 4.0",
    )


DATASETS: dict[str, DatasetSpec] = {
    "ml-100k": DatasetSpec(
        load=_load_movielens,
        fetch=_fetch_movielens,
        rating_above=2.0,
        licence=_MOVIELENS,
    ),
    # The paper's own two, as its authors released them, and the raw ratings of the
    # same categories, from which the paper says that it took them.
    "instruments": _authors(
        releases.INSTRUMENTS,
        table1=(60_739, 56_301, 946_627),
        note=_IMPLIED.format("203,000"),
    ),
    "toys": _authors(
        releases.TOYS,
        table1=(313_557, 241_657, 6_212_901),
        note=_IMPLIED.format("1.11 M"),
    ),
    "instruments-snap": _amazon_2014(
        "Musical_Instruments",
        table1=(60_739, 56_301, 946_627),
        note=_IMPLIED.format("203,000"),
    ),
    "toys-snap": _amazon_2014(
        "Toys_and_Games",
        table1=(313_557, 241_657, 6_212_901),
        note=_IMPLIED.format("1.11 M"),
    ),
    "micro_video": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=None,
        missing=(
            "The paper's Micro-video data are private to Kuaishou and are not "
            "published. If you have them, give the file to data.prepare as "
            "--source=FILE; a KuaiRand log loads too."
        ),
        split="by_date",
        rating_above=0.0,
        table1=(60_813, 292_286, 14_952_659),
    ),
    "toys-5core": _s3rec(
        "Toys_and_Games",
        "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
        (167_597, 19_412, 11_924),
    ),
    "beauty-5core": _s3rec(
        "Beauty",
        "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
        (198_502, 22_363, 12_101),
    ),
    "sports-5core": _s3rec(
        "Sports_and_Outdoors",
        "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
        (296_337, 35_598, 18_357),
    ),
    "yelp": _s3rec(
        "Yelp",
        "724b219106b81dd2349027da997334ddb6da9fe2f152ad6e0d97a93170f7caed",
        (316_354, 30_431, 20_033),
        licence="Yelp's terms: academic, no redistribution",
    ),
    "lastfm": _s3rec(
        "LastFM",
        "9ded486adb5b0fe9dc761950afa0a9a05e93ff018992e0c52bf11afec529f802",
        (52_551, 1_090, 3_646),
        licence="Last.fm's terms: no commercial use",
    ),
    "ml-1m": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=Download(
            f"{_GROUPLENS}ml-1m.zip",
            folder="ml-1m",
            checksum="md5:c4d9eecfca2ab87c1945afe126590906",
            members=("ml-1m/ratings.dat",),
        ),
        shape=(1_000_209, 6_040, 3_706),
        licence=_MOVIELENS,
    ),
    "ml-20m": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=Download(
            f"{_GROUPLENS}ml-20m.zip",
            folder="ml-20m",
            checksum="md5:cd245b17a1ae2cc31bb14903e1204af3",
            members=("ml-20m/ratings.csv",),
        ),
        shape=(20_000_263, 138_493, 26_744),
        licence=_MOVIELENS,
    ),
    "kuairand-pure": _kuairand(
        "KuaiRand-Pure",
        "pure",
        "0820331067a3784d9691136f772b35a7",
        (1_436_609, 27_285, 7_551),
        47_432_272,
    ),
    "kuairand-1k": _kuairand(
        "KuaiRand-1K",
        "1k",
        "6b0b9c8222d67fcd4c676218edca3f1f",
        (11_713_045, 1_000, 4_369_953),
    ),
    "gowalla": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=Download(
            f"{_SNAP}loc-gowalla_totalCheckins.txt.gz",
            checksum="md5:8ebd5ed2dd376d8982987c49429cb9f9",
        ),
        licence=_RESEARCH,
    ),
    "microlens": DatasetSpec(
        load=_load_log,
        is_log=True,
        # Size and shape fit the events that we have; the checksum is another
        # project's, computed from the published file.
        fetch=Download(
            "https://recsys.westlake.edu.cn/MicroLens-50k-Dataset/"
            "MicroLens-50k_pairs.csv",
            checksum=(
                "sha256:"
                "7ff8b91bcc84f5434ac2c5be7d0b7d7730f5e84f79f9648b5ae67a7641f97bbd"
            ),
            size=9_431_093,
        ),
        shape=(359_708, 50_000, 19_220),
        licence=_RESEARCH,
    ),
    **{
        f"amazon-2023-{category.lower()}": _amazon_2023(category)
        for category in AMAZON_2023_CATEGORIES
    },
    "csv": DatasetSpec(load=_load_log, fetch=None, is_log=True),
    # Made by `data.synthetic`: nothing to load.
    "synthetic": DatasetSpec(load=_load_log, fetch=None, is_log=True),
}
