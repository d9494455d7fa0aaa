"""Ce qu’exécuter un bloc veut dire : en CI, avec ``make doctest``, et dans la page elle-même."""

from __future__ import annotations

import contextlib
import io
import unittest
from dataclasses import dataclass
from types import ModuleType
from typing import Any

# Pages that speak of a project where the durable register is installed.
DURABLE_PAGES = {
    "avec-un-worker",
    "changer-la-forme-d-un-evenement",
    "garder-l-ordre",
    "ne-rien-perdre",
    "observer",
    "outbox",
    "reessayer-et-renoncer",
    "securite",
}


@dataclass(frozen=True)
class Block:
    """Un extrait d’une page, et ce qu’elle annonce qu’il affiche."""

    code: str
    expected: str

    def run(self, module: ModuleType, path: str, printed: io.StringIO, first_line: int = 1) -> None:
        """Exécute l’extrait dans le module de sa page. Un ``TestCase`` défini doit passer."""
        # Blank lines first, so that a traceback shows the line of the page.
        source = "\n" * (first_line - 1) + self.code
        namespace = module.__dict__
        before = set(namespace)
        with contextlib.redirect_stdout(printed):
            exec(compile(source, path, "exec", dont_inherit=True), namespace)
        for name in set(namespace) - before:
            if is_test_case(namespace[name], module):
                run_test_case(namespace[name])

    def is_shown(self, printed: str) -> bool:
        """Dit si la page annonce ce qui vient d’être affiché."""
        return printed.rstrip() == self.expected.rstrip()


def is_test_case(value: Any, module: ModuleType) -> bool:
    """Dit si une page vient de définir des tests, plutôt que de les importer."""
    is_case = isinstance(value, type) and issubclass(value, unittest.TestCase)
    return is_case and value.__module__ == module.__name__


def run_test_case(case: type[unittest.TestCase]) -> None:
    """Un ``TestCase`` montré sur une page doit passer."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun
    assert result.wasSuccessful(), "\n".join(text for _, text in result.errors + result.failures)
