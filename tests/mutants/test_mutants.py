"""Le tirage des mutants, et les deux opérateurs écrits ici."""

import pytest

pytest.importorskip("cosmic_ray")  # the dev extra only

from .drawing import CONFIG, ROOT
from .operators import mutated, places

CODE = """
from a import f

def g(x: int = 1) -> "list[int] | None":
    y = f(x, key=2, other=3)
    f(key=4)
    return y
"""


@pytest.mark.parametrize(
    ("name", "occurrence", "text"),
    [
        ("DropKeyword", 0, "y = f(x, other=3)"),
        ("DropKeyword", 1, "y = f(x, key=2,)"),
        ("DropKeyword", 2, "    f()"),
        ("DropStatement", 0, "    pass\n    f(key=4)"),
        ("DropStatement", 1, "other=3)\n    pass\n    return"),
        ("DropStatement", 2, "f(key=4)\n    pass\n"),
    ],
)
def test_an_operator_removes_a_keyword_or_a_statement(
    name: str, occurrence: int, text: str
) -> None:
    assert text in str(mutated(CODE, name, occurrence))


def test_a_signature_is_no_place_to_mutate() -> None:
    code = "def g(x: int | None, *, y: int) -> int | None: ...\nx = 1 | 2"
    lines = {line for _, line, _ in places(code)}

    assert lines == {2}


def test_every_exclusion_has_a_file_and_a_reason() -> None:
    sources = [str(path) for path in (ROOT / "src" / "share_kernel").rglob("*.py")]
    for rule in CONFIG["excluded"]:
        assert any(path.endswith(rule["file"]) for path in sources), rule
        assert rule["reason"].endswith("."), rule
