"""The search language: ``([Status] = 'Active') AND ([Name] LIKE 'St*')``, parsed and turned into predicates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from crm_simulator.kinds import Field, ObjectType
from crm_simulator.records import Record
from crm_simulator.values import canonical, comparable

Predicate = Callable[[Record], bool]
Reader = Callable[[str], Callable[[Record], str | None]]

_TOKEN = re.compile(
    r"""\s*(?: \[(?P<field>[A-Za-z][A-Za-z0-9_]*)\]
             | '(?P<literal>(?:[^']|'')*)'
             | (?P<operator>~=|<>|<=|>=|=|<|>|~LIKE\b|LIKE\b)
             | (?P<keyword>(?:AND|OR|IS|NOT|NULL|EXISTS)\b)
             | (?P<bracket>[()]) )""",
    re.VERBOSE | re.IGNORECASE,
)
_MAX_DEPTH = 100


class SearchSpecError(ValueError):
    """The text is not in the language, or names what the object lacks."""


@dataclass(frozen=True)
class Comparison:
    """``operator`` is upper case; ``literal`` is None for ``IS NULL`` and ``IS NOT NULL``."""

    field: str
    operator: str
    literal: str | None = None


@dataclass(frozen=True)
class Joined:
    """Terms joined by ``AND`` or ``OR``."""

    operator: str
    terms: tuple[Node, ...]


Node = Comparison | Joined


def parse(text: str, implied_field: str | None = None) -> Node:
    """Parse a searchspec or, with ``implied_field``, the text of a field element (``> '5'``).

    Raises :class:`SearchSpecError`.
    """
    parser = _Parser(text, implied_field)
    node = parser.expression(0)
    parser.end()
    return node


def parse_template(field: str, text: str) -> Node:
    """Parse a criterion given as a field element's text; text without an operator is an exact value."""
    match = _TOKEN.match(text)
    if match and (match["operator"] or match["bracket"] or match["keyword"]):
        return parse(text, implied_field=field)
    quoted = re.fullmatch(r"\s*'((?:[^']|'')*)'\s*", text)
    return Comparison(field, "=", quoted[1].replace("''", "'") if quoted else text.strip())


def renamed(node: Node, names: Mapping[str, Field]) -> Node:
    """The same with the fields' own names for those that ``names`` knows."""
    if isinstance(node, Joined):
        return Joined(node.operator, tuple(renamed(term, names) for term in node.terms))
    return replace(node, field=names[node.field].name) if node.field in names else node


def conjuncts(node: Node) -> tuple[Node, ...]:
    """The terms that must all hold."""
    if isinstance(node, Joined) and node.operator == "AND":
        return tuple(inner for term in node.terms for inner in conjuncts(term))
    return (node,)


def typed(node: Node, kind: ObjectType) -> Node:
    """The same with literals in the wire form of their fields' types. Raises :class:`SearchSpecError`."""
    if isinstance(node, Joined):
        return Joined(node.operator, tuple(typed(term, kind) for term in node.terms))
    field = kind.by_name.get(node.field)
    if field is None:
        raise SearchSpecError(f"the field '{node.field}' is not known to '{kind.name}'")
    if node.literal is None or node.operator.endswith("LIKE"):
        return node
    try:
        return Comparison(node.field, node.operator, canonical(field.type, node.literal))
    except ValueError as error:
        raise SearchSpecError(f"[{node.field}]: {error}") from error


def predicate(node: Node, kind: ObjectType, reader: Reader) -> Predicate:
    """A test of records for a :func:`typed` node; ``reader`` gives the getters. A null satisfies no comparison."""
    if isinstance(node, Joined):
        tests = [predicate(term, kind, reader) for term in node.terms]
        if node.operator == "AND":
            return lambda record: all(test(record) for test in tests)
        return lambda record: any(test(record) for test in tests)
    read = reader(node.field)
    if node.operator == "IS NULL":
        return lambda record: read(record) is None
    if node.operator == "IS NOT NULL":
        return lambda record: read(record) is not None
    matches = _matcher(node, kind.by_name[node.field].type)

    def test(record: Record) -> bool:
        value = read(record)
        return value is not None and matches(value)

    return test


