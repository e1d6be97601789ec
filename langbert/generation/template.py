"""Chat templates, which come with a model and are programs: rendered with a budget, and with nothing to reach out for.

Jinja's immutable sandbox keeps a template from attributes that lead into Python. What it does not bound is work:
``{{ "a" * 10**10 }}``, loops in loops, a list that holds itself twice forty times over. Here each turn of a loop, call,
filter, comparison and new value is paid for, by its size, from a budget that a conversation has a thousand times over;
whatever could make much of little is asked for its size before it is made; and filters and methods are a closed list.
"""

# ruff: noqa: N802 - a visitor is called by the name of what it visits

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from string import Formatter
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from ..errors import CheckpointError
from ..models.files.limits import limit

# By default; docs/security.md says how they are set.
_LONGEST_SOURCE = 400_000  # characters; the longest that models come with have a tenth
_STEPS = 3_000_000  # parts of a template that may be worked out in one rendering: a second or two
_LARGEST = 4_000_000  # characters or items that one value may have, beside those of the conversation
_CHARACTERS = 64  # that are copied or compared in the time of a step

_TEXT_METHODS = """
capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric
isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rindex rjust
rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill
"""
_FILTERS = """
abs batch capitalize center count d default dictsort e escape first float groupby indent int items join last length list
lower map max min reject rejectattr replace reverse round safe select selectattr slice sort string sum title trim
truncate unique upper wordcount
"""
_PADDING = ("batch", "center", "ljust", "rjust", "slice", "zfill")  # what they make is as long as they are told
# fields of '{}'.format and '%s' %, and parts of a date, that are no wider than 99
_FIELD = re.compile(r"[^\d{}]*\d{0,2}(?:,|_)?(?:\.\d{1,2})?[a-zA-Z%]?")
_PERCENT = re.compile(r"(?:[^%]|%(?:\(\w+\))?[-+ #0]*\d{0,2}(?:\.\d{1,2})?[a-zA-Z%])*")
_DATE = re.compile(r"(?:[^%]|%-?[a-zA-Z%]){0,100}")
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
}
_ERRORS = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError)
_FAILURES = (*_ERRORS, RecursionError, MemoryError)


class _Budget:
    def __init__(self, characters: int) -> None:
        self.steps = limit("TEMPLATE_STEPS", _STEPS)
        self.largest = limit("TEMPLATE_CHARACTERS", _LARGEST) + 4 * characters
        self.left = self.steps + characters

    def pay(self, steps: int, size: int = 0) -> None:
        """For so many steps and a value of that size, which may not be made yet."""
        if size > self.largest:
            raise TemplateError(
                f"it makes a value of {size:,} characters, expected at most {self.largest:,}; "
                "if you trust it, raise LANGBERT_TEMPLATE_CHARACTERS"
            )
        self.left -= steps + size // _CHARACTERS
        if self.left < 0:
            raise TemplateError(
                f"it takes more than {self.steps:,} steps, as if it would never end; "
                "if you trust it, raise LANGBERT_TEMPLATE_STEPS"
            )


_budget: ContextVar[_Budget] = ContextVar("budget")


class ChatTemplate:
    """A template, ready to be rendered.

    Args:
        source: Jinja as checkpoints carry it.

    Raises:
        CheckpointError: it does not parse, or is longer than any.
    """

    def __init__(self, source: str) -> None:
        longest = limit("TEMPLATE_LENGTH", _LONGEST_SOURCE)
        if len(source) > longest:
            raise CheckpointError(
                f"the model's chat template has {len(source):,} characters, expected at most {longest:,}; "
                "if you trust it, raise LANGBERT_TEMPLATE_LENGTH"
            )
        _budget.set(_Budget(0))  # constants are worked out as it is compiled
        try:
            self._template = _ENVIRONMENT.from_string(source)
        except (*_FAILURES, SyntaxError) as error:
            raise CheckpointError(f"the model's chat template cannot be read: {_reason(error)}") from error

    def render(self, messages: list[dict[str, str]], *, ask: bool, tokens: Mapping[str, str]) -> str:
        """The conversation as one text.

        Args:
            ask: whether it ends open for the assistant's turn.
            tokens: what the template may refer to beside the messages.

        Raises:
            CheckpointError: the template fails, would make too much of it, or takes too long.
        """
        _budget.set(_Budget(sum(len(message["content"]) for message in messages)))
        try:
            return self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=ask, **tokens
            )
        except _FAILURES as error:
            roles = ", ".join(message["role"] for message in messages[:20])
            raise CheckpointError(
                f"the model's chat template cannot render turns of {roles}: {_reason(error)}"
            ) from error


