"""Time series in revisions, on each database."""

from pathlib import Path

import pytest

from tests.integration.migrations.project import Project
from tests.integration.migrations.test_commands import CREATE_TABLES as CREATE_SHIPPED_TABLES
from tests.integration.migrations.test_commands import NOTHING
from tests.servers import free_port
from tests.service import Service

CREATE_TABLES = f"import app.models.weather\n{CREATE_SHIPPED_TABLES}"

WEATHER = """
from datetime import datetime

from sqlalchemy import String, UniqueConstraint

from core.model import BigId, Instant, Mapped, Model, TimeSeries, mapped_column


class Weather(Model):
    __tablename__ = "weather"
    __table_args__ = (UniqueConstraint("station", "at"),)
    __natural_key__ = ("station", "at")
    __timeseries__ = TimeSeries(time="at", chunk="1 day", retain="90 days")

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    station: Mapped[str] = mapped_column(String(40), comment="a name")
    at: Mapped[datetime] = mapped_column(Instant)
    degrees: Mapped[float]
"""
PLAIN = WEATHER.replace("    __timeseries__ =", "    series =").replace("series = Time", "_series = Time")
NOTHING_ELSE = "0 partitions made, 0 rows moved into them, 0 partitions dropped"
ROWS = "INSERT INTO weather (station, at, degrees) VALUES {}"
VALUES = [f"('s{n}', '2026-01-{n + 1:02} 00:00:00', {n})" for n in range(20)]


async def kind(project: Project) -> str:
    """What PostgreSQL says of the table; ``r`` is a plain one."""
    if not project.url.startswith("postgresql"):
        return "r"
    ((found,),) = await project.sql("SELECT relkind::text FROM pg_class WHERE relname = 'weather'")
    return str(found)


def partitioned(project: Project) -> str:
    return "p" if project.url.startswith("postgresql") else "r"


async def test_new_time_series(project: Project) -> None:
    """The revision makes what create_tables() makes; nothing remains to be done, nor after the way down."""
    project.done("migrate")
    project.write("app/models/weather.py", WEATHER)
    project.done("migrate:make", "weather")
    revision = project.revisions[-1].read_text()
    assert "op.create_time_series('weather', time='at', chunk='1 day')" in revision
    project.done("migrate")
    assert NOTHING == project.done("migrate:make", "nothing")
    assert partitioned(project) == await kind(project)
    await project.sql(ROWS.format(", ".join(VALUES)))
    code, out, _ = project.run("timeseries:maintain")
    assert (0, f"weather: {NOTHING_ELSE}, 20 rows removed\n") == (code, out)
    migrated = await project.description()
    project.done("migrate:rollback")
    assert not [name for name in await project.tables() if name.startswith("weather")]
    project.done("migrate:rollback", "9")
    project.python(CREATE_TABLES)
    assert migrated == await project.description()
    assert partitioned(project) == await kind(project)
    # Tables without a record are taken over.
    assert 0 == project.run("migrate")[0]
    assert NOTHING == project.done("migrate:make", "nothing")
    project.done("migrate:fresh", "--yes")
    assert migrated == await project.description()


@pytest.mark.parametrize("fresh_database", ["postgres", "sqlite"], indirect=True)
async def test_table_becomes_a_time_series_and_a_table_again(project: Project) -> None:
    """With its rows, indexes, comments and the counter of its ids; there, back, and there again."""
    project.write("app/models/weather.py", PLAIN)
    project.done("migrate")
    project.done("migrate:make", "weather")
    project.done("migrate")
    plain = await project.description()
    await project.sql(ROWS.format(", ".join(VALUES[:10])))
    project.write("app/models/weather.py", WEATHER)
    project.done("migrate:make", "weather by time")
    assert "op.drop_time_series('weather', primary_key=['id'])" in project.revisions[-1].read_text()
    project.done("migrate")
    assert partitioned(project) == await kind(project)
    assert NOTHING == project.done("migrate:make", "nothing")
    await project.sql(ROWS.format(", ".join(VALUES[10:])))
    series = await project.description()
    expected = [(n + 1, f"s{n}") for n in range(20)]
    rows = "SELECT id, station FROM weather ORDER BY id"
    assert expected == await project.sql(rows)
    project.done("migrate:rollback")
    assert "r" == await kind(project)
    assert expected == await project.sql(rows)
    assert plain == await project.description()
    project.done("migrate")
    assert expected == await project.sql(rows)
    assert series == await project.description()


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_time_series_becomes_a_plain_table(project: Project) -> None:
    """When the model says so no longer; the way down is as it was written before."""
    project.write("app/models/weather.py", WEATHER)
    project.done("migrate")
    project.done("migrate:make", "weather")
    project.done("migrate")
    await project.sql(ROWS.format(", ".join(VALUES)))
    project.write("app/models/weather.py", PLAIN)
    project.done("migrate:make", "plain weather")
    revision = project.revisions[-1].read_text()
    assert "op.drop_time_series('weather')" in revision
    assert "op.create_time_series('weather', time='at', chunk='1 day')" in revision
    project.done("migrate")
    assert "r" == await kind(project)
    assert [(20,)] == await project.sql("SELECT count(*) FROM weather")
    assert NOTHING == project.done("migrate:make", "nothing")
    project.done("migrate:rollback")
    assert "p" == await kind(project)
    assert [(20,)] == await project.sql("SELECT count(*) FROM weather")


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_plain_table_without_a_record_is_not_taken_over(project: Project) -> None:
    """The model declares a time series, and the table is none."""
    project.write("app/models/weather.py", PLAIN)
    project.python(CREATE_TABLES)
    project.write("app/models/weather.py", WEATHER)
    code, _, err = project.run("migrate")
    assert 1 == code
    assert "no time series weather" in err


async def test_service_looks_after_its_time_series(small_project: Project, tmp_path: Path) -> None:
    """At its start, and says what it has done."""
    project = small_project
    project.write("app/models/weather.py", WEATHER)
    project.done("migrate")
    project.done("migrate:make", "weather")
    project.done("migrate")
    await project.sql(ROWS.format(", ".join(VALUES)))
    with Service(tmp_path, {"MQTT_PORT": str(free_port())} | project.settings, root=project.root) as service:
        await service.until_logged("a time series was put in order")
        assert 0 == service.stop()
    (entry,) = service.events("a time series was put in order")
    assert ("weather", 20) == (entry["table"], entry["removed"])
