"""Pickles of others, read without running anything: a small machine that knows lists, numbers, texts and NumPy arrays.

A pickle is a program, and Python's own reader runs it: it can call any function, and a hundred bytes can ask for
gigabytes. Here each step of the program is looked at first. Nothing is imported, no size is believed that the file does
not hold, and no message repeats what the file holds beyond a few characters. What is refused is named.
"""

from __future__ import annotations

import codecs
import math
import mmap
import pickle
import pickletools
import re

import numpy as np

from ..errors import DataError

SLACK = 4096
"""Bytes that may be made beyond the size of the file: none of the known files needs any."""
MAX_DIMENSIONS = 8


def read_plain_pickle(path, holds, *, floats=False):
    """What a pickle holds, if it is made of plain things only.

    Parameters
    ----------
    path : str or Path
        The file.
    holds : str
        What such a file should hold, for messages: "images and flags".
    floats : bool, default=False
        Whether NumPy arrays and scalars of floats are accepted too.

    Returns
    -------
    object
        Lists, tuples, dicts with keys of text or integers, bytes, str, bool, int, float, None; a NumPy array is an
        `Array`; what nobody needs, such as a set, an `Other` with its name. Things may be shared: don't walk through
        all that is nested.

    Raises
    ------
    DataError
        Naming what the file tries to load, or that it is damaged.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Machine(content, path, holds, floats).run()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: damaged, or not a pickle of {holds} ({error})") from error
    except Exception as error:  # a broken pickle can raise nearly anything; its words may repeat the whole file
        raise DataError(f"{path}: damaged, or not a pickle of {holds} ({type(error).__name__})") from None


class Array:
    """A pickled NumPy array, rebuilt from its bytes without NumPy's own unpickling; `value` is an array or a list."""

    __slots__ = ("value",)

    def __init__(self, value=None):
        self.value = value

    def tobytes(self):
        """The bytes of the array as the file has them: no copy, however many arrays share them."""
        return self.value.base if isinstance(self.value.base, bytes) else self.value.tobytes()


