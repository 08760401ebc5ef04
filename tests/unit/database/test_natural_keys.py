"""What a model may declare as its natural key."""

import itertools
from typing import Any

import pytest
from sqlalchemy import Index, String, UniqueConstraint, func, text

from core.exceptions import ConfigurationError
from core.model import Mapped, Model, mapped_column

_numbers = itertools.count()


def define(key: Any, *table_args: Any, **columns: Any) -> type[Model]:
    """Define a model with the columns ``id``, ``a`` and ``b``."""
    number = next(_numbers)
    body: dict[str, Any] = {
        "__tablename__": f"natural_key_{number}",
        "__natural_key__": key,
        "__table_args__": table_args,
        "__annotations__": {"id": Mapped[int], "a": Mapped[str], "b": Mapped[str]},
        "id": mapped_column(primary_key=True),
        "a": mapped_column(String(10)),
        "b": mapped_column(String(10)),
    }
    try:
        return type(f"NaturalKey{number}", (Model,), body | columns)
    finally:
        Model.metadata.remove(Model.metadata.tables[f"natural_key_{number}"])


@pytest.mark.parametrize(
    ("key", "table_args", "columns"),
    [
        (("a", "b"), (UniqueConstraint("a", "b"),), {}),
        (("b", "a"), (UniqueConstraint("a", "b", name="u"),), {}),
        (("a", "b"), (Index(None, "a", "b", unique=True),), {}),
        (("a",), (), {"a": mapped_column(String(10), unique=True)}),
        (("a",), (), {"a": mapped_column(String(10), unique=True, index=True)}),
        (("id",), (), {}),
        (("id", "a"), (), {"a": mapped_column(String(10), primary_key=True)}),
        (("a",), (UniqueConstraint("other"),), {"a": mapped_column("other", String(10))}),
        ((), (), {}),
    ],
)
def test_unique_keys_are_accepted(key: Any, table_args: Any, columns: Any) -> None:
    """Unique constraint, unique index, unique column or primary key, in any order."""
    assert key == define(key, *table_args, **columns).__natural_key__


@pytest.mark.parametrize(
    ("key", "table_args", "columns", "message"),
    [
        (("a", "b"), (), {}, 'not unique.*UniqueConstraint."a", "b".'),
        (("a",), (UniqueConstraint("a", "b"),), {}, "not unique"),
        (("a", "b"), (Index(None, "a", "b"),), {}, "not unique"),
        (("a",), (Index("i", "a", unique=True, sqlite_where=text("b > 0")),), {}, "not unique"),
        (("a",), (Index("i", func.lower("a"), unique=True),), {}, "not unique"),
        (("a",), (), {"a": mapped_column(String(10), unique=True, nullable=True)}, "a may be NULL.*default"),
        (("a", "c"), (UniqueConstraint("a"),), {}, "c is no column.*id, a, b"),
        ("a", (), {"a": mapped_column(String(10), unique=True)}, r'a text.*\("a",\)'),
    ],
)
def test_keys_that_would_let_duplicates_in_are_refused(key: Any, table_args: Any, columns: Any, message: str) -> None:
    """The error names the model and the fix, when the class is defined."""
    with pytest.raises(ConfigurationError, match=rf"NaturalKey\d+: __natural_key__: .*{message}"):
        define(key, *table_args, **columns)


def test_a_base_without_a_table_may_declare_a_key() -> None:
    """It is checked in the classes that have the table."""

    class Keyed(Model):
        __abstract__ = True
        __natural_key__ = ("name",)

    with pytest.raises(ConfigurationError, match="not unique"):

        class Named(Keyed):
            __tablename__ = "natural_key_named"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]

    Model.metadata.remove(Model.metadata.tables["natural_key_named"])