def _reason(error: BaseException) -> str:
    return f"{str(error) or type(error).__name__:.300}"


def _size(value: Any) -> int:
    """Characters and items of a value as it would be written out: what is in it twice counts twice, and costs once."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, int):
        return value.bit_length() // 3 + 1
    if not isinstance(value, list | tuple | Mapping):
        if isinstance(value, Namespace):
            raise TemplateError("a namespace is no value")
        return 1
    sizes: dict[int, int] = {}
    waiting: list[tuple[Any, bool]] = [(value, False)]
    while waiting:
        here, seen = waiting.pop()
        inside = [*here.keys(), *here.values()] if isinstance(here, Mapping) else here
        if seen:
            plain = (1 + sizes[id(part)] if id(part) in sizes else 1 + _size(part) for part in inside)
            sizes[id(here)] = 1 + sum(plain)
        elif id(here) not in sizes:
            _budget.get().pay(3 * len(inside))
            waiting.append((here, True))
            waiting += ((part, False) for part in inside if isinstance(part, list | tuple | Mapping))
    return sizes[id(value)]


def _checked(value: Any, steps: int = 1) -> Any:
    _budget.get().pay(steps, _size(value))
    return value


class _Turns:
    """What a loop goes through, each turn paid for."""

    def __init__(self, values: Iterable[Any], steps: int) -> None:
        self._values, self._steps = values, steps

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            _budget.get().pay(self._steps)
            yield value

    def __len__(self) -> int:
        return len(self._values)  # type: ignore[arg-type]


_VALUE, _LOOP = "a value", "a loop"  # names that no template can spell


class _Priced(NodeTransformer):
    """Puts a price on everything in a template that may cost something."""

    def visit_For(self, node: nodes.For) -> Any:
        steps = 1 + sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _LOOP, nodes.Const(steps))
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_Compare(self, node: nodes.Compare) -> Any:
        self.generic_visit(node)
        node.expr = _priced(node.expr)
        for operand in node.ops:
            operand.expr = _priced(operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        self.generic_visit(node)
        return _priced(node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> Any:
        self.generic_visit(node)
        return _priced(node)

    def visit_Dict(self, node: nodes.Dict) -> Any:
        self.generic_visit(node)
        return _priced(node)

    def visit_Tuple(self, node: nodes.Tuple) -> Any:
        self.generic_visit(node)
        return _priced(node) if node.ctx == "load" else node


def _filtered(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _priced(node: nodes.Expr) -> Any:
    return node if isinstance(node, nodes.Const) else _filtered(node, _VALUE)


def _counted(name: str, function: Any) -> Callable[..., Any]:
    """A filter or test that pays for what it is given and what it makes."""
    own = 1 if hasattr(function, "jinja_pass_arg") else 0  # of Jinja's: the context or environment

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        values = [*args[own:], *kwargs.values()]
        for value in values:
            _checked(value)
        if name in ("replace", "join"):
            _foresee(name, *args[own:], **kwargs)
        if name in _PADDING:
            _pad(*values[1:])
        if name in ("indent", "round") and any(isinstance(value, int) and value > 100 for value in values[1:]):
            raise TemplateError(f"{name} by more than 100")
        return _checked(function(*args, **kwargs))

    return counted


def _foresee(name: str, text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    """Pays for what is about to be made: a text with ``new`` in place of ``old``, or a list's with ``old`` between."""
    if name == "replace":
        size = len(str(text)) + (str(text).count(str(old)) if str(old) else len(str(text)) + 1) * len(str(new))
    else:
        size = (_size(text) + 1) * (1 + len(str(old)))
    _budget.get().pay(1, size)


