"""Binding in modules whose annotations are text (``from __future__ import annotations``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from core.controller import Controller
from core.exceptions import BindingError
from core.message import Message
from core.router import Router
from core.routing.table import RouteTable

if TYPE_CHECKING:
    from decimal import Decimal

    from core.context import Client, Context


class Reading(msgspec.Struct):
    value: float


class Textual(Controller):
    async def store(self, house: int, payload: Annotated[Reading | None, "m"], client: Client, context: Context) -> Any:
        return house, payload

    async def unresolved(self, payload: Decimal) -> None: ...

    async def wrong(self, house: str) -> None: ...


def table_of(action: Any) -> RouteTable:
    router = Router()
    router.on("{house:int}", action)
    return RouteTable(router.routes)


async def test_textual_annotations_are_resolved() -> None:
    """Annotations of payload and parameters are read; others may exist only for type checkers."""
    [match] = table_of(Textual.store).match("7")
    context = match.context(Message("7", b'{"value": 21.5}'), None)
    assert (7, Reading(21.5)) == await match.compiled.pipeline(context)


def test_payload_type_that_exists_only_for_type_checkers_is_refused() -> None:
    """The payload's type is needed when the service runs."""
    with pytest.raises(BindingError, match=r"Textual.unresolved cannot be resolved: name 'Decimal' .*; fix: define"):
        table_of(Textual.unresolved)


def test_textual_annotation_is_checked_against_the_pattern() -> None:
    """``house: str`` contradicts ``{house:int}``, as text too."""
    with pytest.raises(BindingError, match="wants house: str, but the pattern gives int"):
        table_of(Textual.wrong)
