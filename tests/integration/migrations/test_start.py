"""What a service does at its start, on each database, when the database is not where it needs it."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.migrations.project import Project
from tests.integration.running import until
from tests.servers import Mosquitto, free_port
from tests.service import Service

# Runs until the test says so, and tells when it has begun and how often.
SLOW = """import pathlib, time
    op.create_table('a', sa.Column('id', sa.Integer))
    with pathlib.Path('runs').open('a') as runs:
        runs.write('run ')
    while not pathlib.Path('go').exists():
        time.sleep(0.01)"""

WAITING = "another process is migrating the database; waiting for it"


def refusal(project: Project, **settings: str) -> str:
    """What a service says that refuses to start."""
    code, out, err = project.run("run", **settings)
    assert 1 == code, out
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_service_refuses_a_database_that_is_not_where_it_needs_it(project: Project) -> None:
    """Without tables, behind, or ahead: it says what is the matter, and the command that mends it."""
    project.settings["DB_AUTO_CREATE_TABLES"] = "false"
    assert "mqueduct: the database has no tables; fix: python main.py migrate" == refusal(project)
    project.revision("0002", "0001", "op.create_table('a', sa.Column('id', sa.Integer))", "op.drop_table('a')")
    project.done("migrate")
    project.done("migrate:rollback")
    behind = "mqueduct: the database is behind its migrations by 1 (0002 step 0002); fix: python main.py migrate"
    assert behind == refusal(project)
    # Tables are made where there are none, and never altered.
    assert behind == refusal(project, DB_AUTO_CREATE_TABLES="true")
    project.done("migrate")
    project.revisions[-1].unlink()
    for settings in ({}, {"DB_AUTO_MIGRATE": "true"}):
        assert refusal(project, **settings).startswith(
            "mqueduct: the database is at revision 0002, which app/migrations does not have"
        )
    for command in ("migrate", "migrate:rollback"):
        assert "at revision 0002" in project.run(command)[2]
    assert "unknown  0002" in project.done("migrate:status")


@pytest.mark.parametrize("fresh_database", ["sqlite", "mariadb"], indirect=True)
def test_a_database_that_is_behind_is_refused_everywhere(project: Project) -> None:
    """With the command that mends it; SQLite, too, whose tables are made by themselves only where there are none."""
    project.done("migrate")
    project.revision("0002", "0001", "op.create_table('a', sa.Column('id', sa.Integer))", "op.drop_table('a')")
    behind = "mqueduct: the database is behind its migrations by 1 (0002 step 0002); fix: python main.py migrate"
    assert behind == refusal(project)


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
def test_check_tells_where_the_database_stands(project: Project) -> None:
    """A service that would not start is not sound; one that mends it by itself is."""

    def line(**settings: str) -> str:
        code, out, _ = project.run("check", DB_AUTO_CREATE_TABLES="false", **settings)
        (found,) = [line for line in out.splitlines() if line.startswith("migrations")]
        assert code == (0 if " ok " in found else 1), out
        return found

    assert "migrations FAILED  the database has no tables; fix: python main.py migrate" == line()
    assert "migrations ok      1 pending, run at the start (DB_AUTO_MIGRATE)" == line(DB_AUTO_MIGRATE="true")
    project.done("migrate")
    assert "migrations ok      at the newest revision (0001 create the first tables)" == line()


async def test_sqlite_gets_its_tables_by_itself_and_is_marked(small_project: Project, tmp_path: Path) -> None:
    """A first run needs no command, and later revisions know where they begin."""
    project = small_project
    with Service(
        tmp_path, {"DB_AUTO_MIGRATE": "false", "MQTT_PORT": str(free_port())} | project.settings, root=project.root
    ) as service:
        await service.connected()
        assert 0 == service.stop()
    assert "applied  0001 create the first tables" == project.done("migrate:status").splitlines()[0]
    project.revision("0002", "0001", "op.create_table('a', sa.Column('id', sa.Integer))", "op.drop_table('a')")
    assert "applied  0002 step 0002\n" == project.done("migrate")


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
async def test_servers_get_tables_when_that_is_wished_and_are_marked(
    project: Project, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """DB_AUTO_CREATE_TABLES=true works on every database."""
    wished = {"DB_AUTO_MIGRATE": "false", "DB_AUTO_CREATE_TABLES": "true", "MQTT_CLIENT_ID": tmp_path.name}
    wished |= {"MQTT_BROKER": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    with Service(tmp_path, wished | project.settings, root=project.root) as service:
        await service.connected()
        assert 0 == service.stop()
    assert "The database is at the newest revision." == project.done("migrate:status").splitlines()[-1]


async def test_model_without_a_revision_is_told_at_the_start(small_project: Project, tmp_path: Path) -> None:
    """Its messages would be held, so the log names the tables and the commands."""
    project = small_project
    project.done("migrate")
    project.write(
        "app/models/extra.py",
        "from core.model import Mapped, Model, mapped_column\n\n\nclass Extra(Model):\n"
        "    __tablename__ = 'extras'\n    id: Mapped[int] = mapped_column(primary_key=True)\n",
    )
    with Service(tmp_path, {"MQTT_PORT": str(free_port())} | project.settings, root=project.root) as service:
        await service.until_logged("models have tables that no migration makes")
        assert 0 == service.stop()
    (event,) = service.events("models have tables that no migration makes")
    assert ["extras"] == event["tables"]
    assert "migrate:make" in event["fix"]


async def test_two_services_that_start_at_once_migrate_once(
    project: Project, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The second waits for the first, and both serve."""
    project.revision("0002", "0001", SLOW, "op.drop_table('a')")
    common = {"MQTT_BROKER": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "DB_AUTO_MIGRATE": "true"}
    services = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        settings = common | {"MQTT_CLIENT_ID": f"{tmp_path.name}-{name}"} | project.settings
        services.append(Service(tmp_path / name, settings, root=project.root))
    runs = project.root / "runs"
    with services[0] as first:
        await first.until(runs.exists, "the slow revision")
        with services[1] as second:
            await second.until_logged(WAITING)
            (project.root / "go").touch()
            for service in services:
                await service.connected()
            assert [0, 0] == [service.stop() for service in services]
    assert "run " == runs.read_text()


async def test_two_commands_at_once_migrate_once(project: Project) -> None:
    """Also when one of them is stopped in the middle: its lock ends with it, and the next one begins anew."""
    project.revision("0002", "0001", SLOW, "op.drop_table('a')")
    runs = project.root / "runs"
    killed = project.start("migrate")
    await until(runs.exists)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    if project.url.startswith("mysql"):
        # Nobody takes back there what was done; see docs/database/migrations.md.
        await until_quiet(project)
        await project.sql("DROP TABLE a")
    (project.root / "go").touch()
    ends = finish([project.start("migrate") for _ in range(2)])
    assert [0, 0] == [code for code, _, _ in ends]
    assert 1 == sum("applied  0002 step 0002\n" in out for _, out, _ in ends)
    assert "run run " == runs.read_text()


async def until_quiet(project: Project) -> None:
    """Wait until the server has noticed that its client is gone."""

    async def quiet() -> bool:
        ((locked,),) = await project.sql("SELECT IS_USED_LOCK(CONCAT('mqueduct migrations ', MD5(DATABASE())))")
        return locked is None

    await until(quiet)


def finish(processes: Sequence["subprocess.Popen[str]"]) -> list[tuple[int, str, str]]:
    return [(process.wait(60), *process.communicate()) for process in processes]
