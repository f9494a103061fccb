"""Where a chat template runs: what `transformers` gives it, and no more work than a prompt needs.

Templates come with models, from anybody. Owns: which functions and filters a template finds; that
it reaches nothing but what it was given (jinja2's sandbox); and that it ends: all text that it
makes and all of its time are counted, each step is small, and a template that goes on beyond that
raises `TemplateError` as one that refuses. It knows no conversations.

Source: `transformers.utils.chat_template_utils`, which is the oracle of what templates find.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, Final, NoReturn

from jinja2 import Template, TemplateError, nodes, pass_environment
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

LONGEST_SOURCE = 1_000_000  # characters; the longest that are published have 20,000
LARGEST = 100_000  # numbers that say how often or how wide
MOST_BITS = 4_096  # of a number
_STEPS_PER_LOOK = 64  # at the clock

# What would make a text of any length out of a short one, and is of no use in a prompt.
_WITHOUT: Final = ("lipsum", "cycler", "joiner")
_WITHOUT_FILTERS: Final = ("urlize", "pprint", "xmlattr", "random")
# Filters by the names of their functions: those that put texts together, and lists into lists.
_JOINS: Final = ("do_join", "sync_do_join")
_NESTS: Final = ("do_batch", "do_slice", "sync_do_slice", "do_groupby", "sync_do_groupby")
# A width of five digits, or one that is given beside the form.
_WIDE = re.compile(r"\d{5}|%[^a-zA-Z%]*\*|\{[^{}:]*:[^{}]*\{")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Bounds:
    """How much work a template may make of one prompt.

    Attributes:
        seconds: of the processor; a window's worth of messages takes milliseconds.
        text: characters of all texts, and parts of all lists, that are made on the way.
        parts: of one value, those within its lists and objects too.
    """

    seconds: float = 10.0
    text: int = 1 << 28
    parts: int = 1_000_000


USUAL: Final = Bounds()


class _Count:
    """What one rendering has made, and when it must be done."""

    __slots__ = ("end", "steps", "text")

    def __init__(self, end: float) -> None:
        self.text = self.steps = 0
        self.end = end


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's environment for chat templates. Threads may share one, and its templates."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, now: Callable[[], datetime], bounds: Bounds = USUAL) -> None:
        self._bounds = bounds
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=self._written,
        )
        self._here = threading.local()

        def strftime_now(form: str) -> str:
            return now().strftime(form)

        self.filters["tojson"] = _to_json
        self.filters["sum"] = _sum
        self.globals.update(raise_exception=_refuse, strftime_now=strftime_now)
        for name in _WITHOUT:
            self.globals.pop(name)
        for name in _WITHOUT_FILTERS:
            self.filters.pop(name)
        self.filters.update({name: self._counted(f) for name, f in self.filters.items()})

    def compile_template(self, source: str) -> Template:
        """The template of that source. Raises TemplateError."""
        if len(source) > LONGEST_SOURCE:
            raise TemplateError(f"the template is longer than {LONGEST_SOURCE:,} characters")
        self._begin()
        try:
            return self.from_string(source)
        except RecursionError as error:
            raise TemplateError("the template is nested too deeply") from error

    def run(self, template: Template, **given: Any) -> str:
        """What the template writes. Raises what it raises, and TemplateError where it goes on."""
        self._begin()
        try:
            return template.render(**given)
        except MemoryError as error:
            raise TemplateError("the template makes more text than there is memory for") from error

    # --- counting -----------------------------------------------------------------------------

    def _begin(self) -> None:
        self._here.count = _Count(time.thread_time() + self._bounds.seconds)

    def spend(self, size: int = 1) -> bool:
        """Count a step that makes so much text. Raises TemplateError where it is too much."""
        count: _Count = self._here.count
        count.text += size
        count.steps += 1
        if count.text > self._bounds.text:
            most = f"{self._bounds.text:,} characters"
            raise TemplateError(f"the template makes more than {most} of text")
        looks = size > LARGEST or not count.steps % _STEPS_PER_LOOK
        if looks and time.thread_time() > count.end:
            raise TemplateError(f"the template takes more than {self._bounds.seconds:g} seconds")
        return True

    def _written(self, value: Any) -> Any:
        """What `{{ value }}` writes."""
        self._count_parts(value)
        return value

    def joined(self, *values: Any) -> str:
        """What `a ~ b` is."""
        for value in values:
            self._count_parts(value)
        texts = [str(value) for value in values]
        self.spend(sum(map(len, texts)))
        return "".join(texts)

    def made(self, value: Any) -> Any:
        """A list or an object that a template wrote down: lists of lists grow fast."""
        self._count_parts(value)
        return value

    def nested(self, values: Iterable[Any]) -> Iterable[Any]:
        """Lists of lists that a filter makes one by one."""
        for value in values:
            yield self.made(value)

    def _count_parts(self, value: Any) -> None:
        """Count a value's parts, those within them too, and the text in it, each time it stands
        there: written out it is as long. Raises TemplateError.
        """
        if isinstance(value, str):
            self.spend(len(value))
            return
        count = text = 0
        waiting = [value]
        while waiting:
            one = waiting.pop()
            count += 1
            if count > self._bounds.parts:
                most = f"{self._bounds.parts:,} parts"
                raise TemplateError(f"the template makes a value of more than {most}")
            if isinstance(one, str):
                text += len(one)
            elif isinstance(one, Mapping):
                waiting += one.values()
            elif isinstance(one, list | tuple):
                waiting += one
            elif isinstance(one, Namespace):
                raise TemplateError("a namespace is no value")
        self.spend(count + text)

    # --- what a template does -----------------------------------------------------------------

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator whose result may be large."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            self.spend(len(left) + len(right))
            return left + right
        sizes = [len(one) for one in (left, right) if isinstance(one, str | list | tuple)]
        if operator == "%" and isinstance(left, str):
            self._check_form(left, right)
        elif operator == "*" and sizes:
            self.spend(sum(sizes) * max(0, *(n for n in (left, right) if isinstance(n, int))))
        elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
            if bits > MOST_BITS:
                raise TemplateError(f"the template makes a number of more than {MOST_BITS} bits")
        self.spend(sum(sizes, 1))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A function or a method."""
        self.spend()
        _check_arguments((*args, *kwargs.values()))
        own, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(own, str):
            args = tuple(list(one) if isinstance(one, Iterator) else one for one in args)
            self._check_method(own, name, args)
        result = super().call(context, obj, *args, **kwargs)
        self.spend(_size(result))
        if obj is dict or name == "fromkeys":
            self._count_parts(result)
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The method `format` of a text, where that is what `value` is."""
        found = super().wrap_str_format(value)
        if found is None:
            return None
        write: Callable[..., str] = found

        @wraps(write)
        def counted(*args: Any, **kwargs: Any) -> str:
            self._check_form(value.__self__, [args, kwargs])
            return write(*args, **kwargs)

        return counted

    def _check_form(self, form: str, given: Any) -> None:
        """A text with places to be filled: each may be as wide as it says, or have all of it."""
        if _WIDE.search(form):
            raise TemplateError("the template writes wider than a prompt is")
        self.spend(sum(int(number) for number in _NUMBER.findall(form)))
        before = self._here.count.text
        self._count_parts(given)
        places = form.count("{") + form.count("%")
        self.spend((self._here.count.text - before) * places)

    def _check_method(self, own: str, name: str, args: tuple[Any, ...]) -> None:
        """A method of a text, by how long what it gives may be."""
        if name in ("translate", "encode"):
            raise TemplateError(f"{name} is not for templates")
        elif name == "expandtabs":
            self.spend(own.count("\t") * LARGEST)
        elif name == "replace" and len(args) > 1:
            self.spend(_replaced(own, *args[:2]))
        elif name == "join" and args and isinstance(args[0], Iterable):
            self._count_parts(args[0])
            self.spend(len(own) * _size(args[0]))
        self.spend(len(own))

    def _counted(self, filter_: Callable[..., Any]) -> Callable[..., Any]:
        """A filter, with its work counted."""
        name = getattr(filter_, "__name__", "")

        @wraps(filter_)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if len(args) == 1 and not kwargs and isinstance(args[0], str):
                self.spend(len(args[0]))
                return filter_(*args)
            if name in _JOINS:
                args = tuple(list(one) if isinstance(one, Iterator) else one for one in args)
            given = [*args, *kwargs.values()]
            _check_arguments(given)
            values = [one for one in given if isinstance(one, str | list | tuple | dict | range)]
            self.spend(sum(map(len, values), 1))
            self._check_filter(name, values, given)
            result = filter_(*args, **kwargs)
            self.spend(_size(result))
            return self._checked_lists(result) if name in _NESTS else result

        return counted

    def _checked_lists(self, result: Any) -> Any:
        """What a filter gives that puts lists into lists."""
        return self.nested(result) if isinstance(result, Iterator) else self.made(result)

    def _check_filter(self, name: str, values: Sequence[Any], given: Sequence[Any]) -> None:
        """A filter, by how long what it gives may be."""
        texts = [one for one in given if isinstance(one, str)]
        if name == "do_replace" and len(texts) > 2:
            self.spend(_replaced(*texts[:3]))
        elif name == "do_format" and texts:
            self._check_form(texts[0], [one for one in given if one is not texts[0]])
        elif name in ("do_indent", "do_wordwrap"):
            widths = [one for one in given if isinstance(one, int)]
            widths += [len(one) for one in texts[1:]]
            self.spend(sum(one.count("\n") + 1 for one in texts[:1]) * max(widths, default=4))
        elif name in _JOINS and len(texts) and len(values) > 1:
            self.spend(sum(map(len, texts)) * max(map(len, values)))
        if not isinstance(given[0] if given else "", str):
            for value in values:
                if name in ("_to_json", "do_string", "soft_str", *_JOINS):
                    self._count_parts(value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The template's tree, with a step counted in every round of what can go round."""
        tree = super()._parse(source, name, filename)
        rounds: Iterable[Any] = tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))
        for loop in rounds:
            loop.body.insert(0, nodes.ExprStmt(_hook("spend"), lineno=loop.lineno))
            if isinstance(loop, nodes.For) and loop.test is not None:
                loop.test = nodes.And(_hook("spend"), loop.test, lineno=loop.lineno)
        _Counting().visit(tree)
        return tree


