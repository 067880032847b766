"""The count ACTIVA: its networks over a count likelihood."""
