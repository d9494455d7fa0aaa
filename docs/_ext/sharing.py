"""L’image que montre un lien partagé : le nom du site et sa phrase, dessinés à la construction."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from metadata import describe, site_of
from PIL import Image, ImageDraw, ImageFont
from sphinx.application import Sphinx

NAME = "partage.png"
SIZE = (1200, 630)  # what networks show whole
MARGIN = 90
BACKGROUND, TITLE, TEXT, AMBER = "#0b2f28", "#6fd3b5", "#ffffff", "#ffd166"
# Drawn the same everywhere: the fonts of a machine differ, and Pillow’s own has no accents.
FONT = Path(__file__).parents[1] / "_data" / "police" / "DejaVuSans-Bold.ttf"


def draw(name: str, sentence: str) -> Image.Image:
    """Dessine le nom, la phrase, et les deux couleurs du bus : la transaction, puis la suite."""
    image = Image.new("RGB", SIZE, BACKGROUND)
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0, SIZE[0] // 2, 16), fill=TITLE)
    canvas.rectangle((SIZE[0] // 2, 0, SIZE[0], 16), fill=AMBER)
    canvas.text((MARGIN, 120), name, TITLE, ImageFont.truetype(FONT, 76))
    lines = textwrap.fill(sentence, 34)
    canvas.multiline_text((MARGIN, 260), lines, TEXT, ImageFont.truetype(FONT, 46), spacing=22)
    return image


def write_image(app: Sphinx, exception: Exception | None) -> None:
    """Écrit l’image de cette langue à côté de ses pages."""
    if exception is None and app.builder.name == "html":
        sentence = describe(app.env.get_doctree("index"))
        draw(app.config.project, sentence).save(Path(app.outdir, NAME), optimize=True)


def add_image(app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doc: Any) -> None:
    """Donne aux gabarits l’adresse absolue de l’image et sa taille."""
    context["og_image"] = f"{site_of(app)}{app.config.language}/{NAME}"
    context["og_image_width"], context["og_image_height"] = SIZE


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_image)
    app.connect("build-finished", write_image)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
