"""Lance les processus de la démonstration, affiche leur récit à mesure, range tout.

Sans ``BROKER_URL`` : le web et le relais, aucun serveur. Avec : le web, un worker Celery et
le relais. ``--faults`` joue des pannes, et ``--record`` en garde le récit.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import faults, journal, record
from .stage import (
    BOLD,
    CELERY,
    COLOURS,
    DIM,
    MANAGE,
    DemoError,
    Stage,
    paint,
    show,
    stage,
)


def check_broker() -> None:
    """Refuse de commencer sans le broker annoncé.

    Raises:
        DemoError: il ne répond pas.
    """
    from conf.celery import app

    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)
        except Exception as error:
            raise DemoError(
                f"No broker answers at {connection.as_uri()} (BROKER_URL): {error}\n"
                "Start it, or unset BROKER_URL: the demo needs no server."
            ) from None


def play(opened: Stage) -> None:
    """Joue la démonstration d’un bout à l’autre."""
    opened.journal.touch()
    opened.manage("migrate")
    if opened.broker_url:
        opened.start("worker", CELERY)
        opened.start("relay", [*MANAGE, "relay_events"])
    else:
        opened.start("relay", [*MANAGE, "relay_events", "--execute"])
    opened.start("web", [sys.executable, "-m", "conf.demo.story"])
    introduce(opened)
    opened.follow()
    conclude(opened)


def introduce(opened: Stage) -> None:
    """Présente les processus."""
    roles = {"web": "calls services; sync handlers run here, before its commit"}
    if opened.broker_url:
        show(paint("The event bus with a Celery worker.", BOLD))
        roles["worker"] = "celery -A conf worker: async handlers run here, after that commit"
        roles["relay"] = "manage.py relay_events: wakes the worker again when a delivery is due"
    else:
        show(paint("The event bus without any server: two processes and one SQLite file.", BOLD))
        roles["relay"] = (
            "manage.py relay_events --execute: async handlers run here, after that commit"
        )
    for name, role in roles.items():
        who = paint(f"{name:6} {opened.processes[name].pid:<7}", COLOURS[name])
        show(f"  {who}  {role}")


def conclude(opened: Stage) -> None:
    """Montre le registre, et où lire la suite."""
    show(f"\n{paint('The register of deliveries, at the end', BOLD)}")
    show(paint("$ python manage.py events_status", DIM))
    show(opened.manage("events_status").rstrip())
    show(f"\n{paint('Read on', BOLD)}")
    show("  conf/demo/story.py                  what the web process did")
    show("  conf/demo/handlers.py               the handler that failed twice")
    show("  docs/tutoriel/avec-un-worker.md     the same, step by step, in your project")
    show("  make serve                          the whole site, in French and English")
    if not opened.broker_url:
        show("  BROKER_URL=redis://127.0.0.1:6379/0 make demo    the same with a Celery worker")


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Lit les options de la commande."""
    parser = argparse.ArgumentParser(prog="conf.demo", description="The event bus at work.")
    parser.add_argument("--faults", action="store_true", help="kill a worker, stop a broker")
    parser.add_argument("--record", type=Path, help="with --faults: the JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Renvoie le code de sortie : 0, 1 après une erreur, 130 après une interruption."""
    options = parsed(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # like Ctrl-C: leave by tidying up
    broker_url = os.environ.get("BROKER_URL", "")
    try:
        if options.faults:
            with stage("", faults=True) as opened:
                faults.play(opened)
                if options.record:
                    record.write(options.record, journal.read(opened.journal))
            return 0
        if broker_url:
            check_broker()
        with stage(broker_url) as opened:
            play(opened)
    except KeyboardInterrupt:
        show("\nInterrupted; nothing is left behind.")
        return 130
    except BrokenPipeError:  # nobody reads any more, as after `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
