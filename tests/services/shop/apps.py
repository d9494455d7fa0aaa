from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.services.shop"
    label = "shop"
