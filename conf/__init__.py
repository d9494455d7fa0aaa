"""Configuration du projet de référence."""

try:
    # Without this import, only the worker would know the application, and the web process
    # would publish to nobody.
    from .celery import app as celery_app
except ModuleNotFoundError as error:
    if error.name != "celery":
        raise
else:
    __all__ = ["celery_app"]
