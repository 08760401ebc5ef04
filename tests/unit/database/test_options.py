"""What may be said of a database beside its URL."""

import pytest
from sqlalchemy import make_url

from core.database.options import EngineOptions, milliseconds
from core.database.url import replica_of
from core.exceptions import ConfigurationError


@pytest.mark.parametrize(("seconds", "expected"), [(0, 0), (0.0001, 1), (0.3, 300), (29.9999, 30_000), (30, 30_000)])
def test_limits_in_milliseconds(seconds: float, expected: int) -> None:
    """Nothing but 0 becomes 0, which means "for ever" to the servers."""
    assert expected == milliseconds(seconds)


def test_a_reserved_connection_is_one_connection() -> None:
    """It is kept whatever the pool is like, and neither probed nor replaced: its holder notices when it ends."""
    options = EngineOptions(pool_class="null", pool_size=7, max_overflow=7, application_name="plant").reserved()
    assert ("queue", 1, 0, -1, False, "plant") == (
        options.pool_class,
        options.pool_size,
        options.max_overflow,
        options.pool_recycle,
        options.pool_pre_ping,
        options.application_name,
    )


def test_statements_show_their_values_only_to_who_wants_to_see_them() -> None:
    """In errors as in the log."""
    assert EngineOptions().arguments()["hide_parameters"]
    assert not EngineOptions(echo=True).arguments()["hide_parameters"]


@pytest.mark.parametrize("schema", ['a"; DROP TABLE users; --', "Upper", "", "x" * 64])
def test_schemas_that_are_refused(schema: str) -> None:
    """Their names are written into statements."""
    with pytest.raises(ConfigurationError, match="cannot name a schema"):
        EngineOptions(schema=schema)


def test_a_misspelt_option() -> None:
    """It is named."""
    with pytest.raises(TypeError, match="pool_sise"):
        EngineOptions(pool_sise=3)


@pytest.mark.parametrize(
    ("url", "replica"),
    [
        ("postgresql+asyncpg://db/plant", "postgres://replica/plant"),
        ("mysql+aiomysql://db/plant", "mariadb://replica/plant"),
    ],
)
def test_replicas(url: str, replica: str) -> None:
    """Of the same kind, with the driver filled in."""
    assert "replica" == replica_of(make_url(url), replica).host


def test_what_is_no_replica() -> None:
    """The message names the setting and no password."""
    with pytest.raises(ConfigurationError, match="let DB_READ_URL name a replica") as refusal:
        replica_of(make_url("postgresql+asyncpg://db/plant"), "mysql://app:s3cret@db/plant")
    assert "s3cret" not in str(refusal.value)
