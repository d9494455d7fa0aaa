"""Une petite boutique et son administration, pour le navigateur et pour les images du guide."""
