"""Settings of the database."""

import pytest
from sqlalchemy import make_url

import config
from core.database.database import Database
from core.database.options import EngineOptions


def database(**environ):
    return config.load(None, environ).database


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        ("postgresql", "postgresql://mqueduct@localhost:5432/mqueduct"),
        ("pgsql", "postgresql://mqueduct@localhost:5432/mqueduct"),
        ("Postgres", "postgresql://mqueduct@localhost:5432/mqueduct"),
        ("mysql", "mysql://mqueduct@localhost:3306/mqueduct"),
        ("mariadb", "mariadb://mqueduct@localhost:3306/mqueduct"),
    ],
)
def test_connections(connection, url):
    """A kind of server is enough: the rest has defaults."""
    assert url == database(DB_CONNECTION=connection).url


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("", "sqlite:///storage/mqueduct.db"),
        ("plant.db", "sqlite:///plant.db"),
        ("/var/lib/plant.db", "sqlite:////var/lib/plant.db"),
        (":memory:", "sqlite:///:memory:"),
    ],
)
def test_sqlite(path, url):
    """Without a connection the database is an SQLite file, and its name is a path."""
    assert url == database(DB_NAME=path).url


def test_url_of_parts():
    """The parts make up the URL."""
    settings = database(
        DB_CONNECTION="mysql",
        DB_HOST="db",
        DB_PORT="3307",
        DB_NAME="plant",
        DB_USER="app",
        DB_PASSWORD="s3cret",
    )

    assert "mysql://app:s3cret@db:3307/plant" == settings.url


@pytest.mark.parametrize("host", ["2001:db8::1", "[2001:db8::1]"])
def test_ipv6(host):
    """An IPv6 address is put in brackets, once."""
    assert "mysql://mqueduct@[2001:db8::1]:3306/mqueduct" == database(DB_CONNECTION="mysql", DB_HOST=host).url


@pytest.mark.parametrize("text", ["p@ss/w:rd?#%41", "ä ö+ü", "'\"`$\\", "[x]"])
def test_special_characters(text):
    """SQLAlchemy reads from the URL what the user wrote in the parts."""
    settings = database(DB_CONNECTION="postgresql", DB_USER=text, DB_PASSWORD=text, DB_NAME=text)
    url = make_url(settings.url)

    assert (text, text, text) == (url.username, url.password, url.database)


def test_special_characters_in_a_path():
    """SQLAlchemy reads from the URL the path that the user wrote."""
    assert "storage/a ?#%41.db" == make_url(database(DB_NAME="storage/a ?#%41.db").url).database


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("postgres://app@db/plant", "postgresql://app@db/plant"),
        ("postgresql+asyncpg://app@db/plant", "postgresql+asyncpg://app@db/plant"),
        ("pgsql://app@db:5433/plant", "postgresql://app@db:5433/plant"),
        ("postgresql://app:p@/plant?host=/run/postgresql", "postgresql://app:p@/plant?host=/run/postgresql"),
        ("mysql://app:p%40ss@[::1]:3306/plant", "mysql://app:p%40ss@[::1]:3306/plant"),
        ("sqlite:////var/lib/plant.db", "sqlite:////var/lib/plant.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_database_url(written, url):
    """A URL is taken as it is, but for the names of PostgreSQL that SQLAlchemy does not know."""
    assert url == database(DATABASE_URL=written).url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("plant", "it does not begin with sqlite, postgresql, mysql or mariadb"),
        ("oracle://app@db/plant", "it does not begin with sqlite, postgresql, mysql or mariadb"),
        ("sqlite://storage/plant.db", "the path of an SQLite file follows three slashes"),
        ("postgresql://app:p@ss@db/plant", "it has more than one @"),
        ("postgresql://app@db", "the name of the database is missing"),
        ("postgresql://app@db:0/plant", "its port is not a number from 1 to 65535"),
        ("postgresql://app@db:many/plant", "its port is not a number from 1 to 65535"),
    ],
)
def test_wrong_url(problems, url, reason):
    """A URL that cannot work is a problem that tells why."""
    assert [f"DATABASE_URL (environment): {reason}"] == [
        line[: len(f"DATABASE_URL (environment): {reason}")] for line in problems({"DATABASE_URL": url})
    ]


