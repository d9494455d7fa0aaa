"""Des tableaux de mesures, que les catalogues ignorent : ils changent à chaque exécution."""

from __future__ import annotations

from docutils import nodes

Cells = list[list[nodes.Node]]


def named(text: str) -> nodes.paragraph:
    """Écrit un nom ; ce qui est entre accents graves est du code."""
    parts = [
        nodes.literal("", part) if position % 2 else nodes.Text(part)
        for position, part in enumerate(text.split("`"))
        if part
    ]
    return nodes.paragraph("", "", *parts, translatable=False)


def paragraph(text: str) -> nodes.paragraph:
    """Renvoie un paragraphe qui ne se traduit pas."""
    return nodes.paragraph("", text, translatable=False)


def table(header: Cells, rows: list[Cells]) -> nodes.table:
    """Construit un tableau dont la première colonne nomme les lignes."""
    group = nodes.tgroup("", cols=len(header))
    group += nodes.colspec("", colwidth=1, stub=1)
    group += [nodes.colspec("", colwidth=1) for _cell in header[1:]]
    group += nodes.thead("", _table_row(header))
    group += nodes.tbody("", *map(_table_row, rows))
    return nodes.table("", group)


def _table_row(cells: Cells) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *cell) for cell in cells))
