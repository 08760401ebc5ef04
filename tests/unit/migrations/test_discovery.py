"""Finding models."""

import importlib
import sys
from pathlib import Path

import pytest

from core.database.discovery import import_models


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "models_to_find"
    (tmp_path / name / "inner").mkdir(parents=True)
    for path in ("__init__", "outer", "inner/__init__", "inner/deep"):
        (tmp_path / name / f"{path}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_every_module_is_imported(package: str) -> None:
    """Also those of packages inside."""
    import_models(importlib.import_module(package))
    expected = {package, f"{package}.outer", f"{package}.inner", f"{package}.inner.deep"}
    assert expected == {name for name in sys.modules if name.startswith(package)}
    for name in expected:
        del sys.modules[name]


def test_error_of_a_model_is_not_hidden(package: str, tmp_path: Path) -> None:
    """A model that is left out would be a table that is dropped."""
    (tmp_path / package / "outer.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        import_models(importlib.import_module(package))
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]
