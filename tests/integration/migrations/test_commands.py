"""The commands, on each database."""

import shutil
import sys

import pytest

from tests.acceptance.test_documentation import ROOT, fences_of
from tests.integration.migrations.project import Project

PAGE = fences_of((ROOT / "docs" / "database" / "migrations.md").read_text())
NOTHING = "Nothing to do: the tables are as the models say.\n"
FIRST = "0001 create the first tables"

CREATE_TABLES = """
import asyncio, sys
from app import models
from core.model import Model

async def main():
    Model.configure(sys.argv[1])
    await Model.create_tables()
    await Model.cleanup()

asyncio.run(main())
"""

GREENHOUSE = """
import enum
import uuid
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint, Enum, ForeignKey, Index, Integer, Numeric, String, Text, UniqueConstraint, false, func, text
)

from core.model import BigId, Instant, Mapped, Model, mapped_column


class Kind(enum.Enum):
    GLASS = "glass"
    FOIL = "foil"


class Roof(enum.StrEnum):
    FLAT = "flat"


class Floor(enum.IntEnum):
    GROUND = 0


class Greenhouse(Model):
    __tablename__ = "greenhouses"
    __table_args__ = (
        UniqueConstraint("name", "kind"),
        CheckConstraint("area > 0", name="area_positive"),
        Index(None, "built"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[int | None] = mapped_column(ForeignKey("devices.id", ondelete="SET NULL"))
    name: Mapped[str]
    kind: Mapped[Kind] = mapped_column(Enum(Kind, native_enum=False, length=16))
    shape: Mapped[Kind] = mapped_column(Enum(Kind, name="greenhouse_shape"))
    roof: Mapped[Roof] = mapped_column(server_default="flat")
    floor: Mapped[Floor | None]
    area: Mapped[float]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    built: Mapped[date | None]
    key: Mapped[uuid.UUID]
    notes: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict[str, Any]]
    heated: Mapped[bool] = mapped_column(server_default=false())
    doors: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    colour: Mapped[str] = mapped_column(String(16), server_default="green")
    seen: Mapped["datetime"] = mapped_column(Instant, server_default=func.now())
""".replace('Mapped["datetime"]', "Mapped[datetime]").replace("import date, timedelta", "import date, datetime")


async def test_up_down_and_up_again(project: Project) -> None:
    """Revisions leave nothing behind on their way down, and make on each way up what create_tables() makes.

    The same to the last type, default, constraint, index, engine and collation.
    """
    assert f"applied  {FIRST}\n" == project.done("migrate")
    assert {"devices", "sensor_readings", "transfer_logs", "users"} < await project.tables()
    assert NOTHING == project.done("migrate:make", "nothing")
    assert "Nothing to do: every revision is applied.\n" == project.done("migrate")
    migrated = await project.description()
    assert f"undone  {FIRST}\n" == project.done("migrate:rollback", "9")
    assert {"alembic_version"} == await project.tables()
    assert "Nothing to undo: no revision is applied.\n" == project.done("migrate:rollback")
    assert f"applied  {FIRST}\n" == project.done("migrate")
    assert NOTHING == project.done("migrate:make", "nothing")
    project.done("migrate:rollback")
    project.python(CREATE_TABLES)
    assert await project.description() == migrated


async def test_new_model_becomes_a_revision(project: Project) -> None:
    """A file in app/models is enough; the revision says all there is to say, and its way back leaves nothing."""
    project.done("migrate")
    project.write("app/models/greenhouse.py", GREENHOUSE)
    out = project.done("migrate:make", "add greenhouses")
    source = project.revisions[-1].read_text()
    assert (
        f"Wrote app/migrations/versions/{project.revisions[-1].name}: read it, then run: python main.py migrate\n"
        == out
    )
    assert "from core.model import Instant" in source
    assert "sa.Column('seen', Instant(), server_default=sa.text('" in source
    assert "sa.Column('id', BigId, nullable=False)" in source
    assert "add greenhouses" in project.done("migrate")
    project.write("app/models/greenhouse.py", GREENHOUSE.replace('FLAT = "flat"', 'FLAT = "flat"; STEEP = "steep"'))
    assert NOTHING == project.done("migrate:make", "nothing")
    assert "add greenhouses" in project.done("migrate:rollback")
    assert "greenhouses" not in await project.tables()
    assert "add greenhouses" in project.done("migrate")
    assert "add greenhouses" in project.done("migrate:fresh", "--yes")


