"""La version de cette copie ; le CHANGELOG du dépôt dit ce qui a changé depuis."""

__version__ = "0.1.0"