class _Counting:
    """Puts calls of the sandbox in the place of what jinja2 does without asking it."""

    def visit(self, node: Any) -> Any:
        """The node to stand where this one does."""
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, self.visit(value))
            elif isinstance(value, list):
                value[:] = [self.visit(v) if isinstance(v, nodes.Node) else v for v in value]
        if isinstance(node, nodes.Name) and node.name in ("varargs", "kwargs"):
            return _hook("made", [node], node.lineno) if node.ctx == "load" else node
        if isinstance(node, nodes.Concat):
            return _hook("joined", node.nodes, node.lineno)
        stored = isinstance(node, nodes.Tuple) and node.ctx != "load"
        if isinstance(node, nodes.List | nodes.Dict | nodes.Tuple) and not stored:
            return node if _is_plain(node) else _hook("made", [node], node.lineno)
        return node


def _is_plain(node: nodes.Node) -> bool:
    """Whether nothing but constants stands in it."""
    return not any(
        isinstance(inner, nodes.Name | nodes.Call | nodes.Filter | nodes.Getattr | nodes.Getitem)
        for inner in node.find_all(nodes.Node)
    )


def _hook(name: str, args: list[nodes.Expr] | None = None, lineno: int = 1) -> nodes.Call:
    function = nodes.EnvironmentAttribute(name, lineno=lineno)
    return nodes.Call(function, args or [], [], None, None, lineno=lineno)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict | range) else 1


