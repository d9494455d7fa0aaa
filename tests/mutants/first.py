"""Greffon de pytest : les tests du module muté passent d’abord, et le calcul est borné."""

import os
import resource

import pytest


def pytest_configure() -> None:
    """Borne le temps de calcul, et non le temps : une machine occupée ne tue personne."""
    seconds = int(os.environ["MUTANT_SECONDS"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Range les tests sans en changer l’ordre parmi les premiers, ni parmi les autres."""
    first = tuple(os.environ["MUTANT_FIRST"].split())
    items.sort(key=lambda item: not item.nodeid.startswith(first))
