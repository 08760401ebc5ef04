"""Functions over any select."""
