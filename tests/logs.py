"""One small log in every form in which logs are passed on."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import zipfile

import pandas as pd

NUM_USERS, NUM_EVENTS, NUM_ITEMS = 12, 8, 40
START = 1_520_000_000
# By how much a file's times are earlier: those of the form lie in its nine days.
EARLIER = {"UserBehavior.csv": 8_342_000}


def events():
    """(user, item, seconds, rating), user after user, each in time order."""
    return [
        (user, (7 * user + 3 * step) % NUM_ITEMS, second(user, step), 3 + step % 3)
        for user in range(1, NUM_USERS + 1)
        for step in range(NUM_EVENTS)
    ]


def second(user, step):
    return START + 86_400 * step + 1_000 * user + 37 * step


def sequences(name_user=str, name_item=str, source=None):
    """The items and seconds of each user, in order; with the times of that file."""
    found = {}
    for user, item, time, _ in events():
        event = (name_item(item), time - EARLIER.get(source, 0))
        found.setdefault(name_user(user), []).append(event)
    return found


def of_steps():
    """The log as CSV whose times are numbers of a user's events."""
    rows = [
        f"{user},{item},{(time - START) // 86_400}" for user, item, time, _ in events()
    ]
    return "\n".join(["user,item,timestamp", *rows, ""])


def reviewer(user):
    return f"A{user:013d}"


def asin(item):
    return f"B{item:09d}"


def iso(time):
    return datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime(
        "%Y-%m-%d %H:%M:%S"
    )


def lines(row, header=""):
    text = "".join(row(*event) + "\n" for event in events())
    return (header + "\n" + text if header else text).encode()


def json_lines(row, dump=json.dumps):
    return lines(lambda *event: dump(row(*event)))


def parquet():
    buffer = io.BytesIO()
    rows = [(user, item, time * 1_000) for user, item, time, _ in events()]
    table = pd.DataFrame(rows, columns=["customer_id", "sku", "ms"])
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def zipped(name, data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def _steam(user, item, time, rating):
    row = {"username": f"u{user}", "product_id": str(item), "date": iso(time)}
    return "{" + ", ".join(f"u{k!r}: u{v!r}" for k, v in row.items()) + "}"


def plain(u, i, t, r):
    return f"{u},{i},{t}"


PLAIN = lines(plain, "user,item,timestamp")
BEHAVIOURS = ("pv", "pv", "cart", "buy")
EVENTS = ("view", "addtocart", "transaction")

# File name -> content. docs/your_data.md shows the first lines of each.
FILES = {
    "log.csv": PLAIN,
    "ratings.dat": lines(lambda u, i, t, r: f"{u}::{i}::{r}::{t}"),
    "ratings.csv": lines(
        lambda u, i, t, r: f"{u},{i},{r:.1f},{t}", "userId,movieId,rating,timestamp"
    ),
    "shop.inter": lines(
        lambda u, i, t, r: f"{u}\t{i}\t{r}\t{t}",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    ),
    "ratings_Toys_and_Games.csv": lines(
        lambda u, i, t, r: f"{reviewer(u)},{asin(i)},{r:.1f},{t}"
    ),
    "Toys_and_Games.csv": lines(
        lambda u, i, t, r: f"{asin(i)},{reviewer(u)},{r:.1f},{t}"
    ),
    "Toys_and_Games_5.json.gz": gzip.compress(
        json_lines(
            lambda u, i, t, r: {
                "overall": float(r),
                "reviewerID": reviewer(u),
                "asin": asin(i),
                "unixReviewTime": t,
            }
        )
    ),
    "Toys_and_Games.csv.gz": gzip.compress(
        lines(
            lambda u, i, t, r: f"{reviewer(u)},{asin(i)},{r:.1f},{t * 1_000 + 137}",
            "user_id,parent_asin,rating,timestamp",
        )
    ),
    "events.csv": lines(
        lambda u, i, t, r: f"{t * 1_000},{u},{EVENTS[i % 3]},{i},",
        "timestamp,visitorid,event,itemid,transactionid",
    ),
    "UserBehavior.csv": lines(
        lambda u, i, t, r: (
            f"{u},{i},{i % 5},{BEHAVIOURS[i % 4]},{t - EARLIER['UserBehavior.csv']}"
        )
    ),
    "yelp_academic_dataset_review.json": json_lines(
        lambda u, i, t, r: {
            "review_id": f"r{u}-{i}",
            "user_id": f"u{u}",
            "business_id": f"b{i}",
            "stars": float(r),
            "date": iso(t),
        }
    ),
    "steam_reviews.json.gz": gzip.compress(lines(_steam)),
    "loc-gowalla_totalCheckins.txt.gz": gzip.compress(
        lines(
            lambda u, i, t, r: f"{u}\t{iso(t).replace(' ', 'T')}Z\t30.23\t-97.79\t{i}"
        )
    ),
    "lastfm.tsv": lines(
        lambda u, i, t, r: (
            f"user_{u:06d}\t{iso(t).replace(' ', 'T')}Z\t\tArtist {i}\t"
            f'\tSong "{i}" live'
        )
    ),
    "train-item-views.csv": lines(
        lambda u, i, t, r: f"{u};NA;{i};{t % 86_400 * 1_000};{iso(t)[:10]}",
        "sessionId;userId;itemId;timeframe;eventdate",
    ),
    "purchases.parquet": parquet(),
    "excel.csv": (
        b"\xef\xbb\xbfCustomer;Product;Bought at\r\n"
        + lines(lambda u, i, t, r: f"{u};{i};{iso(t)}").replace(b"\n", b"\r\n")
    ),
    "dump.txt": lines(lambda u, i, t, r: f"{t * 1_000_000}|{i}|{u}"),
    "log.csv.zip": zipped("log.csv", PLAIN),
}


def write_split(folder):
    """The log as three files: each user's last event tests, and so on."""
    folder.mkdir()
    cuts = {"train": slice(0, 6), "valid": slice(6, 7), "test": slice(7, 8)}
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    for part, cut in cuts.items():
        text = header
        for user in range(NUM_USERS):
            rows = events()[user * NUM_EVENTS :][:NUM_EVENTS][cut]
            text += "".join(f"{u}\t{i}\t{t}\n" for u, i, t, _ in rows)
        (folder / f"shop.{part}.inter").write_text(text)
