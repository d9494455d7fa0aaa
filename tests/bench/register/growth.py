"""Ce que le registre lit et écrit quand sa table grandit, en pages et en octets."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

from .contestants import CONTESTANTS, MANAGE, OUTBOX, Stage
from .drains import until_done
from .server import Server

ADMIN = ("django.contrib.admin", "django.contrib.messages", "django.contrib.sessions")
REGISTER = replace(CONTESTANTS[0], key="growth", apps=(OUTBOX, *ADMIN))
TABLES = "share_kernel_outbox"  # how the names of the register's tables begin
TABLE = f"{TABLES}_delivery"
CONTROL = "sequential_delivery"
ENROLLED = 500  # rows of a measure
LOOKED_AT = 200  # deliveries in front of a backlog
PATIENCE = 30.0  # seconds without any delivery, after which the plan is what it is

Pages = dict[str, float]


def growth(stage: Stage, sizes: list[int]) -> dict[int, Pages]:
    """Renvoie, pour chaque nombre de lignes soldées, ce que coûte chaque opération."""
    database = _seeded(stage)
    control = _sequential_wal(stage.server, database)
    measured, settled = {}, 1
    for size in sizes:
        print(f"  {size} settled rows …", flush=True)
        # Each older than the last: a register is settled in the order of its pages.
        clone(stage.server, database, size - settled, state="done", first=settled)
        settled = max(size, settled) + ENROLLED
        stage.server.ask("VACUUM ANALYZE", database)
        measured[size] = dict(_operations(stage, database)) | {"sequential": control}
    return measured


def stale_statistics(stage: Stage, backlog: int) -> Pages:
    """Renvoie les pages d’une livraison devant *backlog* autres, selon l’âge des statistiques."""
    database = _seeded(stage)
    clone(stage.server, database, backlog, state="done")
    stage.server.ask("VACUUM ANALYZE", database)
    clone(stage.server, database, backlog, state="pending")
    some = min(LOOKED_AT, backlog // 3)  # those that are on their way at the end are left over
    stale = _pages_a_delivery(stage, database, some)
    stage.server.ask("VACUUM ANALYZE", database)
    return {"stale": stale, "fresh": _pages_a_delivery(stage, database, some)}


def _seeded(stage: Stage) -> str:
    """Crée une base où une livraison a eu lieu, et garde sa ligne dans chacun de ses états."""
    database = stage.fresh(REGISTER, "growth")
    stage.publish(REGISTER, database, 1, 1)
    stage.server.ask(f"CREATE TABLE pending_sample AS TABLE {TABLE}", database)
    stage.run(REGISTER, database, *MANAGE, "relay_events", "--execute", "--once")
    stage.server.ask(f"CREATE TABLE done_sample AS TABLE {TABLE}", database)
    return database


def _operations(stage: Stage, database: str) -> Iterator[tuple[str, float]]:
    yield "enrol", _enrolment_wal(stage, database)
    programs = {
        "relay": (*MANAGE, "relay_events", "--execute", "--once"),
        "status": (*MANAGE, "events_status"),
        "admin": (sys.executable, "-m", "tests.bench.register.admin_page"),
    }
    for name, program in programs.items():
        count = stage.server.count(database)
        stage.run(REGISTER, database, *program)
        pages = count.pages(TABLES)
        yield name, pages / ENROLLED if name == "relay" else pages


def _enrolment_wal(stage: Stage, database: str) -> float:
    # The first change to a page after a checkpoint writes it whole: what a random key costs.
    stage.server.ask("CHECKPOINT")
    count = stage.server.count(database)
    stage.publish(REGISTER, database, ENROLLED, 100)
    return count.so_far().wal / ENROLLED


def _sequential_wal(server: Server, database: str) -> float:
    """Renvoie les octets de journal par ligne, si les clés se suivaient."""
    server.ask(f"CREATE TABLE {CONTROL} (LIKE {TABLE} INCLUDING ALL)", database)
    clone(server, database, 10_000, state="pending", into=CONTROL)
    server.ask("CHECKPOINT")
    count = server.count(database)
    for first in range(10_000, 10_000 + ENROLLED, 100):
        clone(server, database, 100, state="pending", into=CONTROL, first=first)
    return count.so_far().wal / ENROLLED


def _pages_a_delivery(stage: Stage, database: str, some: int) -> float:
    stage.server.ask("TRUNCATE bench_effect", database)
    count = stage.server.count(database)
    with stage.working(REGISTER, database), contextlib.suppress(TimeoutError):
        until_done(stage, database, some, PATIENCE)
    done = stage.server.value("SELECT count(*) FROM bench_effect", database)
    return float(count.pages(TABLES) / max(done, 1))


def clone(
    server: Server, database: str, count: int, *, state: str, into: str = TABLE, first: int = 0
) -> None:
    """Copie *count* fois une ligne de cet état, chaque copie une seconde avant la précédente.

    Les colonnes sont celles que la base a : seuls changent les identifiants, les dates et l’état.
    """
    columns = server.ask(
        "SELECT column_name, udt_name FROM information_schema.columns"
        f" WHERE table_name = '{TABLE}' AND is_identity = 'NO'",
        database,
    )
    sample = str(server.value(f"SELECT event_id FROM {state}_sample", database))
    identifier = _identifier(sample, sequential=into == CONTROL)
    values = {name: _value(name, kind, identifier) for name, kind in columns}
    server.ask(
        f"INSERT INTO {into} ({', '.join(values)}) SELECT {', '.join(values.values())}"
        f" FROM {state}_sample, generate_series({first + 1}, {first + count}) AS n"
        " ON CONFLICT DO NOTHING",
        database,
    )


def _value(name: str, kind: str, identifier: str) -> str:
    """Renvoie l’expression d’une colonne, pour la copie numéro *n*."""
    values = {"uuid": identifier, "timestamptz": f"{name} - n * interval '1 second'"}
    return values.get(kind, name)


def _identifier(sample: str, *, sequential: bool) -> str:
    """Renvoie l’expression d’un identifiant de la même sorte que celui-ci, ou qui se suit."""
    if sequential:
        return "lpad(to_hex(n), 32, '0')::uuid"
    if re.match(r".{14}7", sample):  # ordered by time: so are the copies
        return (
            "(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - n * 1000), 12, '0')"
            " || '7' || substr(md5(random()::text), 1, 19))::uuid"
        )
    return "gen_random_uuid()"
