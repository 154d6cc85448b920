"""Mutants: every file that differs from a module by one small change, and which of them no test has to notice.

A module is mutated as a whole, its tables and defaults too. What is left out is not for tests to notice: annotations,
docstrings and names for types change nothing that runs, and of frozen and slots mypy says who breaks them.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from tests.mutation.operators import changed_versions

ROOT = Path(__file__).resolve().parent.parent.parent

# What no rule compares. To lose such words altogether is another mutant, and that one is not accepted.
TEXT = "the words of an exception, an assertion, a repr, or of a sentence for a person"

_LEFT_OUT = (cst.Annotation, cst.Import, cst.ImportFrom)
# What a person calls a type by: mypy reads it, nothing that runs does.
_TYPE_MAKERS = {"TypeVar"}
# Written by themselves they are not what stands in the file: the lines within are indented further.
_INDENTED = (cst.BaseCompoundStatement, cst.MatchCase)
_MYPYS = {"frozen", "slots"}
# Any change to a call of these fails at once and shows nothing.
_NEVER_CALLED_OTHERWISE = {"len", "isinstance"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One file with one change. was and becomes are the lines that differ, on one line each."""

    path: str
    function: str  # dotted, empty at the level of the module
    line: int
    was: str
    becomes: str
    source: str
    accepted: str  # by which rule it may survive, or empty

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names a mutant in the list of survivors. Line numbers move, so they are not in it."""
        return self.path, self.function, self.was, self.becomes


def mutants_of(path: str) -> list[Mutant]:
    """Every mutant of the file, in the order of its lines; none twice."""
    source = (ROOT / path).read_text(encoding="utf-8")
    finder = _Finder(path, source)
    finder.wrapper.visit(finder)
    return sorted(finder.found.values(), key=lambda mutant: (mutant.line, mutant.was, mutant.becomes))


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, path: str, source: str) -> None:
        self.wrapper = MetadataWrapper(cst.parse_module(source))
        self.found: dict[str, Mutant] = {}
        self._path = path
        self._source = source
        self._lines = source.splitlines(keepends=True)
        self._names: list[str] = []
        self._above: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _LEFT_OUT) or _is_docstring(node) or (not self._names and _names_a_type(node)):
            return False
        if isinstance(node, cst.Call) and _name_called(node) in _NEVER_CALLED_OTHERWISE:
            return False
        if isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value in _MYPYS:
            return False
        if not self._is_target(node) and not (self._above and isinstance(self._above[-1], cst.Decorator)):
            for changed in changed_versions(node):
                self._keep(node, changed)
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        self._above.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._above and self._above[-1] is original_node:
            self._above.pop()
            if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
                self._names.pop()

    def _is_target(self, node: cst.CSTNode) -> bool:
        above = self._above[-1] if self._above else None
        if isinstance(above, cst.AssignTarget):
            return True
        return isinstance(above, cst.CompFor | cst.For) and above.target is node

    def _keep(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        if isinstance(node, cst.If) and isinstance(changed, cst.If):
            node, changed = node.test, changed.test
        source = self._with(node, changed)
        try:
            compile(source, self._path, "exec")
        except SyntaxError:
            return
        if source == self._source or source in self.found:
            return
        was, becomes = _differing_lines(self._source, source)
        self.found[source] = Mutant(
            path=self._path,
            function=".".join(self._names),
            line=self._range(node).start.line,
            was=was,
            becomes=becomes,
            source=source,
            accepted=self._acceptance(node),
        )

    def _range(self, node: cst.CSTNode) -> CodeRange:
        found: CodeRange = self.get_metadata(PositionProvider, node)
        return found

    def _with(self, node: cst.CSTNode, changed: cst.CSTNode) -> str:
        """The file with the node changed: its own characters replaced, or the tree written anew where those differ."""
        span = self._range(node)
        start = sum(map(len, self._lines[: span.start.line - 1])) + span.start.column
        end = sum(map(len, self._lines[: span.end.line - 1])) + span.end.column
        module = self.wrapper.module
        if not isinstance(node, _INDENTED) and self._source[start:end] == module.code_for_node(node):
            return self._source[:start] + module.code_for_node(changed) + self._source[end:]
        rewritten = module.deep_replace(node, changed)
        assert isinstance(rewritten, cst.Module)
        return rewritten.code

    def _acceptance(self, node: cst.CSTNode) -> str:
        inside = [*self._above, node]
        for outer, inner in pairwise(inside):
            if isinstance(outer, cst.Raise) or (isinstance(outer, cst.Assert) and outer.msg is inner):
                return TEXT
        if "__repr__" in self._names or any(_is_prose(each) for each in inside):
            return TEXT
        return ""


def _is_prose(node: cst.CSTNode) -> bool:
    """Whether it is a sentence: no identifier, code or pattern of ours has a blank in it."""
    if isinstance(node, cst.SimpleString):
        return " " in node.raw_value and "r" not in node.prefix
    if isinstance(node, cst.FormattedString):
        return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
    return False


def _is_docstring(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)


def _names_a_type(node: cst.CSTNode) -> bool:
    if not isinstance(node, cst.Assign):
        return False
    if isinstance(node.value, cst.Call):
        return _name_called(node.value) in _TYPE_MAKERS
    return isinstance(node.value, cst.Subscript) or _is_union(node.value)


def _is_union(node: cst.BaseExpression) -> bool:
    """Whether it is written as Paid | Declined is: names alone."""
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.BitOr):
        return False
    sides = (node.left, node.right)
    return all((isinstance(side, cst.Name) and not side.value.startswith("_")) or _is_union(side) for side in sides)


def _name_called(node: cst.Call) -> str:
    return node.func.value if isinstance(node.func, cst.Name) else ""


def _differing_lines(old: str, new: str) -> tuple[str, str]:
    """The lines in which two files differ, each side on one line."""
    before, after = old.splitlines(), new.splitlines()
    shorter = min(len(before), len(after))
    same_above = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest_before, rest_after = before[same_above:], after[same_above:]
    while rest_before and rest_after and rest_before[-1] == rest_after[-1]:
        rest_before.pop()
        rest_after.pop()
    return _on_one_line(rest_before), _on_one_line(rest_after)


def _on_one_line(lines: list[str]) -> str:
    return re.sub(r"\s+", " ", " ".join(lines)).strip()
