"""Controllers and the actions read through them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytest

from core.controller import Controller, ControllerAction


class Base(Controller):
    constant = 7

    async def store(self) -> str:
        return f"{type(self).__name__} stores"

    async def other(self) -> str:
        return "other"

    @staticmethod
    async def static() -> str:
        return "static"

    @classmethod
    async def by_class(cls) -> str:
        return cls.__name__

    @property
    def label(self) -> str:
        return "label"

    async def _private(self) -> None: ...


class Sub(Base):
    async def other(self) -> str:
        return "sub " + await super().other()


def test_method_read_through_a_class_is_an_action_of_that_class() -> None:
    """``Sub.store`` remembers Sub, though Base defines it."""
    for kind in (Base, Sub):
        action: Any = kind.store
        assert isinstance(action, ControllerAction)
        assert (kind, "Base.store") == (action.controller, action.function.__qualname__)
    assert (
        "Base.store",
        "Sub.store",
    ) == (Base.store.__qualname__, Sub.store.__qualname__)
    assert "<action Sub.store>" == repr(Sub.store)


def test_actions_are_equal_by_class_and_function() -> None:
    """Reading an action twice gives equal actions; two classes give different ones."""
    assert Sub.store == Sub.store
    assert hash(Sub.store) == hash(Sub.store)
    assert Sub.store != Base.store
    assert Sub.store != "store"


async def test_overriding_and_super_work_as_in_any_class() -> None:
    """Instances, ``super()`` and explicit calls see plain methods."""
    sub: Any = Sub()
    assert "Sub stores" == await sub.store()
    assert "sub other" == await sub.other()
    assert "other" == await Base.other(sub)


async def test_bound_action_runs_on_its_instance() -> None:
    """``bind`` gives the method of one instance."""
    action: Any = Sub.store
    assert "Sub stores" == await action.bind(Sub())()


async def test_static_and_class_methods_stay_what_they_are() -> None:
    """They need no instance, and can be routed as plain functions."""
    static: Any = Base.static
    assert (False, "static") == (isinstance(static, ControllerAction), await static())
    assert "Sub" == await Sub.by_class()


def test_what_is_no_public_method_is_left_alone() -> None:
    """Attributes, properties and private methods are read as ever."""
    assert 7 == Base.constant
    assert isinstance(Base.label, property)
    assert "label" == Base().label
    assert not isinstance(Base._private, ControllerAction)


async def test_mixins_keep_the_method_resolution_order() -> None:
    """A mixin's method is an action of the class that it is read through; a later mixin may override it."""

    class Storing:
        async def save(self) -> str:
            return "storing"

    class Loud(Storing):
        async def save(self) -> str:
            return "loud " + await super().save()

    class First(Storing, Controller):
        pass

    class Second(First, Loud):
        pass

    first: Any = First.save
    second: Any = Second.save
    assert (First, Second) == (first.controller, second.controller)
    assert "storing" == await first.bind(First())()
    assert "loud storing" == await second.bind(Second())()


def test_decorated_method_is_an_action() -> None:
    """A decorator that uses functools.wraps keeps the method an action with its own name."""

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return wrapper

    class Decorated(Controller):
        @logged
        async def store(self) -> None: ...

    assert isinstance(Decorated.store, ControllerAction)
    assert "store" == Decorated.store.__name__


def test_controllers_may_be_abstract() -> None:
    """Controllers mix with abstract base classes."""

    class Abstract(Controller, ABC):
        @abstractmethod
        async def store(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Abstract()  # type: ignore[abstract]


def test_logger_needs_no_call_of_super_init() -> None:
    """A controller with an ``__init__`` of its own still has its logger, one per instance."""

    class Own(Controller):
        def __init__(self) -> None:
            self.count = 0

    own = Own()
    assert own.logger is own.logger
