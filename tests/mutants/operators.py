"""Ce qu’une mutation change : les opérateurs de cosmic-ray, et deux qui lui manquent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[tuple[int, int], tuple[int, int]]

# Of the ten ways to replace an operator, those that a slip of the hand makes. The others die of a
# TypeError at once, or mean the same (`is None` and `== None`).
_PLAUSIBLE = re.compile(
    r"_(Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|Is_IsNot|IsNot_Is"
    r"|Add_Sub|Sub_Add|Mul_Div|Div_Mul|Pow_Mul|BitOr_BitAnd|USub_UAdd|Delete_Not)"
    r"|/(AddNot|Replace(True|False|And|Or|Break|Continue)With\w+|ExceptionReplacer|NumberReplacer"
    r"|RemoveDecorator|ZeroIterationForLoop)"
)


class DropKeyword(Operator):  # type: ignore[misc]  # cosmic-ray is not typed
    """Retire un argument nommé d’un appel."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        for argument in self._arguments(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        position = node.children.index(self._arguments(node)[index])
        has_comma = node.type == "arglist" and position + 1 < len(node.children)
        del node.children[position : position + 1 + has_comma]
        return node

    def _arguments(self, node: Any) -> list[Any]:
        if node.type not in ("arglist", "trailer"):
            return []
        return [
            item for item in node.children
            if item.type == "argument" and item.children[1] == "="
        ]  # fmt: skip

    @classmethod
    def examples(cls) -> Iterable[Any]:
        return ()


class DropStatement(Operator):  # type: ignore[misc]
    """Met ``pass`` à la place d’une instruction d’une fonction."""

    KINDS = ("expr_stmt", "atom_expr", "raise_stmt", "return_stmt")

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if node.type == "simple_stmt" and self._in_function(node):
            statement = node.children[0]
            if statement.type in self.KINDS:
                yield statement.start_pos, statement.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        prefix = node.get_first_leaf().prefix
        node.children[0] = get_ast(f"{prefix}pass")
        return node

    def _in_function(self, node: Any) -> bool:
        while node is not None and node.type != "classdef":
            if node.type == "funcdef":
                return True
            node = node.parent
        return False

    @classmethod
    def examples(cls) -> Iterable[Any]:
        return ()


OPERATORS: dict[str, Any] = {
    name.partition("/")[2]: get_operator(name)()
    for name in operator_names()
    if _PLAUSIBLE.search(name)
} | {"DropKeyword": DropKeyword(), "DropStatement": DropStatement()}


def places(code: str) -> dict[tuple[str, int, int], list[tuple[str, int]]]:
    """Renvoie, par endroit et famille d’opérateurs, les mutations possibles."""
    nodes = list(ast_nodes(get_ast(code)))
    found: dict[tuple[str, int, int], list[tuple[str, int]]] = {}
    for name, operator in OPERATORS.items():
        positions = [
            (node, start) for node in nodes for start, _ in operator.mutation_positions(node)
        ]
        for occurrence, (node, start) in enumerate(positions):
            if not _in_signature(node):
                family = name.partition("_")[0]
                found.setdefault((family, *start), []).append((name, occurrence))
    return found


def mutated(code: str, name: str, occurrence: int) -> str | None:
    """Renvoie le code muté, ou ``None`` si ce n’est plus du Python ou si rien n’a changé."""
    text: str = mutate_code(code, OPERATORS[name], occurrence)
    try:
        changed = compile(text, "", "exec") != compile(code, "", "exec")
    except SyntaxError:
        return None
    return text if changed else None


def _in_signature(node: Any) -> bool:
    """Une annotation n’est pas exécutée, et le `*` d’une signature n’est pas une multiplication."""
    if node.type == "operator" and node.parent.type in ("parameters", "lambdef", "param"):
        return True
    while (parent := node.parent) is not None:
        if parent.type in ("annassign", "tfpdef") and node in parent.children[1:3]:
            return parent.type == "tfpdef" or node is parent.children[1]
        if parent.type == "funcdef" and node is parent.annotation:
            return True
        node = parent
    return False