def _pad(*widths: Any) -> None:
    """Pays for so many characters or items."""
    for width in widths:
        if isinstance(width, int):
            _budget.get().pay(max(0, width), max(0, width))


def _fill(text: str, n_fields: int, *values: Any) -> None:
    """Pays for a text in whose fields the values are written, any of them in each."""
    _budget.get().pay(1 + n_fields, len(text) + n_fields * (100 + sum(map(_size, values))))


class _Generation(Extension):
    """``{% generation %}``, which marks for a trainer what is the model's: here, what is in it."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        extensions = [LoopControlExtension, _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_checked)
        self.filters = {name: _counted(name, FILTERS[name]) for name in _FILTERS.split()}
        self.filters |= {"tojson": _counted("tojson", _tojson), _VALUE: _checked, _LOOP: _Turns}
        self.tests = {name: _counted(name, test) for name, test in TESTS.items()}
        known = {name: self.globals[name] for name in ("range", "namespace", "dict")}
        self.globals = {**known, "raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed = super()._parse(source, name, filename)
        priced: nodes.Template = _Priced().visit(parsed)
        return priced

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format``, whose fields may be of any width, with narrow ones."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None or value.__name__ != "format":
            return None

        def narrow(*args: Any, **kwargs: Any) -> str:
            text = value.__self__
            fields = [spec or "" for _, name, spec, _ in Formatter().parse(text) if name is not None]
            if not all(map(_FIELD.fullmatch, fields)):
                raise TemplateError(f"a text is formatted as {text!r:.80}")
            _fill(text, len(fields), *args, *kwargs.values())
            return wrapped(*args, **kwargs)

        return narrow

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, methods in _METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return isinstance(obj, LoopContext | Namespace | Macro) and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        steps = 50 if isinstance(__obj, Macro | LoopContext) else 1
        own = ("_loop_vars", "_block_vars")  # Jinja's, for functions of its own
        for value in (*args, *(value for name, value in kwargs.items() if name not in own)):
            if not (isinstance(value, Namespace) and isinstance(__obj, Macro)):
                _checked(value)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _checked(owner)
            if __obj.__name__ == "replace":
                _foresee("replace", owner, *args)
            if __obj.__name__ == "join":
                _foresee("join", args[0] if args else "", owner)
            if __obj.__name__ in _PADDING:
                _pad(*args)
        made = super().call(__context, __obj, *args, **kwargs)
        _budget.get().pay(steps, 0 if isinstance(made, Namespace) else _size(made))
        return made

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        budget = _budget.get()
        if operator == "*":
            budget.pay(1, _times(left, right))
        elif operator == "**" and not (_small(left) and _small(right)):
            raise TemplateError("a power of large numbers")
        elif operator == "%" and isinstance(left, str):
            if not _PERCENT.fullmatch(left):
                raise TemplateError(f"a text is formatted as {left!r:.80}")
            _fill(left, left.count("%"), right)
        elif operator == "+":
            budget.pay(1, _size(left) + _size(right))
        return _checked(super().call_binop(context, operator, left, right))

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        budget, total, kept = _budget.get(), 0, []
        for part in parts:
            total += len(part)
            budget.pay(1 + len(part) // _CHARACTERS, 0)
            if total > budget.largest:
                budget.pay(0, total)
            kept.append(part)
        return "".join(kept)


def _times(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return _size(left) + _size(right)
    values = [_size(value) if not isinstance(value, int) else max(value, 0) for value in (left, right)]
    return values[0] * values[1]


def _small(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) <= 64


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    """Today, as transformers tells it to templates."""
    if not _DATE.fullmatch(form):
        raise TemplateError(f"a date is written as {form!r:.80}")
    return datetime.now().strftime(form)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, with the arguments that transformers takes: Jinja's own filter escapes it for HTML."""
    if indent is not None and not 0 <= indent <= 16:
        raise TemplateError(f"tojson with an indent of {indent}")
    if separators and max(map(len, separators)) > 16:
        raise TemplateError("tojson with long separators")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


_ENVIRONMENT = _Environment()
