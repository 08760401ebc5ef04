"""Read a Dockerfile, as much of its language as this project's uses."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction, for example `RUN` with its arguments as they are written."""

    keyword: str
    arguments: str

    @property
    def exec_form(self) -> list[str]:
        """The command of a `CMD` in exec form, also of the one inside a `HEALTHCHECK`. Raises ValueError."""
        found = re.search(r"\[.*\]$", self.arguments)
        if found is None:
            raise ValueError(f"not in exec form: {self.keyword} {self.arguments}")
        command: list[str] = json.loads(found.group())
        return command


def read(path: Path) -> list[Instruction]:
    """Return the instructions in order, without comments and with continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines()]


def assignments(instruction: Instruction, environment: dict[str, str]) -> dict[str, str]:
    """Return what an `ENV` sets, with references to variables resolved."""
    pairs = (word.split("=", 1) for word in shlex.split(instruction.arguments))
    return {name: re.sub(r"\$(\w+)", lambda found: environment[found.group(1)], value) for name, value in pairs}


def relocate(text: str, root: Path) -> str:
    """Return the text with the image's absolute folders moved below `root`."""
    return re.sub(r"(?<![\w./])/(?=(?:app|opt)\b)", f"{root}{os.sep}", text)
