def resend(handler: str, *, wait: float = 0.0) -> int:
    """Renvoie un réveil aux livraisons en retard d’un handler.

    Quand cela s’exécute : tout de suite, hors de toute transaction.
    Une erreur du broker n’efface rien : le relais les renverra.
    L’explication est dans :doc:`/guides/ne-rien-perdre`.

    Args:
        handler: le nom stable du handler, comme l’affiche ``list_event_handlers``.
        wait: l’attente avant l’envoi, en secondes.

    Returns:
        Le nombre de réveils envoyés.

    Raises:
        UnknownHandlerError: quand aucun abonnement ne porte ce nom.
    """
