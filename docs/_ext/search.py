"""Recherche qui ignore les accents et les mots de question.

« repartition » trouve « répartition » ; « comment » ne compte pas.
Le classement, le même dans les deux langues, est dans ``search.js``.
"""

from __future__ import annotations

import unicodedata

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.search.fr import SearchFrench

# Words of a question that say nothing of its subject.
_FRENCH = {
    "comment", "pourquoi", "quand", "faut", "faire", "peut", "peux", "puis", "dois", "doit",
    "jamais", "plutôt", "si", "a",
}  # fmt: skip
_ENGLISH = {"can", "never", "want", "need", "way", "s", "t"}


def without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


class SearchFrenchWithoutAccents(SearchFrench):
    """Retire les accents avant de chercher la racine, à la construction et dans le navigateur."""

    stopwords = frozenset(
        form
        for word in {*SearchFrench.stopwords, *_FRENCH}
        for form in (word, without_accents(word))
    )
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


class SearchEnglishQuestions(SearchEnglish):
    stopwords = frozenset({*SearchEnglish.stopwords, *_ENGLISH})


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(SearchFrenchWithoutAccents)
    app.add_search_language(SearchEnglishQuestions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
