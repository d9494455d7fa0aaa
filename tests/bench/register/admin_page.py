"""Le programme qui lit, en administrateur, la page du registre."""

import django


def main() -> None:
    django.setup()
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from src.share_kernel.infrastructure.outbox.models import Delivery

    user, _ = get_user_model().objects.get_or_create(
        username="bench", is_staff=True, is_superuser=True
    )
    client = Client()
    client.force_login(user)
    meta = Delivery._meta
    page = client.get(reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"), follow=True)
    assert page.status_code == 200, page.status_code


if __name__ == "__main__":
    main()
