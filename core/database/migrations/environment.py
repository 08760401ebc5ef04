"""What Alembic must know of our tables; app/migrations/env.py hands it over."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Integer
from sqlalchemy.sql.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from core.database.metadata import metadata
from core.database.migrations.time_series import add_time_series
from core.database.types import Instant

__all__ = ["comparison", "run_migrations", "tables_of"]

_NOW = re.compile(r"\b(?:now|current_timestamp|localtimestamp)\b(?:\(\d*\))?")
_MADE = re.compile(r"""(?:create_table\(|rename_table\([^,]*,)\s*["']([^"']+)["']""")


def run_migrations(context: Any, **options: Any) -> None:
    """Run what the present command asks for, on the connection that came with it.

    Args:
        context: ``alembic.context``.
        options: More options of Alembic's ``context.configure``, or others in place of ours.
    """
    config: EnvironmentContext = context
    attributes = config.config.attributes
    context.configure(
        connection=attributes["connection"],
        on_version_apply=attributes.get("on_version_apply", ()),
        process_revision_directives=_finish,
        # PostgreSQL keeps what has succeeded, and ends a revision that fails without a trace.
        transaction_per_migration=True,
        **comparison(Path(config.script.versions)) | options,
    )
    with context.begin_transaction():
        context.run_migrations()


def comparison(versions: Path) -> dict[str, Any]:
    """How models and tables are compared, and how differences are written down.

    Args:
        versions: The folder of the revision files.
    """
    return {
        "target_metadata": metadata,
        "compare_type": True,
        "compare_server_default": _differs,
        # SQLite alters a table by copying it, and revisions run on every database.
        "render_as_batch": True,
        "render_item": _render,
        "include_object": _Ours(versions),
        "user_module_prefix": None,
    }


class _Ours:
    """Leaves tables alone that no revision has made: those of extensions, partitions, other programs."""

    def __init__(self, versions: Path) -> None:
        self._versions = versions

    def __call__(self, item: SchemaItem, name: str | None, kind: str, reflected: bool, compared: object) -> bool:
        if kind != "table" or not reflected or compared is not None:
            return True
        return name in tables_of(self._versions)


def tables_of(versions: Path) -> set[str]:
    """The names of the tables that the revision files create, or rename others to."""
    return {name for file in versions.glob("*.py") for name in _MADE.findall(file.read_text(encoding="utf-8"))}


def _differs(
    context: MigrationContext,
    _there: object,
    _wanted: object,
    stored: str | None,
    _default: object,
    rendered: str | None,
) -> bool | None:
    """Compare server defaults where the databases' own words for them must be known; ``None`` leaves it to Alembic."""
    if context.dialect.name not in {"mysql", "mariadb"} or stored is None or rendered is None:
        return None
    return _plain(stored) != _plain(rendered)


def _plain(default: str) -> str:
    """Spell a default of MySQL or MariaDB in one way: they keep ``now()`` and ``false`` as something else."""
    if default.startswith("'"):
        return default[1:-1]
    default = _NOW.sub("now", default.lower())
    return {"true": "1", "false": "0"}.get(default, default)


def _render(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    """Write our types by their names; imports go to the top of the file."""
    if kind != "type" or not isinstance(item, TypeEngine):
        return False
    if isinstance(item, Instant):
        context.imports.add("from core.model import Instant")
        return "Instant()"
    if _is_big_id(item):
        context.imports.add("from core.model import BigId")
        return "BigId"
    module = type(item).__module__
    if not module.startswith("sqlalchemy."):
        context.imports.add(f"import {module}")
    return False


def _is_big_id(item: TypeEngine[Any]) -> bool:
    variants = item._variant_mapping
    return type(item) is BigInteger and set(variants) == {"sqlite"} and type(variants["sqlite"]) is Integer


def _finish(context: MigrationContext, _revision: object, directives: list[Any]) -> None:
    """Write no file when there is nothing to do, and none that only the present database could read."""
    config = context.config
    assert config is not None
    for directive in directives:
        add_time_series(directive, ScriptDirectory.from_config(config))
        for operation in _alterations(directive.upgrade_ops.ops):
            column = metadata.tables[operation.table_name].columns.get(operation.column_name)
            if column is not None and operation.modify_type is None:
                operation.existing_type = column.type
    if config.attributes.get("only_differences") and all(directive.upgrade_ops.is_empty() for directive in directives):
        directives.clear()


def _alterations(operations: Iterable[ops.MigrateOperation]) -> Iterable[ops.AlterColumnOp]:
    for operation in operations:
        if isinstance(operation, ops.OpContainer):
            yield from _alterations(operation.ops)
        elif isinstance(operation, ops.AlterColumnOp):
            yield operation