@pytest.mark.parametrize("part", ["DB_CONNECTION", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"])
def test_url_and_parts(problems, part):
    """The URL and a part of it cannot both be given."""
    assert [f"{part} (environment): given together with DATABASE_URL (environment); keep one of the two"] == problems(
        {"DATABASE_URL": "mysql://app@db/plant", part: "x"}
    )


def test_url_of_the_environment(env_file):
    """A URL in the environment replaces the parts in .env."""
    dotenv = env_file("DB_CONNECTION=mysql\nDB_PASSWORD=x\n")

    assert "sqlite://" == config.load(dotenv, {"DATABASE_URL": "sqlite://"}).database.url


def test_part_in_the_environment(problems, env_file):
    """A part in the environment does not silently replace the URL in .env."""
    dotenv = env_file("DATABASE_URL=mysql://app@db/plant\n")

    assert ["DB_NAME (environment)"] == [line.split(":")[0] for line in problems({"DB_NAME": "other"}, dotenv)]


@pytest.mark.parametrize("part", ["DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD"])
def test_server_without_connection(problems, part):
    """The parts of a server are a problem with SQLite: most likely DB_CONNECTION was forgotten."""
    assert "set DB_CONNECTION to postgresql, mysql or mariadb" in problems({part: "3306"})[0]


@pytest.mark.parametrize("host", ["tcp://db", "db/plant", "app@db", "db:5432 "])
def test_wrong_host(problems, host):
    """What is more than a host name is a problem."""
    assert (
        "DB_HOST (environment): it is more than a host name" in problems({"DB_CONNECTION": "mysql", "DB_HOST": host})[0]
    )


def test_options():
    """Every variable of the engine and its pool reaches the database under its name there."""
    settings = database(
        DB_CONNECTION="postgresql",
        DB_READ_URL="postgresql://app@replica/plant",
        DB_PGBOUNCER="true",
        DB_APPLICATION_NAME="plant 7",
        DB_POOL_CLASS="NULL",
        DB_POOL_SIZE="1",
        DB_POOL_MAX_OVERFLOW="0",
        DB_POOL_TIMEOUT="2.5",
        DB_POOL_RECYCLE="1h",
        DB_POOL_PRE_PING="off",
        DB_POOL_USE_LIFO="on",
        DB_ECHO="on",
        DB_STATEMENT_TIMEOUT="0",
        DB_SLOW_QUERY_MS="2.5",
        CURSOR_KEY="sixteen bytes ok",
    )

    assert {
        "read_url": "postgresql://app@replica/plant",
        "pgbouncer": True,
        "application_name": "plant 7",
        "pool_class": "null",
        "pool_size": 1,
        "max_overflow": 0,
        "pool_timeout": 2.5,
        "pool_recycle": 3600,
        "pool_pre_ping": False,
        "pool_use_lifo": True,
        "echo": True,
        "statement_timeout": 0.0,
        "slow_query_ms": 2.5,
        "cursor_key": "sixteen bytes ok",
    } == settings.options()


def test_options_without_any_variable():
    """The defaults of the settings are those of the database itself."""
    options = database().options()
    built = Database("sqlite://", **options)

    assert EngineOptions() == built.options
    assert (None, None) == (options["read_url"], options["cursor_key"])


def test_further_databases():
    """Each has a name and a URL, and shares the other options; PgBouncer is for those that may have one."""
    urls = '{"archive": "postgres://app:p%40ss@db/archive", "lake_2": "mysql://app@db/lake"}'
    settings = database(DB_URLS=urls, DB_PGBOUNCER="true", DB_CONNECTION="postgresql", DB_POOL_SIZE="3")
    further = settings.further()

    assert ["postgresql://app:p%40ss@db/archive", "mysql://app@db/lake"] == [url for url, _ in further.values()]
    assert [("archive", 3, True), ("lake_2", 3, False)] == [
        (name, options["pool_size"], options["pgbouncer"]) for name, (_, options) in further.items()
    ]
    assert {} == database().further()


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ("postgresql://app@db/archive", "it is no JSON"),
        ('["postgresql://app@db/archive"]', "it is no JSON object of texts"),
        ('{"archive": 7}', "it is no JSON object of texts"),
        ('{"The Archive": "sqlite://"}', "'The Archive' names no database"),
        ('{"default": "sqlite://"}', "'default' names no database"),
        ('{"archive": "oracle://app:s3cret@db/a"}', "archive: it does not begin with sqlite, postgresql"),
        ('{"archive": "mysql://app:s3cret@db"}', "archive: the name of the database is missing"),
    ],
)
def test_wrong_further_databases(problems, urls, reason):
    """What is wrong is named, without the URLs."""
    (line,) = problems({"DB_URLS": urls})

    assert line.startswith(f"DB_URLS (environment): {reason}")
    assert "s3cret" not in line


def test_wrong_replica(problems):
    """Its URL is checked like the other one."""
    assert problems({"DB_READ_URL": "postgresql://app@db"})[0].startswith(
        "DB_READ_URL (environment): the name of the database is missing"
    )


def test_short_cursor_key(problems):
    """It tells how to make a good one, and not what was given."""
    (line,) = problems({"CURSOR_KEY": "fifteen bytes.."})

    assert "secrets.token_urlsafe(32)" in line
    assert "fifteen" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_CONNECTION", "oracle"),
        ("DB_POOL_SIZE", "0"),
        ("DB_POOL_MAX_OVERFLOW", "-1"),
        ("DB_POOL_TIMEOUT", "0"),
        ("DB_POOL_RECYCLE", "0"),
        ("DB_POOL_PRE_PING", "perhaps"),
        ("DB_ECHO", "2"),
        ("DB_STATEMENT_TIMEOUT", "nan"),
        ("DB_PGBOUNCER", "perhaps"),
        ("DB_APPLICATION_NAME", "it's"),
        ("DB_APPLICATION_NAME", "x" * 64),
        ("DB_POOL_CLASS", "static"),
        ("DB_POOL_USE_LIFO", "perhaps"),
        ("DB_SLOW_QUERY_MS", "-1"),
        ("DB_STARTUP_TIMEOUT", "soon"),
        ("DB_AUTO_CREATE_TABLES", "x"),
        ("DB_AUTO_MIGRATE", "x"),
    ],
)
def test_wrong_values(problems, name, value):
    """A value outside of what is allowed is a problem of its variable."""
    assert [name] == [line.split()[0] for line in problems({name: value})]


@pytest.mark.parametrize(
    ("environ", "creates"),
    [
        ({}, True),
        ({"DATABASE_URL": "sqlite:///a.db"}, True),
        ({"DB_CONNECTION": "postgresql"}, False),
        ({"DATABASE_URL": "mysql://a@b/c"}, False),
        ({"DB_AUTO_CREATE_TABLES": "false"}, False),
        ({"DB_CONNECTION": "mariadb", "DB_AUTO_CREATE_TABLES": "true"}, True),
    ],
)
def test_tables_are_created_in_sqlite_only_unless_wished(environ, creates):
    """A server's database is migrated; a first run needs no command."""
    assert creates == database(**environ).creates_tables
