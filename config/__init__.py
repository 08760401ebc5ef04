"""Settings: frozen, typed, and the only readers of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config._group import Group
from config._variables import FILE_SUFFIX, Problem, collect
from config.database import DatabaseSettings
from config.dead_letters import DeadLetterSettings
from config.ingest import IngestSettings
from config.limits import LimitSettings
from config.logging import LoggingSettings, configure_logging
from config.mqtt import MqttSettings
from core.exceptions import ConfigurationError
from core.ingest.options import IngestOptions
from core.redaction import hide

__all__ = [
    "DatabaseSettings",
    "DeadLetterSettings",
    "IngestSettings",
    "LimitSettings",
    "LoggingSettings",
    "MqttSettings",
    "Settings",
    "configure_logging",
    "load",
    "variable_names",
]

GROUPS: Mapping[str, type[Group]] = {
    "mqtt": MqttSettings,
    "database": DatabaseSettings,
    "ingest": IngestSettings,
    "limits": LimitSettings,
    "dead_letters": DeadLetterSettings,
    "logging": LoggingSettings,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the service."""

    mqtt: MqttSettings
    database: DatabaseSettings
    ingest: IngestSettings
    limits: LimitSettings
    dead_letters: DeadLetterSettings
    logging: LoggingSettings

    def ingest_options(self) -> IngestOptions:
        """What core needs to know of all these to take messages in."""
        return self.ingest.options(self.dead_letters.options(), self.limits, self.database.startup_timeout)


def load(env_file: Path | None = Path(".env"), environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings; the environment wins over ``.env``, an empty value means unset.

    Secrets are kept out of logs and messages from then on, wrong ones too.

    Args:
        env_file: The ``.env`` file, which need not exist; ``None`` reads none.
        environ: Variables to read instead of the process's environment.

    Raises:
        ConfigurationError: Something is wrong; the message has one line per problem.
    """
    problems: list[Problem] = []
    given = collect(
        env_file,
        os.environ if environ is None else environ,
        known=variable_names(),
        secrets=_secrets(),
        rivals=_rivals(),
        problems=problems,
    )
    for group in GROUPS.values():
        for name in given.keys() & set(group.hidden()):
            hide(given[name].value)
    groups: dict[str, Any] = {name: group.read(given, problems) for name, group in GROUPS.items()}
    if problems:
        raise ConfigurationError("\n".join(map(str, problems)))
    return Settings(**groups)


def variable_names() -> list[str]:
    """The names of all variables, a ``*_FILE`` variant after the secret it stands for."""
    secrets = _secrets()
    return [
        variant
        for group in GROUPS.values()
        for name in group.variables()
        for variant in ([name, name + FILE_SUFFIX] if name in secrets else [name])
    ]


def _secrets() -> list[str]:
    return [name for group in GROUPS.values() for name in group.secrets()]


def _rivals() -> dict[str, list[str]]:
    rivals = {name: list(others) for group in GROUPS.values() for name, others in group.rivals.items()}
    for name in _secrets():
        rivals.setdefault(name, []).append(name + FILE_SUFFIX)
        rivals.setdefault(name + FILE_SUFFIX, []).append(name)
    return rivals
