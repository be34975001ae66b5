"""Office files and books."""
