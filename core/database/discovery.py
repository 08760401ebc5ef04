"""Finding the models of an application."""

import pkgutil
from importlib import import_module
from types import ModuleType

__all__ = ["import_models"]


def import_models(package: ModuleType) -> None:
    """Import every module of a package, so that the tables of all models are known, whoever else uses them.

    Args:
        package: For example ``app.models``; packages inside it are searched too.

    Raises:
        ImportError: A module cannot be imported; errors of its own code pass unchanged.
    """
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        imported = import_module(module.name)
        if module.ispkg:
            import_models(imported)
