"""Le bus à l’œuvre : ``make demo``."""
