"""Un serveur PostgreSQL privé, et ce qu’il a compté pendant une mesure."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.brokers import LOCALHOST, free_port
from tests.chaos.children import Child, eventually
from tests.chaos.missing import MissingError

MEASURED = "bench"  # the role of who is measured; the bench itself is postgres
SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": 100_000,  # each savepoint has a name of its own
    "autovacuum": "off",  # statistics are those that a measure asks for
    "checkpoint_timeout": "1h",  # pages are written whole in the WAL after each checkpoint
    "max_wal_size": "64GB",
    "shared_buffers": "256MB",
    "timezone": "UTC",  # else Django asks for it at each connection
}


@dataclass(frozen=True)
class Counts:
    """Ce qu’une mesure a demandé au serveur, le banc lui-même excepté."""

    statements: int
    commits: int
    fsyncs: int
    wal: int  # bytes


class Server:
    """PostgreSQL dans un dossier jetable, ``fsync`` en marche comme partout.

    Raises:
        MissingError: PostgreSQL n’est pas installé.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder / "postgresql", free_port()
        self.folder.mkdir()
        folder.chmod(0o755)
        if user := _user():
            shutil.chown(self.folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        command = ["postgres", "-h", LOCALHOST, f"-p{self.port}", f"-k{self.folder}", *options]
        self.child = Child(
            "server", "postgres", _command(*command, f"-D{self.folder}"), dict(os.environ), folder
        )

    def start(self) -> None:
        """Démarre le serveur et attend qu’il réponde."""
        self.child.start()
        eventually(self._answers, "PostgreSQL", self.child.said, seconds=60)
        self.ask("CREATE EXTENSION pg_stat_statements")
        self.ask(f"CREATE ROLE {MEASURED} LOGIN")

    def close(self) -> None:
        """Ne laisse rien tourner."""
        self.child.stop()

    def url(self, database: str, role: str = MEASURED) -> str:
        """Renvoie l’adresse d’une base."""
        return f"postgresql://{role}@{LOCALHOST}:{self.port}/{database}"

    def connect(self, database: str) -> psycopg.Connection:
        """Ouvre une connexion dont rien n’est compté, et où chaque requête se valide elle-même."""
        return psycopg.connect(self.url(database, "postgres"), autocommit=True)

    def ask(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Exécute une requête sur une connexion neuve."""
        with self.connect(database) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, database: str = "postgres") -> Any:
        """Renvoie la seule valeur d’une requête."""
        return self.ask(sql, database)[0][0]

    def create(self, name: str, template: str = "template1") -> str:
        """Crée une base, ou la recrée, copie d’une autre ; renvoie son nom."""
        self.ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {MEASURED}")
        return name

    def count(self, database: str) -> Count:
        """Commence à compter ce qu’on demande à cette base."""
        return Count(self, database)

    def commits(self, since: str) -> int:
        """Compte dans le journal les transactions validées qui ont écrit."""
        # A commit that waits: what asynchronous ones wrote before it is then on the disk.
        self.ask("SELECT pg_logical_emit_message(true, 'bench', '')")
        until = self.value("SELECT pg_current_wal_insert_lsn()")
        told = self._run(
            "pg_waldump", "--path=pg_wal", "--rmgr=Transaction", "--stats=record",
            f"--start={since}", f"--end={until}",
        )  # fmt: skip
        found = re.search(r"^Transaction/COMMIT\s+(\d+)", told, re.MULTILINE)
        assert found, told
        return int(found[1]) - 1

    def _answers(self) -> bool:
        if not self.child.runs():
            raise RuntimeError(self.child.log_path.read_text(errors="replace"))
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def _run(self, program: str, *args: str) -> str:
        env = os.environ | {"PGDATA": str(self.folder)}
        done = subprocess.run(
            _command(program, *args), cwd=self.folder, env=env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")
        return done.stdout


class Count:
    """Une mesure en cours."""

    def __init__(self, server: Server, database: str) -> None:
        self.server, self.database = server, database
        server.ask("SELECT pg_stat_statements_reset()")
        self._lsn = server.value("SELECT pg_current_wal_insert_lsn()")
        self._fsyncs = self._read_fsyncs()

    def so_far(self) -> Counts:
        """Renvoie ce qui est compté, une fois finis les processus mesurés."""
        wal = self.server.value(f"SELECT pg_current_wal_insert_lsn() - '{self._lsn}'")
        return Counts(
            statements=self._sum("calls"),
            fsyncs=self._read_fsyncs() - self._fsyncs,
            wal=int(wal),
            commits=self.server.commits(self._lsn),  # last: it writes, and commits
        )

    def pages(self, table: str) -> int:
        """Renvoie combien de pages ont touché les requêtes qui nomment cette table."""
        return self._sum("shared_blks_hit + shared_blks_read", f"AND query LIKE '%{table}%'")

    def _sum(self, what: str, where: str = "") -> int:
        sql = (
            f"SELECT coalesce(sum({what}), 0) FROM pg_stat_statements s"
            " JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid"
            f" WHERE datname = '{self.database}' AND rolname = '{MEASURED}' {where}"
        )
        return int(self.server.value(sql))

    def _read_fsyncs(self) -> int:
        is_recent = int(self.server.value("SHOW server_version_num")) >= 180_000
        moved = "SELECT sum(fsyncs)::int FROM pg_stat_io WHERE object = 'wal'"
        return int(self.server.value(moved if is_recent else "SELECT wal_sync FROM pg_stat_wal"))


def _command(program: str, *args: str) -> list[str]:
    """Renvoie la commande d’un programme de PostgreSQL, qui refuse de tourner en root."""
    change = []
    if user := _user():
        change = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*change, str(_binaries() / program), *args]


def _user() -> pwd.struct_passwd | None:
    """Renvoie qui doit exécuter le serveur, si ce n’est pas celui qui exécute le banc."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return users.get("postgres") or users["nobody"]


def _binaries() -> Path:
    """Renvoie le dossier des programmes du serveur, que Debian laisse hors du ``PATH``."""
    found: Sequence[Path] = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    program = shutil.which("initdb") or (found and found[-1])
    if not program:
        raise MissingError("initdb: PostgreSQL’s server is not installed")
    return Path(program).resolve().parent
