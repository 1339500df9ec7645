"""Reads pickle files without unpickling them.

A pickle is a program for a small machine with a stack and a memo, and some of its
instructions import and call whatever the file names. This module runs those that build
lists, tuples, dicts, strings and numbers, by itself; the table of opcodes and the
functions that read their arguments are `pickletools`', which only describes them. At
any other opcode it stops: nothing is imported, called or built, whatever the file says.
The module `pickle` is not used at all.
"""

from __future__ import annotations

import contextlib
import mmap
import pickletools
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import UserError

# Every opcode there is, by its byte: name, and the function that reads its argument.
_READERS: dict[bytes, tuple[str, Any]] = {
    opcode.code.encode("latin-1"): (opcode.name, opcode.arg and opcode.arg.reader)
    for opcode in pickletools.opcodes
}
# BININT1, BININT2 and BININT, of which a file of ids and times is nearly all made.
_INTEGERS = re.compile(rb"(?:K.|M..|J....){1,1000}", re.DOTALL)
# Opcodes that read no place of the memo, and no text.
_NOTHING_RECALLED = re.compile(
    rb"(?:K.|M..|J....|q.|r....|G.{8}|[(elt\]}\x85-\x89\x94]){1,1000}", re.DOTALL
)
_BININT, _BININT2 = b"JM"
_signed = struct.Struct("<i").unpack_from

# Opcodes that push their argument.
_VALUES = frozenset(
    [
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    ]
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])
_GETS = frozenset(["GET", "BINGET", "LONG_BINGET"])
_IGNORED = frozenset(["PROTO", "FRAME"])
_MOST_OPEN = 10_000_000  # values on the stack; a pickler puts away 1,000 at a time


def read_dict(path: Path) -> dict[Any, Any]:
    """Reads a file that holds one dict, of any pickle protocol.

    Raises:
        UserError: for anything that is not made of containers, strings and numbers,
            naming the opcode and the byte; for a damaged file.
    """
    machine = _Machine(path)
    for _ in machine.run():
        pass
    if not isinstance(machine.result, dict):
        kind = type(machine.result).__name__
        raise UserError(f"{path} holds a {kind}, where a dict is expected.")
    return machine.result


def stream_list(path: Path) -> Iterator[list[Any]]:
    """Reads a file that holds one list, some of its elements at a time.

    The list is never whole in memory. What the file itself refers to again is kept,
    and nothing else, so that memory stays within a small multiple of the file's size
    however often parts of it are repeated; elements that repeat are the same object.

    Yields:
        The next elements, as many as the file adds at once (1,000 as a rule).

    Raises:
        UserError: as `read_dict`.
    """
    machine = _Machine(path)
    yield from machine.run()
    if machine.result is not machine.streamed or machine.streamed is None:
        kind = type(machine.result).__name__
        raise UserError(f"{path} holds a {kind}, where a list is expected.")


