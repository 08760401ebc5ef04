"""The variables that the user gave, each with the place it came from.

They come from the environment, from ``.env`` and from the files that ``*_FILE`` variables name.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import parse_variables

__all__ = ["Given", "Problem", "Variable", "collect"]

FILE_SUFFIX = "_FILE"
SIMILARITY = 0.85  # One slip in a short name (DB_HSOT) is 0.857 alike.
MAX_LENGTH_DIFFERENCE = 2  # More is another word, not a slip: MQTT_WS_PORT is not MQTT_PORT.


@dataclass(frozen=True, slots=True)
class Variable:
    """A value as the user wrote it and where: "environment", ".env line 3" or the name of a file."""

    value: str = field(repr=False)
    origin: str


Given = Mapping[str, Variable]
"""What the user gave, by name; a variable that is unset or empty is not in it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the user has to put right; as text, one line."""

    subject: str
    origin: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject} ({self.origin}): {self.reason}"


def collect(
    env_file: Path | None,
    environ: Mapping[str, str],
    *,
    known: Collection[str],
    secrets: Iterable[str],
    rivals: Mapping[str, Collection[str]],
    problems: list[Problem],
) -> Given:
    """Bring together what the environment, ``.env`` and files of secrets say; the environment wins.

    Args:
        env_file: Path of ``.env``; it need not exist.
        environ: The environment.
        known: The names of all our variables.
        secrets: Those that may be given as ``<name>_FILE`` instead.
        rivals: By name, other variables that cannot be given together with it.
        problems: What is wrong is added here.
    """
    environment = {name: Variable(environ[name], "environment") for name in known if environ.get(name)}
    written = _read_env_file(env_file, environ, problems) if env_file else {}
    problems += _misspelt(written, known)
    given = _settle(environment, {name: written[name] for name in known if name in written}, rivals, problems)
    for name in secrets:
        if pointer := given.pop(name + FILE_SUFFIX, None):
            _read_secret(name, pointer, given, problems)
    return given


def _read_env_file(path: Path, environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Variable]:
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), "file", f"cannot be read: {_cause(error)}"))
        return {}
    written: dict[str, Variable] = {}
    for binding in bindings:
        line = _line(binding)
        if binding.error:
            problems.append(Problem(str(path), f"line {line}", "cannot be understood; write NAME=value"))
        elif binding.key and binding.value:
            known_so_far = {name: variable.value for name, variable in written.items()} | dict(environ)
            value = "".join(atom.resolve(known_so_far) for atom in parse_variables(binding.value))
            written[binding.key] = Variable(value, f"{path.name} line {line}")
        elif binding.key:
            written.pop(binding.key, None)
    return {name: variable for name, variable in written.items() if variable.value}


def _line(binding: Binding) -> int:
    # The parser counts from the blank lines before the statement.
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _misspelt(written: Given, known: Collection[str]) -> Iterator[Problem]:
    for name, variable in written.items():
        if name in known:
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=SIMILARITY)
        if close and abs(len(close[0]) - len(name)) <= MAX_LENGTH_DIFFERENCE:
            yield Problem(name, variable.origin, f"unknown variable; did you mean {close[0]}?")


def _settle(
    environment: Given,
    written: dict[str, Variable],
    rivals: Mapping[str, Collection[str]],
    problems: list[Problem],
) -> dict[str, Variable]:
    for name in environment.keys() & rivals.keys():
        for rival in rivals[name]:
            written.pop(rival, None)
    given = written | dict(environment)
    for name in sorted(given.keys() & rivals.keys()):
        for rival in sorted(given.keys() & set(rivals[name])):
            if name in given:
                origin = given.pop(rival).origin
                reason = f"given together with {name} ({given[name].origin}); keep one of the two"
                problems.append(Problem(rival, origin, reason))
    return given


def _read_secret(name: str, pointer: Variable, given: dict[str, Variable], problems: list[Problem]) -> None:
    path = Path(pointer.value)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = f"{str(path)!r} cannot be read: {_cause(error)}; allowed: a readable text file"
        problems.append(Problem(name + FILE_SUFFIX, pointer.origin, reason))
        return
    secret = content.removesuffix("\n")
    if secret:
        given[name] = Variable(secret, f"file {path}, named by {name}{FILE_SUFFIX} in {pointer.origin}")
    else:
        reason = f"{str(path)!r} is empty; allowed: a file that holds the secret"
        problems.append(Problem(name + FILE_SUFFIX, pointer.origin, reason))


def _cause(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
