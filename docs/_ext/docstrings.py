"""Les docstrings du noyau : leurs textes à traduire, et le code qui les porte en anglais.

Une docstring se découpe comme Sphinx la découpe : un paragraphe, ou le texte d’un argument, est
un message. Les catalogues des pages en traduisent donc déjà une partie.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

from babel.messages.catalog import Catalog

KERNEL = Path(__file__).resolve().parents[2] / "src" / "share_kernel"
CATALOGUE = Path("docstrings.po")
WIDTH = 100
# What opens a text and is not part of it: a name of « Args: » or « Raises: », a dash.
_OPENING = re.compile(r"^(?P<indent> *)(?P<mark>(?:- |(?:\*{0,2}\w+(?:, )?)+: )?)(?P<text>.*)$")
_SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Example|Attributes):$")
_NAMED = ("Args", "Raises", "Attributes")
_DEEPER = " " * 4

Translate = Callable[[str], str]


def translated(source: str, translate: Translate) -> str:
    """Renvoie *source*, dont chaque docstring passe par *translate*."""
    lines = straight_comments(source).splitlines(keepends=True)
    for node in reversed(list(docstrings(source))):
        indent = " " * node.col_offset
        text = rewritten(inspect.cleandoc(node.value.value), translate, WIDTH - node.col_offset)
        one_line = "\n" not in text and len(indent + text) + 6 <= WIDTH
        ending = '"""\n' if one_line else f'\n{indent}"""\n'
        new = textwrap.indent(f'"""{text}', indent) + ending
        lines[node.lineno - 1 : node.end_lineno] = [new]
    return "".join(lines)


def docstrings(source: str) -> Iterator[ast.Expr]:
    """Trouve les textes qui documentent, dans l’ordre du fichier."""
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    yield from sorted(found, key=lambda node: node.lineno)


def straight_comments(source: str) -> str:
    """Rend droites les apostrophes des commentaires, qui sont en anglais."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + token.string.replace("’", "'") + line[token.end[1] :]
    return "".join(lines)


def rewritten(docstring: str, translate: Translate, width: int) -> str:
    """Traduit chaque texte d’une docstring, et le remet à la largeur du code."""
    lines: list[str] = []
    for opening, text in blocks(docstring):
        if not text:
            lines.append(opening)
            continue
        depth = len(opening) - len(opening.lstrip())
        hanging = 2 if opening.endswith("- ") else 4 if opening.strip() else 0
        quotes = "" if lines else "\0\0\0"  # they take their place on the first line
        wrapped = textwrap.wrap(
            quotes + opening + translate(text),
            width,
            subsequent_indent=" " * (depth + hanging),
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [wrapped[0].removeprefix(quotes), *wrapped[1:]]
    return "\n".join(lines)


def blocks(docstring: str) -> Iterator[tuple[str, str]]:
    """Découpe une docstring en couples : ce qui ouvre, puis le texte à traduire, ou rien."""
    section, opening, words = "", "", []

    def ended() -> Iterator[tuple[str, str]]:
        if words:
            yield opening, " ".join(words)
            words.clear()

    for line in docstring.splitlines():
        title = _SECTION.match(line)
        if not line.strip() or title:
            yield from ended()
            section = title[1] if title else section
            yield line, ""
            continue
        parts = _OPENING.match(line)
        assert parts
        indent, mark, text = parts.group("indent", "mark", "text")
        if not indent:
            section = ""
        named = mark if mark == "- " or (section in _NAMED and indent == _DEEPER) else ""
        if named or not words:
            yield from ended()
            opening = indent + named
            words.append(text if named else mark + text)
        else:
            words.append(line.strip())
    yield from ended()


def messages() -> Iterator[str]:
    """Énumère les textes de toutes les docstrings du noyau, sans répétition."""
    seen: set[str] = set()
    for path in sorted(KERNEL.rglob("*.py")):
        for node in docstrings(path.read_text("utf-8")):
            for _, text in blocks(inspect.cleandoc(node.value.value)):
                if text and text not in seen:
                    seen.add(text)
                    yield text


def template(known: set[str]) -> Catalog:
    """Renvoie le catalogue de ce qu’aucune page ne montre."""
    catalog = Catalog(charset="utf-8")
    for text in messages():
        if text not in known:
            catalog.add(text)
    return catalog
