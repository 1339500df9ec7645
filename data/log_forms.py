"""Which columns of a log are user, item and time, recognised by names and rows."""

from __future__ import annotations

import dataclasses
import re

from data.errors import UserError
from data.log_options import ROLES, LogOptions


@dataclasses.dataclass(frozen=True)
class Form:
    """What a log's columns mean.

    Attributes:
        name: of a known form, or how the columns were found.
        columns: the file's own name of each role's column.
        note: what to know of the choice, a sentence.
    """

    name: str
    columns: dict[str, str]
    note: str = ""


# The forms that are known by their header: needed columns, and roles.
_HEADERS: tuple[tuple[str, dict[str, str], str], ...] = (
    (
        "Amazon reviews 2023",
        {"user": "user_id", "item": "parent_asin", "timestamp": "timestamp"},
        "",
    ),
    (
        "Amazon reviews 2014 or 2018",
        {"user": "reviewerID", "item": "asin", "timestamp": "unixReviewTime"},
        "",
    ),
    (
        "RetailRocket",
        {"user": "visitorid", "item": "itemid", "timestamp": "timestamp"},
        "All events count, of any kind; --where=event=transaction keeps one kind.",
    ),
    (
        "Diginetica",
        {
            "user": "sessionId",
            "item": "itemId",
            "timestamp": "eventdate",
            "order": "timeframe",
        },
        "A user is a session, since few events name a user.",
    ),
    (
        "Diginetica",
        {
            "user": "session_id",
            "item": "item_id",
            "timestamp": "eventdate",
            "order": "timeframe",
        },
        "A user is a session, since few events name a user.",
    ),
    (
        "Yelp reviews",
        {"user": "user_id", "item": "business_id", "timestamp": "date"},
        "",
    ),
    (
        "Steam reviews",
        {"user": "username", "item": "product_id", "timestamp": "date"},
        "",
    ),
    (
        "KuaiRand",
        {"user": "user_id", "item": "video_id", "timestamp": "time_ms"},
        "",
    ),
)
# What else columns are called, without case and signs.
_ALIASES = {
    "user": ("user", "userid", "uid", "visitorid", "reviewerid", "customerid"),
    "item": (
        *("item", "itemid", "iid", "movieid", "asin", "parentasin", "productid"),
        *("businessid", "videoid", "articleid", "trackid", "artistid", "newsid"),
    ),
    "timestamp": (
        *("timestamp", "timestamps", "time", "unixtime", "timems", "datetime", "date"),
        *("unixreviewtime", "eventtime", "eventdate", "createdat", "ts"),
    ),
    "rating": ("rating", "ratings", "stars", "overall", "score", "isclick"),
    "order": ("order",),
}
# What shops call them. These names count where no column has one of the above, so that
# logs are read as they were before these were known.
_SHOPS_ALIASES = {
    "user": (
        *("customer", "customernumber", "customerno", "client", "clientid", "visitor"),
        *("member", "memberid", "account", "accountid", "buyer", "buyerid", "shopper"),
        "shopperid",
    ),
    "item": (
        *("sku", "skuid", "product", "productcode", "productsku", "productno"),
        *("article", "articlecode", "articleno", "itemcode", "itemsku", "stockcode"),
    ),
    "timestamp": (
        *("orderedat", "purchasedat", "boughtat", "occurredat", "orderdate"),
        *("purchasedate", "invoicedate", "transactiondate", "ordertime"),
        *("purchasetime", "transactiontime", "orderdatetime", "eventtimestamp"),
    ),
}
_TIMES = ("timestamp", "order")


def recognise_header(
    names: list[str], options: LogOptions, where: str = "row 1"
) -> Form | None:
    """The form of a log by the names of its columns; None if they do not tell.

    Args:
        names: of the columns, as they are written.
        options: columns that are given; the others are looked for.
        where: the names stand, for errors.

    Raises:
        UserError: if a given column is not there, or stands there twice.
    """
    columns = dict(options.columns)
    for name in [*columns.values(), *options.where]:
        if name not in names:
            raise UserError(
                f"{where} has no column `{name}`. Received: {_shown(names)}. Without a "
                "header, columns have numbers and --no_header says so."
            )
    form = None if columns else _known(names)
    if form is None:
        for aliases in (_ALIASES, _SHOPS_ALIASES):
            wanted = ["user", "item", "rating"]
            if not {*_TIMES} & {*columns}:
                wanted += _TIMES
            for role in wanted:
                if role not in columns:
                    taken = {*columns.values()}
                    column = _alias(names, role, aliases, where, taken)
                    if column is not None:
                        columns[role] = column
        form = Form("columns by their names", columns)
        if not {"user", "item"} <= {*columns} or not {*_TIMES} & {*columns}:
            return None
    _check_once(names, [*form.columns.values(), *options.where], form, where)
    return form


