"""Repositories, for those who prefer them to the verbs of Model."""

from core.database.repository import Repository

__all__ = ["Repository"]
