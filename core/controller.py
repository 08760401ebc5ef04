"""Controllers: classes whose methods are the actions of routes."""

import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable
from typing import Any

import structlog

__all__ = ["Controller", "ControllerAction"]


class ControllerAction:
    """A method together with the class through which it was named.

    ``Base.store`` and ``Sub.store`` may be one function and are two actions: each runs on the
    instance of its own class.
    """

    def __init__(self, controller: "type[Controller]", function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.controller = controller
        self.function = function
        self.__qualname__ = f"{controller.__qualname__}.{function.__name__}"

    def bind(self, instance: "Controller") -> Callable[..., Any]:
        """The method of one instance."""
        method: Callable[..., Any] = self.function.__get__(instance)
        return method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function; the first argument is the controller, as in ``Base.store(self, ...)``."""
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ControllerAction):
            return NotImplemented
        return (self.controller, self.function) == (other.controller, other.function)

    def __hash__(self) -> int:
        return hash((self.controller, self.function))

    def __repr__(self) -> str:
        return f"<action {self.__qualname__}>"


class _ControllerType(ABCMeta):
    """Reads ``SomeController.method`` as an action.

    Python drops the class when a function is read through it; only a metaclass still knows it. The
    class itself stays as it was written, so that overriding, mixins and ``super()`` work as ever.
    """

    def __getattribute__(cls, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not inspect.isfunction(value):
            return value
        if isinstance(inspect.getattr_static(cls, name), staticmethod):
            return value
        return ControllerAction(cls, value)  # type: ignore[arg-type]  # every instance of it is a Controller


class Controller(metaclass=_ControllerType):
    """Base class of controllers: one instance per class, made at start-up, shared by all messages.

    Public methods are actions: ``router.on("devices/{device_id}", SensorController.store)``.
    Keep no state of one message on ``self``.
    """

    @functools.cached_property
    def logger(self) -> Any:
        """A structlog logger under the controller's name."""
        return structlog.get_logger(type(self).__name__)