def _replaced(text: str, old: Any, new: Any) -> int:
    """How long `text` may become where `old` becomes `new`."""
    if not isinstance(old, str) or not isinstance(new, str):
        return 1
    return len(text) + (len(text) // max(len(old), 1) + 1) * len(new)


def _check_arguments(given: Iterable[Any]) -> None:
    for one in given:
        if isinstance(one, int) and abs(one) > LARGEST and one.bit_length() > MOST_BITS:
            raise TemplateError(f"the template makes a number of more than {MOST_BITS} bits")
        if isinstance(one, int) and abs(one) > LARGEST:
            raise TemplateError(f"the template asks for {one:,}; at most {LARGEST:,} is accepted")


# --- what templates find --------------------------------------------------------------------------


class _Generation(Extension):
    """`{% generation %}` marks answers for training; for us its body is all there is to it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Replace the block by its body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> NoReturn:
    """What templates call where a conversation does not suit them."""
    raise TemplateError(message)


@pass_environment
def _sum(box: Sandbox, values: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    """jinja2's `sum`, counted: of lists, each sum on the way is a list of its own."""
    if isinstance(start, str):
        raise TypeError("texts have no sum")
    total = start
    for value in values if attribute is None else map(make_attrgetter(box, attribute), values):
        box.spend(_size(total) + _size(value))
        total = total + value
    return total


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without jinja2's escapes for HTML, which no model was trained on."""
    if isinstance(indent, int) and indent > _WIDEST_INDENT:
        raise TemplateError("the template writes wider than a prompt is")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        allow_nan=False,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


_WIDEST_INDENT = 16
