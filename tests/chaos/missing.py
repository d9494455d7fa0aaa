"""Ce qui manque à une pile."""


class MissingError(Exception):
    """Un programme ou un service nécessaire à cette pile est absent."""
