"""Les tables du module tenant."""

from django.db import models


class Tenant(models.Model):
    """Un client de la plateforme, avec son schéma de base de données."""

    slug = models.SlugField(unique=True)
    schema_name = models.CharField(max_length=63, unique=True)  # PostgreSQL’s limit for a name

    def __str__(self) -> str:
        return self.slug