async def test_altered_model_becomes_a_revision_that_keeps_rows_and_constraints(project: Project) -> None:
    """SQLite alters by copying; neither rows, nor what refers to them, nor constraints get lost there."""
    project.write("app/models/greenhouse.py", GREENHOUSE)
    project.done("migrate")
    project.done("migrate:make", "add greenhouses")
    project.done("migrate")
    await project.sql(
        "INSERT INTO devices (id, device_id, name, device_type, status, created_at, updated_at) "
        "VALUES (7, 'pump', '', '', 'unknown', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
    )
    await project.sql(
        'INSERT INTO greenhouses (id, device, name, kind, shape, area, price, "key", notes, settings) '
        "VALUES (1, 7, 'north', 'GLASS', 'FOIL', 12.5, 1.5, '01234567-89ab-4cde-8f01-23456789abcd', '', '{}')".replace(
            '"', "`" if project.url.startswith(("mysql", "mariadb")) else '"'
        )
    )
    device = (project.root / "app/models/device.py").read_text()
    name = 'name: Mapped[str] = mapped_column(String(255), default="")'
    assert name in device
    site = 'site: Mapped[str] = mapped_column(server_default="here")'
    project.write("app/models/device.py", device.replace(name, f"name: Mapped[str | None]\n    {site}"))
    reading = (project.root / "app/models/sensor_reading.py").read_text()
    project.write("app/models/sensor_reading.py", reading.replace("unit: Mapped[str]", "unit: Mapped[str | None]"))

    project.done("migrate:make", "alter devices")
    project.done("migrate")
    assert NOTHING == project.done("migrate:make", "nothing")
    assert [("pump", "here")] == await project.sql("SELECT device_id, site FROM devices WHERE name = ''")
    assert [(7,)] == await project.sql("SELECT device FROM greenhouses")
    with pytest.raises(Exception, match="has_origin"):
        await project.sql(
            "INSERT INTO sensor_readings (id, device_id, sensor_id, sensor_type, value, timestamp) "
            "VALUES (1, '', '', '', 1, '2026-01-01 00:00:00')"
        )
    before = await project.description()
    project.done("migrate:rollback")
    assert [(7,)] == await project.sql("SELECT device FROM greenhouses")
    project.done("migrate")
    assert before == await project.description()


@pytest.mark.parametrize("fresh_database", ["sqlite", "mariadb"], indirect=True)
async def test_dropped_model_takes_its_table_along_but_no_other(project: Project) -> None:
    """Tables that no revision has made belong to somebody else."""
    project.done("migrate")
    await project.sql("CREATE TABLE somebody_elses (id integer)")
    (project.root / "app/models/transfer_log.py").unlink()
    models = (project.root / "app/models/__init__.py").read_text()
    project.write("app/models/__init__.py", "\n".join(line for line in models.splitlines() if "transfer" not in line))
    project.done("migrate:make", "drop the log")
    project.done("migrate")
    tables = await project.tables()
    assert "transfer_logs" not in tables
    assert "somebody_elses" in tables


def test_status_and_rollback_by_steps(small_project: Project) -> None:
    """What is applied, what is pending, and what to do about it."""
    project = small_project
    project.revision("0002", "0001", "op.create_table('a', sa.Column('id', sa.Integer))", "op.drop_table('a')")
    project.revision("0003", "0002", "op.create_table('b', sa.Column('id', sa.Integer))", "op.drop_table('b')")
    pending = [f"pending  {FIRST}", "pending  0002 step 0002", "pending  0003 step 0003"]
    assert [*pending, "The database has no tables; fix: python main.py migrate."] == status(project)
    project.done("migrate")
    applied = [line.replace("pending", "applied") for line in pending]
    assert [*applied, "The database is at the newest revision."] == status(project)
    assert "undone  0003 step 0003\nundone  0002 step 0002\n" == project.done("migrate:rollback", "2")
    behind = "The database is behind its migrations by 2 (0002 step 0002; 0003 step 0003); fix: python main.py migrate."
    assert [applied[0], *pending[1:], behind] == status(project)


def status(project: Project) -> list[str]:
    return project.done("migrate:status").splitlines()