class _Machine:
    """The safe part of the pickle machine.

    Attributes:
        streamed: the outermost list, which stays empty; its elements are yielded.
        result: what the file holds, once it is read.
    """

    def __init__(self, path: Path) -> None:
        self.streamed: list[Any] | None = None
        self.result: Any = None
        self._path = path
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._memoized = 0  # by MEMOIZE, which counts; PUT gives numbers
        self._numbered = False

    def run(self) -> Iterator[list[Any]]:
        with _opened(self._path) as file:
            recalled = self._recalled(file)
            stack = self._stack
            position = 0
            try:
                for position, name, argument in self._opcodes(file, _INTEGERS):
                    # These three hold nearly all of a file.
                    if name == "INTEGERS":
                        stack.extend(_integers(argument))
                    elif name in _VALUES:
                        stack.append(argument)
                    elif name in _PUTS:
                        self._numbered = True
                        self._put(argument, recalled)
                        continue
                    elif added := self._step(name, argument, recalled, position):
                        yield added
                    if len(stack) > _MOST_OPEN:
                        raise UserError(
                            f"{self._path}: more than {_MOST_OPEN:,} values are open "
                            f"at byte {position}. It is not a file of records."
                        )
            except (IndexError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._path} is damaged: its opcode at byte {position} does not "
                    "fit the ones before it. Fetch or copy it again."
                ) from error

    def _recalled(self, file: mmap.mmap) -> set[int]:
        """The places of the memo that are read at all; the others are never filled."""
        return {
            argument
            for _, name, argument in self._opcodes(file, _NOTHING_RECALLED)
            if name in _GETS
        }

    def _opcodes(
        self, file: mmap.mmap, in_one: re.Pattern[bytes]
    ) -> Iterator[tuple[int, str, Any]]:
        """Position, name and argument of each opcode; those of `in_one` together."""
        match, readers = in_one.match, _READERS
        position, name = 0, ""
        while name != "STOP":
            # `pickletools.genops` would need several times as long.
            if integers := match(file, position):
                yield position, "INTEGERS", integers.group()
                position = integers.end()
                continue
            if position >= len(file):
                raise self._damaged(position, "it ends before its last opcode")
            code = file[position : position + 1]
            if code not in readers:
                raise self._damaged(position, f"there is no opcode {code!r}")
            name, read = readers[code]
            file.seek(position + 1)
            argument = None
            if read is not None:
                try:
                    argument = read(file)
                except (ValueError, OverflowError) as error:
                    raise self._damaged(position, str(error)) from error
            yield position, name, argument
            position = file.tell()
        if position != len(file):
            raise self._damaged(
                position, f"{len(file) - position} bytes follow the last opcode"
            )

    def _damaged(self, position: int, reason: str) -> UserError:
        return UserError(
            f"{self._path} is damaged at byte {position}: {reason}. Fetch or copy it "
            "again."
        )

    def _step(
        self, name: str, argument: Any, recalled: set[int], position: int
    ) -> list[Any] | None:
        """One opcode; elements of the outermost list, where it adds any."""
        stack = self._stack
        if name == "MARK":
            self._marks.append(len(stack))
        elif name in _EMPTY:
            self._push_container(_EMPTY[name]())
        elif name in _TUPLES:
            self._push_container(tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            self._push_container(tuple(self._pop_to_mark()))
        elif name == "LIST":
            items = self._pop_to_mark()
            self._push_container([])
            return self._append(items)
        elif name == "DICT":
            items = self._pop_to_mark()
            self._push_container({})
            self._set(items)
        elif name == "APPEND":
            return self._append(self._pop(1))
        elif name == "APPENDS":
            return self._append(self._pop_to_mark())
        elif name == "SETITEM":
            self._set(self._pop(2))
        elif name == "SETITEMS":
            self._set(self._pop_to_mark())
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            if self._numbered:
                # Which number this one has would depend on all the others.
                raise self._damaged(position, "it numbers its parts in two ways")
            self._put(self._memoized, recalled)
            self._memoized += 1
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            if self._marks and self._marks[-1] == len(stack):
                self._marks.pop()
            else:
                stack.pop()
        elif name == "POP_MARK":
            self._pop_to_mark()
        elif name == "STOP":
            (self.result,) = self._pop_all()
        elif name not in _IGNORED:
            said = "" if argument is None else f" ({argument!s:.80})"
            raise UserError(
                f"{self._path}: the opcode {name}{said} at byte {position} is refused: "
                "these files hold lists, tuples, dicts, strings and numbers, and this "
                "would make or call something else. Nothing of it was executed."
            )
        return None

    def _put(self, place: int, recalled: set[int]) -> None:
        if place in recalled:
            self._memo[place] = self._stack[-1]

    def _push_container(self, container: Any) -> None:
        outermost = not self._stack and not self._marks and self.streamed is None
        if outermost and isinstance(container, list):
            self.streamed = container
        self._stack.append(container)

    def _append(self, items: list[Any]) -> list[Any] | None:
        target = self._stack[-1]
        if target is self.streamed:
            return items
        if type(target) is not list:
            raise TypeError
        target.extend(items)
        return None

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError
        target.update(zip(items[::2], items[1::2]))

    def _pop(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise IndexError
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _pop_all(self) -> list[Any]:
        if self._marks or len(self._stack) != 1:
            raise IndexError
        return self._stack


def _integers(run: bytes) -> list[int]:
    numbers, at = [], 0
    while at < len(run):
        code = run[at]
        if code == _BININT:
            numbers.append(_signed(run, at + 1)[0])
            at += 5
        elif code == _BININT2:
            numbers.append(run[at + 1] | run[at + 2] << 8)
            at += 3
        else:
            numbers.append(run[at + 1])
            at += 2
    return numbers


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    """The file as memory: reading past its end gives what there is, at no cost."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty.")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        yield mapped
