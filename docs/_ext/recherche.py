"""Recherche française qui ignore les accents : « repartition » trouve « répartition »."""

from __future__ import annotations

import unicodedata

from sphinx.application import Sphinx
from sphinx.search.fr import SearchFrench


def without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


class SearchFrenchWithoutAccents(SearchFrench):
    """Retire les accents avant de chercher la racine, à la construction et dans le navigateur."""

    js_splitter_code = """
(() => {
  const French = Stemmer;
  Stemmer = function () {
    const french = new French();
    this.stemWord = (word) => french.stemWord(word.normalize("NFD").replace(/\\p{M}/gu, ""));
  };
})();
"""

    def stem(self, word: str) -> str:
        return super().stem(without_accents(word.lower()))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(SearchFrenchWithoutAccents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