def recognise_rows(rows: list[list[str]], separator: str) -> Form | None:
    """The form of a log without a header by its first rows; None if they differ."""
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        return None
    columns = list(zip(*rows))
    if separator == "::" and width == 4 and _all(_NUMBER, columns[3]):
        return _by_position("MovieLens", user=1, item=2, rating=3, timestamp=4)
    if width == 4 and _all(_NUMBER, columns[2]) and _all(_NUMBER, columns[3]):
        return _amazon(columns)
    if width == 5 and _all(_BEHAVIOUR, columns[3]) and _all(_NUMBER, columns[4]):
        form = _by_position("Taobao UserBehavior", user=1, item=2, timestamp=5)
        note = "All events count, of any kind; --where=4=buy keeps one kind."
        return dataclasses.replace(form, note=note)
    if separator == "\t" and width == 5 and _all(_ISO, columns[1]):
        place = _all(_NUMBER, columns[2]) and _all(_NUMBER, columns[3])
        if place:
            return _by_position("Gowalla check-ins", user=1, timestamp=2, item=5)
    if separator == "\t" and width == 6 and _all(_ISO, columns[1]):
        form = _by_position("Last.fm 1K", user=1, timestamp=2, item=4)
        return dataclasses.replace(
            form,
            note="An item is an artist by name; "
            "--no_header --columns=user=1,timestamp=2,item=6 takes tracks.",
        )
    return None


def ask_for_columns(names: list[str], where: str, options: LogOptions) -> UserError:
    """The error for columns that cannot be told, which says what is missing."""
    recognised = recognised_roles(names, options)
    missing = [role for role in ("user", "item") if role not in recognised]
    if missing:
        what = f"{where} has no column that is known as the {' or the '.join(missing)}"
    else:
        what = (
            f"{where} has neither a time (`timestamp`, seconds since the epoch) nor "
            "`order` (0, 1, 2, ... within a user); one of them says what comes next"
        )
    return UserError(
        f"{what}. Received: {_shown(names)}. Name the columns: "
        "--columns=user=...,item=...,timestamp=... (or order=...); if that row is an "
        "event, add --no_header and give their numbers, from 1 on."
    )


def recognised_roles(names: list[str], options: LogOptions) -> dict[str, str]:
    """Which roles names tell, each at most one column."""
    columns = dict(options.columns)
    for role in ROLES:
        matching = _matching(names, role) or _matching(names, role, _SHOPS_ALIASES)
        if role not in columns and matching:
            columns[role] = matching[0]
    return columns


def plain(name: str) -> str:
    """A column's name without the type that RecBole's headers add."""
    return re.sub(r":(token|float|token_seq|float_seq)$", "", name)


_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?(e[+-]?\d+)?\s*", re.IGNORECASE)
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
_BEHAVIOUR = re.compile("pv|buy|cart|fav")
# Amazon's items have ten characters (ASIN or ISBN), its reviewers more.
_ASIN = re.compile(r"B[0-9A-Z]{9}|\d{9}[\dX]")
_REVIEWER = re.compile(r"A[0-9A-Z]{10,}")


def _amazon(columns: list[tuple[str, ...]]) -> Form | None:
    first, second = columns[:2]
    if _all(_ASIN, second) and _most(_REVIEWER, first):
        return _by_position(
            "Amazon ratings, user first", user=1, item=2, rating=3, timestamp=4
        )
    if _all(_ASIN, first) and _most(_REVIEWER, second):
        return _by_position(
            "Amazon ratings, item first", item=1, user=2, rating=3, timestamp=4
        )
    return None


def _all(pattern: re.Pattern[str], column: tuple[str, ...]) -> bool:
    return all(pattern.fullmatch(field) for field in column)


def _most(pattern: re.Pattern[str], column: tuple[str, ...]) -> bool:
    """Whether nine rows of ten match: some old reviewers have other ids."""
    return sum(map(bool, map(pattern.fullmatch, column))) >= 0.9 * len(column)


def _by_position(name: str, **positions: int) -> Form:
    return Form(name, {role: str(number) for role, number in positions.items()})


def _known(names: list[str]) -> Form | None:
    for name, needed, note in _HEADERS:
        if {*needed.values()} <= {*names}:
            columns = dict(needed)
            ratings = _matching(names, "rating")
            if len(ratings) == 1:
                columns["rating"] = ratings[0]
            return Form(name, columns, note)
    return None


def _matching(
    names: list[str], role: str, aliases: dict[str, tuple[str, ...]] = _ALIASES
) -> list[str]:
    exact = [name for name in names if name == role]
    if exact:
        return exact[:1]
    return [
        name
        for name in dict.fromkeys(names)
        if re.sub("[^a-z0-9]", "", name.lower()) in aliases.get(role, ())
    ]


def _alias(
    names: list[str],
    role: str,
    aliases: dict[str, tuple[str, ...]],
    where: str,
    taken: set[str],
) -> str | None:
    matching = [name for name in _matching(names, role, aliases) if name not in taken]
    if len(matching) > 1 and role == "rating":
        return None  # Nothing uses it, as a rule.
    if len(matching) > 1:
        raise UserError(
            f"{where}: several columns could be the {role}: {_shown(matching)}. Say "
            f"which one: --columns={role}={matching[0]}."
        )
    return matching[0] if matching else None


def _check_once(names: list[str], used: list[str], form: Form, where: str) -> None:
    for name in used:
        places = [str(i) for i, other in enumerate(names, 1) if other == name]
        if len(places) > 1:
            raise UserError(
                f"{where} names the column `{name}` {len(places)} times (columns "
                f"{' and '.join(places)}). Give each column a name of its own."
            )
    columns = [*form.columns.values()]
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(f"--columns takes the column `{name}` for two things.")


def _shown(names: list[str]) -> str:
    text = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return text if len(text) <= 300 else f"{text[:300]}..."
