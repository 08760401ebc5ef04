"""The private servers that all other tests stand on."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.conftest import FreshDatabase
from tests.servers import Certificates, KeyPair, MariaDB, Mosquitto, PostgreSQL, ServerFailed
from tests.servers.database_server import DatabaseServer

DURABLE_BROKER = {"autosave_on_changes": True, "autosave_interval": 1}


async def publish(server: Mosquitto, topic: str) -> None:
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        await client.publish(topic, "hello", qos=1, retain=True)


async def first_message(server: Mosquitto, topic: str) -> str:
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        await client.subscribe(topic, qos=1)
        async for message in client.messages:
            return bytes(message.payload).decode()
    raise AssertionError("the connection ended without a message")


def listeners_of(pid: int) -> set[str]:
    """The addresses on which a process listens."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip for connection in process.net_connections("inet") if connection.status == psutil.CONN_LISTEN
    }


class TestMosquitto:
    async def test_delivers(self, mosquitto: Mosquitto) -> None:
        """What is published reaches a subscriber."""
        await publish(mosquitto, "servers/delivers")
        assert await first_message(mosquitto, "servers/delivers") == "hello"

    async def test_survives_a_crash(self, mosquitto_factory: Callable[..., Mosquitto]) -> None:
        """With autosave on changes, what was acknowledged before SIGKILL is there after the restart."""
        server = mosquitto_factory(DURABLE_BROKER)
        for topic in ("crash/1", "crash/2", "crash/3"):
            await publish(server, topic)
        port, pid = server.port, server.pid
        server.kill()
        assert not psutil.pid_exists(pid)
        server.start()
        assert server.port == port
        assert await first_message(server, "crash/1") == "hello"

    async def test_demands_passwords(self, mosquitto_factory: Callable[..., Mosquitto]) -> None:
        """A broker with users lets nobody else in."""
        server = mosquitto_factory(users={"device": "secret"})
        async with aiomqtt.Client("127.0.0.1", server.port, username="device", password="secret"):
            pass
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", server.port):
                pass

    async def test_speaks_tls(self, certificates: Certificates, mosquitto_factory: Callable[..., Mosquitto]) -> None:
        """The TLS listener proves its name and insists on a client certificate."""
        server = mosquitto_factory(tls=certificates.server, client_ca=certificates.ca)
        context = ssl.create_default_context(cafile=str(certificates.ca))
        context.load_cert_chain(certificates.client.certificate, certificates.client.key)
        async with aiomqtt.Client("localhost", server.tls_port, tls_context=context):
            pass

    @pytest.mark.parametrize("flaw", ["expired", "wrong_host", "untrusted"])
    def test_bad_certificates_are_bad(
        self, flaw: str, certificates: Certificates, mosquitto_factory: Callable[..., Mosquitto]
    ) -> None:
        """Each kind of bad certificate is refused by a client that verifies."""
        pair: KeyPair = getattr(certificates, flaw)
        server = mosquitto_factory(tls=pair)
        context = ssl.create_default_context(cafile=str(certificates.ca))
        with (
            socket.create_connection(("127.0.0.1", server.tls_port)) as connection,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(connection, server_hostname="localhost")

    async def test_speaks_websockets(self, mosquitto_factory: Callable[..., Mosquitto]) -> None:
        """The WebSockets listener takes MQTT clients."""
        server = mosquitto_factory(websockets=True)
        async with aiomqtt.Client("127.0.0.1", server.websocket_port, transport="websockets"):
            pass

    @pytest.mark.mosquitto
    def test_says_why_it_does_not_start(self) -> None:
        """A broker that cannot start fails at once, with its log."""
        with pytest.raises(ServerFailed, match="no_such_setting"), Mosquitto({"no_such_setting": 1}):
            pass


class TestDatabases:
    async def test_answers(self, fresh_database: FreshDatabase) -> None:
        """A fresh database is empty and takes a table through the asynchronous driver."""
        engine = create_async_engine(fresh_database.url)
        async with engine.begin() as connection:
            await connection.execute(text("create table greeting (words varchar(20))"))
            await connection.execute(text("insert into greeting values ('grüß göttin 🌊')"))
        async with engine.connect() as connection:
            words = (await connection.execute(text("select words from greeting"))).scalar_one()
        await engine.dispose()
        assert words == "grüß göttin 🌊"

    def test_drops_a_database_in_use(self, postgres: PostgreSQL, mariadb: MariaDB) -> None:
        """Dropping does not wait for a forgotten transaction."""

        async def forget_a_transaction(server: DatabaseServer) -> None:
            engine = create_async_engine(server.create_database("in_use"))
            async with engine.connect() as connection:
                await connection.execute(text("create table t (id int)"))
                await connection.commit()
                await connection.execute(text("select * from t"))
                await asyncio.to_thread(server.drop_database, "in_use")
                await connection.invalidate()
            await engine.dispose()

        for server in (postgres, mariadb):
            asyncio.run(forget_a_transaction(server))
            server.drop_database("in_use")

    def test_survive_a_crash(
        self, postgres_factory: Callable[..., PostgreSQL], mariadb_factory: Callable[..., MariaDB]
    ) -> None:
        """What was committed on a durable server before SIGKILL is there after the restart, on the same port."""
        for factory in (postgres_factory, mariadb_factory):
            server: DatabaseServer = factory(durable=True)
            server.create_database("crash")
            server.sql("create table t (id int)", "crash")
            server.sql("insert into t values (1), (2)", "crash")
            port, pid = server.port, server.pid
            server.kill()
            assert not psutil.pid_exists(pid)
            server.start()
            assert server.port == port
            assert server.sql("select id from t order by id", "crash") == [["1"], ["2"]]

    def test_report_wrong_sql(self, postgres: PostgreSQL, mariadb: MariaDB) -> None:
        """`sql` raises the server's own words."""
        for server in (postgres, mariadb):
            with pytest.raises(ServerFailed, match="nowhere"):
                server.sql("select * from nowhere")


class TestEvery:
    @pytest.fixture(
        params=[
            pytest.param("mosquitto", marks=pytest.mark.mosquitto),
            pytest.param("postgres", marks=pytest.mark.postgres),
            pytest.param("mariadb", marks=pytest.mark.mariadb),
        ]
    )
    def server(self, request: pytest.FixtureRequest) -> Mosquitto | PostgreSQL | MariaDB:
        started: Mosquitto | PostgreSQL | MariaDB = request.getfixturevalue(f"{request.param}_factory")()
        return started

    def test_listens_on_loopback_only(self, server: Mosquitto | PostgreSQL | MariaDB) -> None:
        """No private server can be reached from another machine."""
        assert listeners_of(server.pid) == {"127.0.0.1"}

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a server to another user")
    def test_runs_unprivileged(self, server: Mosquitto | PostgreSQL | MariaDB) -> None:
        """A test run by root starts no server as root."""
        assert psutil.Process(server.pid).uids().effective != 0
        assert psutil.Process(server.pid).gids().effective != 0

    def test_freezes_and_thaws(self, server: Mosquitto | PostgreSQL | MariaDB) -> None:
        """A frozen server exists and does nothing; thawed it goes on."""
        server.freeze()
        assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
        server.thaw()
        assert psutil.Process(server.pid).status() != psutil.STATUS_STOPPED
        server.restart()
        assert server.running

    def test_leaves_nothing_behind(self, server: Mosquitto | PostgreSQL | MariaDB) -> None:
        """After `close` neither process nor folder is left."""
        pid = server.pid
        server.close()
        assert not psutil.pid_exists(pid)
        assert not server.folder.exists()

    def test_ends_with_a_killed_test_run(self, server: Mosquitto | PostgreSQL | MariaDB) -> None:
        """When the test run itself is killed, its servers end, frozen ones too, and their folders vanish."""
        script = (
            "import json, sys, time\n"
            "from tests.servers import MariaDB, Mosquitto, PostgreSQL\n"
            "server = {kind}().start()\n"
            "server.freeze()\n"
            "print(json.dumps([server.pid, str(server.folder)]), flush=True)\n"
            "time.sleep(600)\n"
        ).replace("{kind}", type(server).__name__)
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            pid, folder = json.loads(run.stdout.readline())
            run.send_signal(signal.SIGKILL)
        wait_until(lambda: not alive(pid) and not Path(folder).exists())


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the time limit of each test ends a wait in vain."""
    while not condition():
        time.sleep(0.05)