class Other:
    """Something that a file holds and nobody needs; `name` says what."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name


class _DType:
    __slots__ = ("code", "order")

    def __init__(self, code):
        self.code, self.order = code, "="


class _Global:
    """One of the few functions a file may call. It has no state to set."""

    __slots__ = ("call",)

    def __init__(self, call):
        self.call = call


def short(value):
    """A text or a number as a few characters for a message; anything else by its type."""
    if isinstance(value, str | bytes):
        return repr(value if len(value) <= 60 else value[:60])
    small = isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**12)
    return str(value) if small else type(value).__name__


def _text(value):
    return value.decode("ascii") if isinstance(value, bytes) else value


class _Machine:
    """Runs the steps of one pickle. `memo` is a dict and strings are cut from the file: no step can ask for space."""

    def __init__(self, content, path, holds, floats):
        self.content, self.path, self.holds = content, path, holds
        self.types = r"b1|[iu][1248]|O8?" + ("|f[248]" if floats else "")
        self.left = len(content) + SLACK
        self.stack, self.marks, self.memo = [], [], {}

    def run(self):
        read = self.content.read
        while code := read(1):
            opcode = pickletools.code2op.get(code.decode("latin-1"))
            if opcode is None:
                raise pickle.UnpicklingError("an unknown step")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name == "STRING":
                argument = self._quoted()
            else:
                argument = opcode.arg.reader(self.content) if opcode.arg else None
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _VALUES:
                self.stack.append(argument)
            elif name in _BYTES:
                self.stack.append(argument.encode("latin-1") if isinstance(argument, str) else bytes(argument))
            elif (step := getattr(self, f"do_{name}", None)) is not None:
                step(argument)
            else:
                raise pickle.UnpicklingError(f"the step {name}")
        raise pickle.UnpicklingError("it ends in the middle")

    def _quoted(self):
        """Python 2 wrote byte strings as quoted text."""
        line = self.content.readline()
        if not line.endswith(b"\n") or len(line) < 3 or line[:1] not in b"'\"" or line[-2:-1] != line[:1]:
            raise pickle.UnpicklingError("a text without its quotes")
        return codecs.escape_decode(line[1:-2])[0]

    def refuse(self, what):
        raise DataError(
            f"{self.path}: refused, since it {what}; a file of {self.holds} holds nothing but lists, bytes, bools, "
            "ints and NumPy arrays. Don't open it with pickle.load, which could run a program; get it from its authors "
            "again"
        )

    def spend(self, count):
        self.left -= count
        if self.left < 0:
            raise pickle.UnpicklingError("it asks for more space than the file takes")

    # --- containers

    def do_PROTO(self, version):
        if version > pickle.HIGHEST_PROTOCOL:
            raise pickle.UnpicklingError(f"unknown version {version}")

    def do_FRAME(self, _):
        pass

    def do_MARK(self, _):
        self.marks.append(len(self.stack))

    def marked(self):
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def do_POP(self, _):
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def do_POP_MARK(self, _):
        self.marked()

    def do_DUP(self, _):
        self.stack.append(self.stack[-1])

    def do_EMPTY_LIST(self, _):
        self.stack.append([])

    def do_EMPTY_DICT(self, _):
        self.stack.append({})

    def do_LIST(self, _):
        self.stack.append(self.marked())

    def do_TUPLE(self, _):
        self.stack.append(tuple(self.marked()))

    def do_TUPLE1(self, _, n=1):
        items = tuple(self.stack[-n:])
        if len(items) != n:
            raise pickle.UnpicklingError("a tuple of nothing")
        self.stack[-n:] = [items]

    def do_TUPLE2(self, _):
        self.do_TUPLE1(_, 2)

    def do_TUPLE3(self, _):
        self.do_TUPLE1(_, 3)

    def do_APPEND(self, _):
        item = self.stack.pop()
        self.top(list).append(item)

    def do_APPENDS(self, _):
        items = self.marked()
        self.top(list).extend(items)

    def top(self, kind):
        if type(self.stack[-1]) is not kind:
            raise pickle.UnpicklingError(f"a step for a {kind.__name__} where there is none")
        return self.stack[-1]

    def do_DICT(self, _):
        items = self.marked()
        self.stack.append({})
        self.update(items)

    def do_SETITEM(self, _):
        items = [self.stack.pop(-2), self.stack.pop()]
        self.update(items)

    def do_SETITEMS(self, _):
        self.update(self.marked())

    def update(self, items):
        table = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int):  # the hash of nested tuples can take for ever
                raise pickle.UnpicklingError(f"a dict with a key of type {type(key).__name__}")
            table[key] = value

    def do_EMPTY_SET(self, _):
        self.stack.append(Other("set"))

    def do_ADDITEMS(self, _):
        self.marked()

    def do_FROZENSET(self, _):
        self.marked()
        self.stack.append(Other("frozenset"))

    # --- memo

    def do_MEMOIZE(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def do_PUT(self, index):
        self.memo[index] = self.stack[-1]

    do_BINPUT = do_LONG_BINPUT = do_PUT

    def do_GET(self, index):
        self.stack.append(self.memo[index])

    do_BINGET = do_LONG_BINGET = do_GET

    # --- names and calls

    def do_GLOBAL(self, name):
        self.name(*name.split(" ", 1))

    def do_STACK_GLOBAL(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def do_INST(self, name):
        self.marked()
        self.name(*name.split(" ", 1))
        raise pickle.UnpicklingError("an old way to call")

    def name(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name that is no text")
        call = _GLOBALS.get((module, name))
        if call is None:
            self.refuse(f"asks for {short(module)[1:-1]}.{short(name)[1:-1]}")
        self.stack.append(_Global(call))

    def do_PERSID(self, _):
        raise DataError(f"{self.path}: refused, since it refers to something outside of the file")

    do_BINPERSID = do_NEXT_BUFFER = do_PERSID

    def do_EXT1(self, _):
        raise pickle.UnpicklingError("an unregistered extension code")

    do_EXT2 = do_EXT4 = do_EXT1

    def do_REDUCE(self, _):
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("a call of something that can't be called")
        self.stack.append(function.call(self, *arguments))

    def do_BUILD(self, _):
        state, thing = self.stack.pop(), self.stack[-1]
        if isinstance(thing, _Global):
            raise pickle.UnpicklingError("an attempt to change the reader")
        if not isinstance(state, tuple):
            raise pickle.UnpicklingError("a state that is no tuple")
        if isinstance(thing, Array) and thing.value is None:
            _, shape, dtype, _, raw = state
            thing.value = self.array(raw, dtype, shape)
        elif isinstance(thing, _DType):
            order = _text(state[1])
            if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
                raise pickle.UnpicklingError("a structured NumPy dtype")
            thing.order = order
        else:
            raise pickle.UnpicklingError(f"a state for a {type(thing).__name__}")

    # --- the functions that stand in for those that a file may name

    def array(self, raw, dtype, shape):
        if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
            raise pickle.UnpicklingError("a malformed NumPy array")
        if not all(type(n) is int and 0 <= n <= len(self.content) for n in shape):
            raise pickle.UnpicklingError("a NumPy array whose bytes do not fit its shape")
        if dtype.code.startswith("O"):
            if type(raw) is not list or len(raw) != math.prod(shape):
                raise pickle.UnpicklingError("a malformed NumPy array of objects")
            return raw
        if isinstance(raw, bytearray):
            self.spend(len(raw))
            raw = bytes(raw)
        if not isinstance(raw, bytes):  # a number would be a size
            raise pickle.UnpicklingError("a NumPy array that does not hold bytes")
        kind = np.dtype(dtype.code).newbyteorder(dtype.order)
        if len(raw) != math.prod(shape) * kind.itemsize:
            raise pickle.UnpicklingError("a NumPy array whose bytes do not fit its shape")
        return np.frombuffer(raw, kind)

    def new_dtype(self, code, align=False, copy=True):
        code = _text(code)
        if not isinstance(code, str) or not re.fullmatch(self.types, code):
            raise pickle.UnpicklingError(f"a NumPy array of type {short(code)}")
        return _DType(code)

    def new_bytes(self, value=b"", encoding="latin-1", errors="strict"):
        """Bytes in pickles of the old protocols: text to be encoded. A number, which would be a size, is refused."""
        if isinstance(value, bytes | bytearray):
            self.spend(len(value))
            return bytes(value)
        if not isinstance(value, str) or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
            raise pickle.UnpicklingError("bytes in an unknown encoding")
        self.spend(len(value))
        return value.encode("latin-1")

    def no_call(self, *_):
        raise pickle.UnpicklingError("a call of numpy.ndarray")

    def reconstruct(self, *_):
        return Array()

    def scalar(self, dtype, raw):
        return self.array(raw, dtype, (1,)).tolist()[0]

    def from_buffer(self, raw, dtype, shape, order):
        return Array(self.array(raw, dtype, shape))


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
_BYTES = frozenset("STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split())
_GLOBALS = {
    ("numpy", "dtype"): _Machine.new_dtype,
    ("numpy", "ndarray"): _Machine.no_call,
    ("_codecs", "encode"): _Machine.new_bytes,
    **{(module, name): _Machine.new_bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
}
for _core in ("numpy.core", "numpy._core"):
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = _Machine.reconstruct
    _GLOBALS[f"{_core}.multiarray", "scalar"] = _Machine.scalar
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = _Machine.from_buffer
