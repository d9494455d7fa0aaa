from django_tenants.models import TenantMixin


class Client(TenantMixin):  # type: ignore[misc]
    """Ce que django-tenants veut savoir d’un tenant ; l’enregistrer crée le schéma."""