def _matcher(node: Comparison, type_: str) -> Callable[[str], bool]:
    literal = node.literal or ""
    match node.operator:
        case "LIKE" | "~LIKE":
            pattern = _pattern(literal, re.IGNORECASE if node.operator == "~LIKE" else re.NOFLAG)
            return lambda value: pattern.fullmatch(value) is not None
        case "~=":
            folded = literal.casefold()
            return lambda value: value.casefold() == folded
    bound = comparable(type_, literal)
    match node.operator:
        case "=":
            return lambda value: comparable(type_, value) == bound
        case "<>":
            return lambda value: comparable(type_, value) != bound
        case "<":
            return lambda value: comparable(type_, value) < bound  # type: ignore[operator]
        case "<=":
            return lambda value: comparable(type_, value) <= bound  # type: ignore[operator]
        case ">":
            return lambda value: comparable(type_, value) > bound  # type: ignore[operator]
        case _:
            return lambda value: comparable(type_, value) >= bound  # type: ignore[operator]


def _pattern(wildcard: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """``*`` and ``?`` are wildcards, a backslash takes their meaning away."""
    parts = []
    for piece in re.findall(r"\\.|.", wildcard, re.DOTALL):
        parts.append({"*": ".*", "?": "."}.get(piece) or re.escape(piece[-1]))
    return re.compile("".join(parts), flags | re.DOTALL)


class _Parser:
    def __init__(self, text: str, implied_field: str | None) -> None:
        self._implied = implied_field
        self._tokens: list[tuple[str, str]] = []
        self._next = 0
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise SearchSpecError(f"syntax error in the search specification at position {position + 1}")
            kind = str(match.lastgroup)
            value = match[kind]
            self._tokens.append((kind, value if kind in ("field", "literal") else value.upper()))
            position = match.end()

    def expression(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise SearchSpecError("the search specification is nested too deep")
        return self._joined("OR", lambda: self._joined("AND", lambda: self._factor(depth)))

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise self._error()

    def _joined(self, operator: str, part: Callable[[], Node]) -> Node:
        terms = [part()]
        while self._accept("keyword", operator):
            terms.append(part())
        return terms[0] if len(terms) == 1 else Joined(operator, tuple(terms))

    def _factor(self, depth: int) -> Node:
        if self._accept("bracket", "("):
            node = self.expression(depth + 1)
            if not self._accept("bracket", ")"):
                raise self._error()
            return node
        if self._peek() in (("keyword", "EXISTS"), ("keyword", "NOT")):
            raise SearchSpecError("EXISTS and NOT EXISTS are not offered here: query the child object instead")
        return self._comparison()

    def _comparison(self) -> Comparison:
        field = self._take("field") if self._peek()[0] == "field" else self._implied
        if field is None:
            raise self._error()
        if self._accept("keyword", "IS"):
            negated = self._accept("keyword", "NOT")
            if not self._accept("keyword", "NULL"):
                raise self._error()
            return Comparison(field, "IS NOT NULL" if negated else "IS NULL")
        return Comparison(field, self._take("operator"), self._take("literal").replace("''", "'"))

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "the end")

    def _accept(self, kind: str, value: str) -> bool:
        found = self._peek() == (kind, value)
        self._next += found
        return found

    def _take(self, kind: str) -> str:
        if self._peek()[0] != kind:
            raise self._error()
        self._next += 1
        return self._tokens[self._next - 1][1]

    def _error(self) -> SearchSpecError:
        kind, value = self._peek()
        return SearchSpecError(
            f"syntax error in the search specification at {value if kind != 'literal' else 'a text'}"
        )
