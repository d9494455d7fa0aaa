"""L’application de la tourmente."""

from django.apps import AppConfig, apps


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
        if not apps.is_installed("src.share_kernel.infrastructure.outbox"):
            return
        from src.share_kernel.infrastructure import retry
        from src.share_kernel.infrastructure.outbox import delivering, enrolment, relay

        delivering.CLAIM = 3.0
        for module in (delivering, enrolment, relay):  # each holds its own copy
            vars(module)["LEASE"] = 1.0
        relay.MAX_DOUBLINGS = 3  # a lease of a minute would outlive the run
        retry.BACKOFF_BASE, retry.BACKOFF_MAX = 0.2, 2.0
