"""Controllers: classes whose methods are the actions of routes."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import structlog

__all__ = ["Controller", "ControllerAction"]


class ControllerAction:
    """A method together with the class through which it was named.

    ``Base.store`` and ``Sub.store`` are one function but two actions: each runs on an instance of
    its own class.
    """

    def __init__(self, controller: "type[Controller]", function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.controller = controller
        self.function = function
        self.__qualname__ = f"{controller.__qualname__}.{function.__name__}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function; the first argument is the controller."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<action {self.__qualname__}>"


class _Method:
    """Stands in for a controller's function and remembers through which class it is read."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __get__(self, instance: object | None, owner: "type[Controller]") -> Any:
        if instance is None:
            return ControllerAction(owner, self.function)
        return self.function.__get__(instance, owner)


class Controller:
    """Base class of controllers: one instance per class, made at start-up, shared by all messages.

    ``self.logger`` logs under the controller's name. Keep no state of one message on ``self``.
    """

    logger: Any

    def __init__(self) -> None:
        self.logger = structlog.get_logger(type(self).__name__)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in reversed(cls.__mro__):
            if base is cls or not issubclass(base, Controller):
                for name, member in list(vars(base).items()):
                    if inspect.isfunction(member) and not name.startswith("_") and base is not object:
                        inherited = inspect.getattr_static(cls, name)
                        if inherited is member:
                            setattr(cls, name, _Method(member))
