"""Which files the paper's authors released of each Amazon category, and where."""

from __future__ import annotations

import dataclasses

COMMIT = "7637726"
URL = f"https://github.com/WHUIR/MGNM/raw/{COMMIT}/clear_data/"
SPLIT = "as_released"


@dataclasses.dataclass(frozen=True)
class Release:
    """The files of one category.

    Attributes:
        category: what their names begin with.
        records: name and checksum of the instances; a zip holds one member.
        users: name and checksum of the dict of users' numbers.
        items: name and checksum of the dict of items' numbers.
        sizes: bytes of the files whose size is known.
    """

    category: str
    records: tuple[str, str]
    users: tuple[str, str]
    items: tuple[str, str]
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """Names and checksums."""
        return dict([self.records, self.users, self.items])

    @property
    def raw_names(self) -> tuple[str, str]:
        """What the file of raw ratings of the same category is called."""
        name = f"ratings_{self.category}.csv"
        return name, f"{name}.gz"


INSTRUMENTS = Release(
    category="Musical_Instruments",
    records=(
        "Musical_Instruments_train_set.pkl",
        "git-blob:dd3478265d66df4fe718d6d49fbe10f6593ed565",
    ),
    users=(
        "Musical_Instruments_user2id.pkl",
        "git-blob:c0c0f7be6fdc48f5685dfb5ca581896a1f440a87",
    ),
    items=(
        "Musical_Instruments_item2id.pkl",
        "git-blob:76592c682833e099c3fcb86297c0752f9f41cb4c",
    ),
    sizes={
        "Musical_Instruments_user2id.pkl": 1_623_353,
        "Musical_Instruments_item2id.pkl": 1_294_023,
    },
)
TOYS = Release(
    category="Toys_and_Games",
    records=(
        "Toys_and_Games_train_set.pkl.zip",
        "git-blob:cbdca5787ce226516d8284112595cbb6334b32b3",
    ),
    users=(
        "Toys_and_Games_user2id.pkl",
        "git-blob:9ea9cb1de4da0d5beb066357918f5996b3bcac4e",
    ),
    items=(
        "Toys_and_Games_item2id.pkl",
        "git-blob:e30b9cb7d7d2b618d1d9fd571124257af38a6abc",
    ),
)
