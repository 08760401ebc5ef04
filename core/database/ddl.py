"""How tables are created on MySQL and MariaDB, whatever their server's defaults are."""

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.compiler import DDLCompiler

__all__ = ["table_options"]


def table_options(dialect: Dialect) -> dict[str, str]:
    """The options of every table on MySQL or MariaDB that does not choose its own.

    Texts compare byte by byte, as on PostgreSQL and SQLite: under the servers' default collations the
    device ``Pump`` and the device ``pump`` are one, and so are ``pump`` and ``pump`` with a space at its end.
    """
    if getattr(dialect, "is_mariadb", False):
        collation = "utf8mb4_nopad_bin"
    else:
        # The collation without padding came with MySQL 8.0.17; a dialect that is not connected knows no version.
        version = getattr(dialect, "server_version_info", None) or (8, 4)
        collation = "utf8mb4_0900_bin" if version >= (8, 0, 17) else "utf8mb4_bin"
    return {"engine": "InnoDB", "default_charset": "utf8mb4", "collate": collation}


# Here and not in each model: it holds for Alembic's migrations too.
@compiles(CreateTable, "mysql")
@compiles(CreateTable, "mariadb")
def _create_table(element: CreateTable, compiler: DDLCompiler, **options: Any) -> str:
    table = element.element
    chosen = {name.partition("_")[2] for name in table.kwargs if name.startswith(f"{compiler.dialect.name}_")}
    if chosen & {"charset", "default_charset", "collate"}:
        chosen |= {"default_charset", "collate"}
    added = [
        f"{name.replace('default_', 'DEFAULT ').upper()}={value}"
        for name, value in table_options(compiler.dialect).items()
        if name not in chosen
    ]
    created: str = compiler.visit_create_table(element, **options)  # type: ignore[no-untyped-call]
    return " ".join([created.rstrip(), *added])
