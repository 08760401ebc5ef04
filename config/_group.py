"""What the groups of settings have in common: how a field is declared, read and complained about."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from config._variables import Given, Problem, Variable

__all__ = ["Group", "Lowercase", "Seconds", "Secret", "Text", "setting"]

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SHOWN_LENGTH = 60


def setting(name: str, default: Any = ..., *, allowed: str, secret: bool = False, **constraints: Any) -> Any:
    """Declare a field of a group.

    Args:
        name: The variable that sets it.
        default: Its value when the variable is unset.
        allowed: Which values are right, for error messages, as in "a port, 1 to 65535".
        secret: Whether its value is kept out of messages and may also come from ``<name>_FILE``.
        constraints: More arguments of ``pydantic.Field``.
    """
    return Field(
        default,
        validation_alias=name,
        description=allowed,
        json_schema_extra={"secret": secret},
        repr=not secret,
        **constraints,
    )


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9.]+)\s*([smhdw]?)\s*", value)):
        try:
            return float(match[1]) * SECONDS[match[2]]
        except ValueError:
            return value
    return value


def _encodable(value: SecretStr) -> SecretStr:
    try:
        value.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8 text") from None
    return value


def _without_control_characters(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it contains a control character or another that cannot be printed")
    return value


Seconds = BeforeValidator(_seconds)
"""Marks a number of seconds that may be written with a unit: 90, 90s, 15m, 12h, 7d, 1w."""

Lowercase = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
"""Marks a word for which upper and lower case are the same."""

Secret = Annotated[SecretStr, AfterValidator(_encodable)]
"""A text that nothing prints."""

Text = Annotated[str, AfterValidator(_without_control_characters)]
"""A text on one line."""


class Group(BaseSettings):
    """A group of settings; immutable, and built from nothing but what it is given."""

    model_config = SettingsConfigDict(
        frozen=True,
        hide_input_in_errors=True,
        validate_by_alias=True,
        validate_by_name=True,
        validate_default=True,
    )

    rivals: ClassVar[Mapping[str, Collection[str]]] = {}
    """By name of a variable, those that cannot be given together with it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out the process's environment: ``read`` is handed what the user gave."""
        return (init_settings,)

    @classmethod
    def variables(cls) -> dict[str, FieldInfo]:
        """The group's fields by the name of the variable that sets them."""
        return {str(info.validation_alias): info for info in cls.model_fields.values()}

    @classmethod
    def secrets(cls) -> list[str]:
        """The names of the variables that may also be given as ``<name>_FILE``."""
        return [name for name, info in cls.variables().items() if _is_secret(info)]

    @classmethod
    def hidden(cls) -> list[str]:
        """The names of the variables whose values nothing may print: secrets that are no mere names of users."""
        return [name for name, info in cls.variables().items() if _is_hidden(info)]

    @classmethod
    def read(cls, given: Given, problems: list[Problem]) -> Self | None:
        """Build the group.

        Args:
            given: The user's variables, of all groups.
            problems: What is wrong is added here.

        Returns:
            The group, or ``None`` if something is wrong.
        """
        source = EnvSettingsSource(cls, case_sensitive=True)
        source.env_vars = {name: variable.value for name, variable in given.items()}
        try:
            return cls(**source())
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            problems += cls._problems(details, given)
            return None

    @classmethod
    def _problems(cls, details: list[ErrorDetails], given: Given) -> Iterator[Problem]:
        for detail in details:
            if detail["type"] == "default_factory_not_called":
                continue  # A default derived from a field that is wrong itself.
            # Pydantic names the field instead of the variable where a default is wrong.
            place = str(detail["loc"][0])
            info = cls.model_fields[place] if place in cls.model_fields else cls.variables()[place]
            name = str(info.validation_alias)
            variable = given.get(name)
            if detail["type"] == "value_error":
                reason = str(detail["ctx"]["error"])
            else:
                reason = f"{_shown(variable, info)} is not allowed"
            origin = variable.origin if variable else "not set"
            yield Problem(name, origin, f"{reason}; allowed: {info.description}")


def _is_secret(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and info.json_schema_extra["secret"] is True


def _is_hidden(info: FieldInfo) -> bool:
    # Pydantic takes "Secret" apart unless it stands in a union.
    return info.annotation is SecretStr or Secret in get_args(info.annotation)


def _shown(variable: Variable | None, info: FieldInfo) -> str:
    # "@" is a sign of credentials inside a URL.
    if variable is None or _is_secret(info) or "@" in variable.value:
        return "its value"
    value = variable.value
    return repr(value if len(value) <= SHOWN_LENGTH else value[:SHOWN_LENGTH] + "...")
