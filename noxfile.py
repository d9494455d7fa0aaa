"""Rejoue les tests sur chaque Python présent : 3.11 avec Django 5.2, les autres avec Django 6."""

import nox

nox.options.error_on_missing_interpreters = False  # absent ones are reported, not failed
nox.options.default_venv_backend = "venv"


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Installe les versions exactes de ce Python et exécute les tests."""
    session.install("--quiet", "--constraint", "constraints.txt", "--editable", ".[tests]")
    # Without a compiler the tests on MariaDB are skipped, and say so.
    session.install("--quiet", "-c", "constraints.txt", "mysqlclient", success_codes=[0, 1])
    session.run("python", "docs/_ext/build_site.py")
    session.run("python", "-m", "pytest", "--quiet", *session.posargs)
