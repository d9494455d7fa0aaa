"""Ce que le lecteur copie d’une page servie, bouton par bouton."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Locator, Page

BLOCKS = "div.highlight-python, div.highlight-console, div.highlight-ini"
BEFORE = "the button copied nothing"  # what the clipboard holds before each press


@dataclass(frozen=True)
class Block:
    """Un bloc de code : ce qu’il montre, ce qu’il donne, la sortie montrée après lui."""

    language: str
    shown: str
    copied: str
    output: str


def copy_page(page: Page, address: str) -> tuple[Block, ...]:
    """Ouvre une page et presse tous ses boutons, dans l’ordre."""
    page.goto(address)
    return tuple(_copy(page, block) for block in page.locator(BLOCKS).all())


def _copy(page: Page, block: Locator) -> Block:
    page.evaluate("text => navigator.clipboard.writeText(text)", BEFORE)
    block.locator("button.copybtn").click()
    return Block(copied=page.evaluate("navigator.clipboard.readText()"), **block.evaluate(READ))


# Without the copy button’s own script: what a reader sees as code, and the output after it.
READ = """block => {
    const shown = block.querySelector("pre").cloneNode(true);
    shown.querySelectorAll(".gp, .go, .callout").forEach(part => part.remove());
    const next = block.nextElementSibling;
    const hasOutput = next && next.classList.contains("highlight-text");
    return {
        language: block.className.match(/highlight-(\\w+)/)[1],
        shown: shown.textContent.trimEnd(),
        output: hasOutput ? next.querySelector("pre").textContent : "",
    };
}"""
