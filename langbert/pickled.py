"""Reads a pickle as data. Nothing is imported, called or built: there is nothing a hostile file could make happen.

A pickle is a program for a small stack machine. Python's own ``pickle`` runs it with any class that the file names;
here the few instructions that spell out data are understood, a name of a class stays a name, and what would be an
object becomes an :class:`Instance` that says how it would have been made. A name that was not announced is refused, and
so is every other instruction.

Memory grows with the size of the file, not with the numbers written in it. Values that the file uses in many places are
shared, as in the original, so a walk through the result can be far longer than the file: whoever walks sets a limit.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import IO, Any

from .errors import UnsafePickle

__all__ = ["Instance", "read_pickle"]


@dataclass(frozen=True, slots=True)
class _Name:
    full: str


@dataclass(slots=True)
class Instance:
    """An object that a pickle describes, never made.

    Attributes:
        name: ``module.Class``, one of the allowed names.
        args: what its class would have been called with.
        state: what would have been set on it.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)


_SETS = {"builtins.set", "builtins.frozenset", "__builtin__.set", "__builtin__.frozenset"}
_ORDERED = "collections.OrderedDict"
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BINSTRING", "SHORT_BINSTRING"),  # of Python 2
}
_MARK = object()


def read_pickle(source: bytes | IO[bytes], allowed: Collection[str], *, name: str, persistent: str = "") -> Any:
    """What the pickle (protocols 2 to 5) describes: lists (sets too), tuples, dicts, str, bytes, numbers, bools, None
    and :class:`Instance` of classes in ``allowed``.

    Args:
        source: its bytes, or a file that is read to the pickle's end and no further.
        allowed: full names, ``module.Class``.
        name: of the file, for messages.
        persistent: what an :class:`Instance` for something that lies outside of the pickle is called; by default there
            can be none.

    Raises:
        UnsafePickle: a name that is not in ``allowed``, or an instruction that data does not need.
        ValueError: the file is cut short or no pickle.
    """
    try:
        return _Machine(frozenset(allowed) | _SETS, name, persistent).run(source)
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError, struct.error) as error:
        raise ValueError(f"{name} is damaged or no pickle ({error})") from error


class _Machine:
    def __init__(self, allowed: frozenset[str], name: str, persistent: str) -> None:
        self._allowed = allowed
        self._file = name
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, source: bytes | IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(source):
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        (result,) = self._stack
        return result

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in _LITERALS:
            stack.append(argument)
            return
        if opcode in _VALUES:
            stack.append(_VALUES[opcode])
            return
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._push_tuple(int(opcode[-1]))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "FROZENSET":
                stack.append(self._since_mark())
            case "APPEND":
                value = stack.pop()
                self._top(list).append(value)
            case "APPENDS" | "ADDITEMS":
                values = self._since_mark()
                self._top(list).extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._top(dict)[_key(key)] = value
            case "SETITEMS":
                values = self._since_mark()
                pairs = zip(values[::2], values[1::2], strict=True)
                self._top(dict).update((_key(key), value) for key, value in pairs)
            case "GLOBAL":
                self._push_name(argument.replace(" ", "."))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                self._push_name(f"{module}.{attribute}")
            case "NEWOBJ" | "REDUCE":
                args = stack.pop()
                self._push_instance(stack.pop(), args)
            case "BINPERSID" if self._persistent:
                args = stack.pop()
                if not isinstance(args, tuple):
                    raise ValueError(f"what lies outside is named by a {type(args).__name__}")
                stack.append(Instance(self._persistent, args))
            case "BUILD":
                state = stack.pop()
                self._build(state)
            case _:
                raise UnsafePickle(f"{self._file} holds the pickle instruction {opcode}, which data does not need")

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"items for a {kind.__name__} come upon a {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _since_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _push_tuple(self, length: int) -> None:
        values = tuple(self._stack[-length:])
        if len(values) != length or any(value is _MARK for value in values):
            raise ValueError(f"a tuple of {length} needs as many values")
        self._stack[-length:] = [values]

    def _push_name(self, name: str) -> None:
        if name not in self._allowed:
            raise UnsafePickle(
                f"{self._file} wants {name[:80]!r}, which has no business there: nothing of the file was run or kept"
            )
        self._stack.append(_Name(name))

    def _push_instance(self, made_by: Any, args: Any) -> None:
        if not isinstance(made_by, _Name) or not isinstance(args, tuple):
            raise UnsafePickle(
                f"{self._file} wants to call a {type(made_by).__name__}; only known classes may be named"
            )
        if made_by.full == _ORDERED:
            self._stack.append({_key(key): value for key, value in (args[0] if args else ())})
        elif made_by.full not in _SETS:
            self._stack.append(Instance(made_by.full, args))
        elif not args:
            self._stack.append([])
        else:
            (items,) = args
            if not isinstance(items, list):
                raise ValueError("a set is made of a list")
            self._stack.append(items)

    def _build(self, state: Any) -> None:
        if type(self._stack[-1]) is dict:
            return  # attributes of an OrderedDict
        target = self._top(Instance)
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if part is not None and not isinstance(part, dict):
                raise ValueError(f"the state of a {target.name} is a {type(part).__name__}, not a dict")
            target.state.update(part or {})


def _key(key: Any) -> Any:
    if key is not None and not isinstance(key, str | int | float | bytes):
        raise ValueError(f"a dict key is a {type(key).__name__}")
    return key
