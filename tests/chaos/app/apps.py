"""L’application de la tourmente."""

import sys
from importlib import import_module

from django.apps import AppConfig, apps

KERNEL = "src.share_kernel.infrastructure"
SHORTER = {
    "CLAIM": 3.0,
    "LEASE": 1.0,
    "MAX_DOUBLINGS": 3,  # a lease of a minute would outlive the run
    "BACKOFF_BASE": 0.2,
    "BACKOFF_MAX": 2.0,
}


class ChaosConfig(AppConfig):
    """Des commandes, leurs effets, et des handlers de toutes les humeurs."""

    name = "tests.chaos.app"
    label = "chaos"

    def ready(self) -> None:
        """Installe de quoi mourir, et raccourcit les délais : un essai dure une minute.

        Les délais réels conviennent à des pannes de plusieurs minutes. Les rapports entre eux
        restent les mêmes, et le protocole aussi.
        """
        from . import fatal

        fatal.install()
        if apps.is_installed(f"{KERNEL}.outbox"):
            shorten()


def shorten() -> None:
    """Raccourcit les délais du bus, où qu’ils soient écrits."""
    import_module(f"{KERNEL}.outbox.relay")  # and with it all those that hold a delay
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith(KERNEL)]
    for name, value in SHORTER.items():
        holders = [names for names in modules if name in names]  # an import makes a copy
        assert holders, f"no module of the kernel holds {name}"
        for names in holders:
            names[name] = value
