"""Migrations: Alembic, run from our own code on our own connections."""

from core.database.migrations.runner import Migrations
from core.database.migrations.state import SchemaState, Step

__all__ = ["Migrations", "SchemaState", "Step"]
