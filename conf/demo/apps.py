"""L’application Django de la démonstration."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """Fait raconter par chaque processus ce qu’il exécute."""

    name = "conf.demo"
    label = "demo"

    def ready(self) -> None:
        """Entoure les handlers des modules, que ``share_kernel`` vient d’importer."""
        from .narration import narrate

        narrate()