async def test_fresh_asks_and_then_begins_anew(project: Project) -> None:
    """Nothing happens without a yes; tables of others stay."""
    project.done("migrate")
    await project.sql("CREATE TABLE somebody_elses (id integer)")
    insert = "INSERT INTO users (id, user_id, name, created_at, updated_at) VALUES (1, 'a', '', '{0}', '{0}')"
    await project.sql(insert.format("2026-01-01 00:00:00"))
    for answer in ("", "n\n"):
        code, out, _ = project.run("migrate:fresh", answer=answer)
        assert (1, True) == (code, out.startswith("Drop all tables of "))
        assert "secret" not in out
    assert [(1,)] == await project.sql("SELECT count(*) FROM users")
    code, out, _ = project.run("migrate:fresh", answer="y\n")
    assert (0, True) == (code, out.endswith(f"applied  {FIRST}\n"))
    assert [(0,)] == await project.sql("SELECT count(*) FROM users")
    assert f"applied  {FIRST}\n" == project.done("migrate:fresh", "--yes")
    assert "somebody_elses" in await project.tables()


async def test_the_page_makes_a_table_and_takes_it_back(project: Project) -> None:
    """`make migrate`, `make migration` and `make rollback`, as docs/database/migrations.md prints them."""
    (project.root / ".venv").symlink_to(sys.prefix)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, project.root)
    model = PAGE[0].code
    project.write(model.removeprefix("# ").partition("\n")[0], model)
    (commands,) = [fence.code for fence in PAGE if fence.language == "sh"]
    first, made, applied, undone = [
        (project.shell(command).splitlines()[-1], "houses" in await project.tables())
        for command in commands.splitlines()
    ]
    assert (f"applied  {FIRST}", False) == first
    assert (True, False) == (made[0].startswith("Wrote app/migrations/versions/"), made[1])
    assert [("applied", True), ("undone", False)] == [(out.split()[0], there) for out, there in (applied, undone)]
    assert applied[0].endswith("add houses")


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_index_can_be_built_while_others_write(project: Project) -> None:
    """As the page says: CREATE INDEX CONCURRENTLY stands outside of transactions, and does not wait for our lock."""
    columns = "sa.Column('id', sa.Integer), sa.Column('name', sa.String(9))"
    project.revision("0002", "0001", f"op.create_table('houses', {columns})", "op.drop_table('houses')")
    project.revision("0003", "0002", "pass")
    written = project.revisions[-1].read_text()
    (upgrade,) = [fence.code for fence in PAGE if "autocommit_block" in fence.code]
    project.write("app/migrations/versions/0003.py", f"{written}\n{upgrade}")
    assert "applied  0003 step 0003" in project.done("migrate")
    found = await project.sql("SELECT indexname FROM pg_indexes WHERE indexname = 'ix_houses_name'")
    assert [("ix_houses_name",)] == found


async def test_failed_revision_is_named_with_what_is_left_of_it(project: Project) -> None:
    """PostgreSQL keeps what was done before it, SQLite nothing, MariaDB also half of it, and says so."""
    project.revision("0002", "0001", "op.create_table('a', sa.Column('id', sa.Integer))", "op.drop_table('a')")
    project.revision(
        "0003", "0002", "op.create_table('b', sa.Column('id', sa.Integer)); op.execute('INSERT INTO absent VALUES (1)')"
    )
    project.revision("0004", "0003", "op.create_table('c', sa.Column('id', sa.Integer))")
    code, _, err = project.run("migrate")
    kind = project.url.partition("+")[0]
    kept = {
        "sqlite": "nothing was changed",
        "postgresql": f"nothing of it was kept; done before it: {FIRST}, 0002 step 0002",
        "mysql": f"only then run it again; done before it: {FIRST}, 0002 step 0002",
    }[kind]
    assert 1 == code
    assert "mqueduct: revision 0003 step 0003 failed: " in err
    assert "absent" in err
    assert kept in err
    assert "Traceback" not in err
    expected = {"sqlite": set(), "postgresql": {"a", "devices"}, "mysql": {"a", "b", "devices"}}[kind]
    assert expected == await project.tables() & {"a", "b", "c", "devices"}
    applied = [line for line in status(project) if line.startswith("applied")]
    assert (0 if kind == "sqlite" else 2) == len(applied)


async def test_tables_without_a_record_are_taken_over_when_they_fit(project: Project) -> None:
    """A database that create_tables() has made becomes one with migrations."""
    project.python(CREATE_TABLES)
    code, _, err = project.run("run", DB_AUTO_CREATE_TABLES="false")
    assert 1 == code
    assert "no record of its migrations" in err
    assert "Nothing to do: every revision is applied.\n" == project.run("migrate")[1]
    assert "The database is at the newest revision." == status(project)[-1]
    await project.sql("DROP TABLE alembic_version")
    await project.sql("DROP TABLE users")
    code, _, err = project.run("migrate")
    assert 1 == code
    assert "not as the models say (add_table users" in err
    assert "users" not in await project.tables()
