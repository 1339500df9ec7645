"""What each form of log is told, and how its ids and times are read."""

from __future__ import annotations

from data.log_options import LogOptions, parse_columns
from tests import logs


def options(**given):
    if "columns" in given:
        given["columns"] = parse_columns(given["columns"])
    return LogOptions(**given)


def amazon(**more):
    return {"user": logs.reviewer, "item": logs.asin, **more}


def prefixed(user, item, **more):
    return {"user": lambda u: f"{user}{u}", "item": lambda i: f"{item}{i}", **more}


# File -> what it is told, how ids are named, and the unit of its times.
UNDERSTOOD = {
    "log.csv": {},
    "ratings.dat": {},
    "ratings.csv": {},
    "shop.inter": {},
    "ratings_Toys_and_Games.csv": amazon(),
    "Toys_and_Games.csv": amazon(),
    "Toys_and_Games_5.json.gz": amazon(),
    "Toys_and_Games.csv.gz": amazon(unit="ms"),
    "events.csv": {"unit": "ms"},
    "UserBehavior.csv": {},
    "yelp_academic_dataset_review.json": prefixed("u", "b", unit="iso"),
    "steam_reviews.json.gz": prefixed("u", "", unit="iso"),
    "loc-gowalla_totalCheckins.txt.gz": {"unit": "iso"},
    "lastfm.tsv": {
        "user": lambda u: f"user_{u:06d}",
        "item": lambda i: f"Artist {i}",
        "unit": "iso",
    },
    "purchases.parquet": {
        "options": options(columns="user=customer_id,item=sku,timestamp=ms"),
        "unit": "ms",
    },
    "excel.csv": {
        "options": options(columns="user=Customer,item=Product,timestamp=Bought at"),
        "unit": "iso",
    },
    "dump.txt": {
        "options": options(columns="user=3,item=2,timestamp=1", no_header=True),
        "unit": "us",
    },
    "log.csv.zip": {},
}
