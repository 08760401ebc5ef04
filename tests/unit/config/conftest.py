"""Shared by the tests of the settings."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import config
from core.exceptions import ConfigurationError

Problems = Callable[..., list[str]]


@pytest.fixture
def problems() -> Problems:
    """Load settings that must be refused and return the lines of the message."""

    def lines(environ: Mapping[str, str], env_file: Path | None = None) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            config.load(env_file, environ)
        return str(caught.value).splitlines()

    return lines


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a ``.env`` file."""

    def write(text: str) -> Path:
        path = tmp_path / ".env"
        path.write_text(text, encoding="utf-8")
        return path

    return write
