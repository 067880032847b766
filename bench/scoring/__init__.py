"""Scores of stored cells, of cells made elsewhere, and of cells made worse on purpose."""
