"""What is changed to make a mutant: mutmut's operators, and those that it lacks and decisions need.

mutmut leaves conditions, returns, guards, elements of tables and alternatives of patterns as they are. In this project
they are where the decisions stand.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import libcst as cst
from mutmut.mutation import mutators

Operator = Callable[[Any], Iterable[cst.CSTNode]]

_TRUE, _FALSE, _NONE = cst.Name("True"), cst.Name("False"), cst.Name("None")
_SWAPPED_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


def _string(node: cst.SimpleString) -> Iterator[cst.CSTNode]:
    """One change of a text instead of mutmut's three: whoever compares a text notices each of them or none."""
    if not node.quote.startswith(('"""', "'''")) and "b" not in node.prefix:
        yield node.with_changes(value=f"{node.prefix}{node.quote}?{node.raw_value}{node.quote}")


def _pattern_alternatives(node: cst.SimpleString) -> Iterator[cst.CSTNode]:
    """A regular expression without one of its alternatives."""
    if "r" not in node.prefix or "|" not in node.raw_value:
        return
    for alternative in re.finditer(r"[^|()]+", node.raw_value):
        start, end = alternative.span()
        text = node.raw_value
        if text[start - 1 : start] == "|":
            shorter = text[: start - 1] + text[end:]
        elif text[end : end + 1] == "|":
            shorter = text[:start] + text[end + 1 :]
        else:
            continue
        try:
            re.compile(shorter)
        except re.error:
            continue
        yield node.with_changes(value=f"{node.prefix}{node.quote}{shorter}{node.quote}")


def _smaller_number(node: cst.Integer) -> Iterator[cst.CSTNode]:
    if node.evaluated_value > 0:
        yield node.with_changes(value=repr(node.evaluated_value - 1))


def _condition(node: cst.If) -> Iterator[cst.CSTNode]:
    yield node.with_changes(test=_TRUE)
    yield node.with_changes(test=_FALSE)


def _operand(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    yield _kept_in_parentheses(node.left)
    yield _kept_in_parentheses(node.right)


def _return(node: cst.Return) -> Iterator[cst.CSTNode]:
    if node.value is not None and not _is_constant(node.value):
        yield node.with_changes(value=_NONE, whitespace_after_return=cst.SimpleWhitespace(" "))


def _statement(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if isinstance(node.value, cst.Call | cst.Yield | cst.Await):
        yield node.with_changes(value=_NONE)


def _raise(node: cst.Raise) -> Iterator[cst.CSTNode]:
    yield cst.Expr(_NONE)


def _comprehension(node: cst.CompFor) -> Iterator[cst.CSTNode]:
    if node.ifs:
        yield node.with_changes(ifs=[])


def _guard(node: cst.MatchCase) -> Iterator[cst.CSTNode]:
    if node.guard is not None:
        yield node.with_changes(
            guard=None,
            whitespace_before_if=cst.SimpleWhitespace(""),
            whitespace_after_if=cst.SimpleWhitespace(""),
            whitespace_before_colon=cst.SimpleWhitespace(""),
        )


def _match_alternative(node: cst.MatchOr) -> Iterator[cst.CSTNode]:
    for position in range(len(node.patterns)):
        kept = [*node.patterns[:position], *node.patterns[position + 1 :]]
        if len(kept) == 1:
            yield kept[0].pattern
        else:
            yield node.with_changes(patterns=[*kept[:-1], kept[-1].with_changes(separator=cst.MaybeSentinel.DEFAULT)])


def _element(node: cst.Set | cst.Dict | cst.List | cst.Tuple) -> Iterator[cst.CSTNode]:
    """A table without one of its elements."""
    for position in range(len(node.elements)):
        kept = [*node.elements[:position], *node.elements[position + 1 :]]
        if not kept and isinstance(node, cst.Set):
            yield cst.Call(cst.Name("set"))
        elif len(kept) == 1 and isinstance(node, cst.Tuple):
            yield node.with_changes(elements=[kept[0].with_changes(comma=cst.Comma())])
        else:
            yield node.with_changes(elements=kept)


def _argument(node: cst.Call) -> Iterator[cst.CSTNode]:
    """An argument that is None, and a named one that is left to its default. One by position is always needed."""
    for position, argument in enumerate(node.args):
        before, after = node.args[:position], node.args[position + 1 :]
        if not argument.star and not _is_none(argument.value):
            yield node.with_changes(args=[*before, argument.with_changes(value=_NONE), *after])
        if argument.keyword is not None:
            yield node.with_changes(args=[*before, *after])


def _other_call(node: cst.Call) -> Iterator[cst.CSTNode]:
    if isinstance(node.func, cst.Name) and node.func.value in _SWAPPED_CALLS:
        yield node.with_changes(func=cst.Name(_SWAPPED_CALLS[node.func.value]))


def _kept_in_parentheses(node: cst.BaseExpression) -> cst.BaseExpression:
    return node if node.lpar else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _is_none(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def _is_constant(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value in {"None", "True", "False"}


OURS: Sequence[tuple[type, Operator]] = (
    (cst.SimpleString, _string),
    (cst.SimpleString, _pattern_alternatives),
    (cst.Integer, _smaller_number),
    (cst.If, _condition),
    (cst.BooleanOperation, _operand),
    (cst.Return, _return),
    (cst.Expr, _statement),
    (cst.Raise, _raise),
    (cst.CompFor, _comprehension),
    (cst.MatchCase, _guard),
    (cst.MatchOr, _match_alternative),
    (cst.Set, _element),
    (cst.Dict, _element),
    (cst.List, _element),
    (cst.Tuple, _element),
    (cst.Call, _argument),
    (cst.Call, _other_call),
)

_REPLACED = {mutators.operator_string, mutators.operator_arg_removal}

OPERATORS: Sequence[tuple[type, Operator]] = (
    *((kind, operator) for kind, operator in mutators.mutation_operators if operator not in _REPLACED),
    *OURS,
)


def changed_versions(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Every version of this node that differs from it by one change."""
    for kind, operator in OPERATORS:
        if isinstance(node, kind):
            yield from operator(node)
