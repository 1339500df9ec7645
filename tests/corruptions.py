"""Damage to files, drawn with a seed: what the campaign of test_campaign.py tries."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 2022


@dataclasses.dataclass(frozen=True)
class Damage:
    """One file made another.

    Attributes:
        file: its path, relative to the folder.
        kind: what is done to it.
        content: what it then holds; None deletes it.
    """

    file: str
    kind: str
    content: bytes | None

    def __str__(self) -> str:
        return f"{self.file}-{self.kind}"

    def apply(self, folder: Path) -> None:
        path = folder / self.file
        if self.content is None:
            path.unlink()
        else:
            path.write_bytes(self.content)


def of_folder(folder: Path, seed: int = SEED) -> list[Damage]:
    """Every kind of damage to every file of a folder, its sub-folders apart."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            found += of_file(path, seed)
    return found


def of_file(path: Path, seed: int = SEED) -> list[Damage]:
    """Every kind of damage to one file."""
    whole = path.read_bytes()
    rng = np.random.default_rng([seed, *path.name.encode()])
    contents: dict[str, bytes | None] = {
        "deleted": None,
        "emptied": b"",
        "halved": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "one byte more": whole + b"\0",
        "other bytes": rng.bytes(len(whole)),
        "zeros": bytes(len(whole)),
    }
    for number, place in enumerate(rng.integers(0, len(whole), 4)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        contents[f"flipped bit {number}"] = bytes(flipped)
    contents |= _BY_SUFFIX.get(path.suffix, lambda _: {})(path)
    return [
        Damage(path.name, kind, content)
        for kind, content in contents.items()
        if content != whole
    ]


def _of_array(path: Path) -> dict[str, bytes | None]:
    array = np.load(path)
    wider = np.concatenate([array, array[-1:]])
    changed = {
        "negative": -array,
        "a shorter array": array[:-1],
        "a longer array": wider,
        "another type": array.astype(np.float64),
        "a smaller type": array.astype(np.int16),
        "another shape": array.reshape(1, *array.shape),
        "reversed": array[::-1],
        "all one": np.ones_like(array),
        "the largest": np.full_like(array, np.iinfo(array.dtype).max),
        "another byte order": array.astype(array.dtype.newbyteorder()),
    }
    found: dict[str, bytes | None] = {}
    for kind, one in changed.items():
        text = io.BytesIO()
        np.save(text, one, allow_pickle=False)
        found[kind] = text.getvalue()
    text = io.BytesIO()
    np.save(text, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return {**found, "a pickle": text.getvalue()}


def _of_json(path: Path) -> dict[str, bytes | None]:
    content = json.loads(path.read_text())
    found: dict[str, object] = {"a list": [content], "a number": 1, "null": None}
    first = sorted(content)[0]
    found["a key less"] = {k: v for k, v in content.items() if k != first}
    found["a key more"] = {**content, "unknown": 1}
    found["a changed number"] = _changed(content)
    texts = {kind: json.dumps(one).encode() for kind, one in found.items()}
    deep = b"[" * 100_000 + b"]" * 100_000
    huge = b'{"a": ' + b"9" * 5_000 + b"}"
    return {**texts, "deep nesting": deep, "a huge number": huge, "not UTF-8": b"\xff{"}


def _changed(content: object) -> object:
    """The same with the first of its numbers or hashes another one."""
    done = False

    def walk(value: object) -> object:
        nonlocal done
        if done:
            return value
        if isinstance(value, dict):
            return {key: walk(one) for key, one in value.items()}
        if isinstance(value, list):
            return [walk(one) for one in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            done = True
            return value + 1
        if isinstance(value, str) and len(value) == 64:
            done = True
            return "0" * 64
        return value

    return walk(content)


def _of_table(path: Path) -> dict[str, bytes | None]:
    table = pd.read_parquet(path)
    column = table.columns[-1]
    changed = {
        "a row less": table.iloc[:-1],
        "a row more": pd.concat([table, table.iloc[-1:]]),
        "a column less": table.drop(columns=column),
        "two rows swapped": table.iloc[[1, 0, *range(2, len(table))]],
        "another name": table.rename(columns={column: "other"}),
    }
    numbers = table.select_dtypes("number").columns
    if len(numbers):
        changed["a changed number"] = table.assign(
            **{numbers[-1]: table[numbers[-1]] + 1}
        )
    found: dict[str, bytes | None] = {}
    for kind, one in changed.items():
        text = io.BytesIO()
        one.to_parquet(text, index=False)
        found[kind] = text.getvalue()
    return found


def _of_lines(path: Path) -> dict[str, bytes | None]:
    lines = path.read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    other = json.dumps({**first, "what": "nothing"}).encode() + b"\n"
    return {
        "a line that is a list": b"[1]\n" + b"".join(lines),
        "a changed line": other + b"".join(lines[1:]),
        "an empty line": b"\n" + b"".join(lines),
    }


_BY_SUFFIX: dict[str, Callable[[Path], dict[str, bytes | None]]] = {
    ".npy": _of_array,
    ".json": _of_json,
    ".jsonl": _of_lines,
    ".parquet": _of_table,
}


def sample(cases: list[tuple[Damage, str, str]], count: int, seed: int = SEED) -> list:
    """Some of the cases (damage, folder, command), all files about as often."""
    rng = np.random.default_rng(seed)
    by_file: dict[tuple[str, str], list] = {}
    for number in rng.permutation(len(cases)):
        damage, folder, _ = case = cases[number]
        by_file.setdefault((folder, damage.file), []).append(case)
    pools = [by_file[name] for name in sorted(by_file)]
    return [pools[n % len(pools)].pop() for n in range(count)]
