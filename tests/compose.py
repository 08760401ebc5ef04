"""Resolve docker-compose.yml as `docker compose config` would, without a container engine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PASSWORDS = {"BROKER_PASSWORD": "of the broker", "DATABASE_PASSWORD": "of the database"}

# All that is asked of an engine for resolving a file is that it is there.
_ENGINE = "#!/bin/sh\necho podman version 5.0.0\n"


class ComposeError(RuntimeError):
    """The compose file does not resolve."""


def resolve(folder: Path, environment: Mapping[str, str] = PASSWORDS, profile: str | None = None) -> dict[str, Any]:
    """Return the project with anchors, variables and profiles resolved. Raises `ComposeError`.

    Args:
        folder: an empty folder to work in, so that nobody's .env takes part.
        environment: the variables that the file may refer to.
        profile: a profile to switch on.
    """
    shutil.copy(ROOT / "docker-compose.yml", folder)
    engine = folder / "podman"
    engine.write_text(_ENGINE)
    engine.chmod(0o755)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "podman_compose", "--podman-path", str(engine)),
            *(("--profile", profile) if profile else ()),
            "config",
        ],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ComposeError(done.stderr)
    project: dict[str, Any] = yaml.safe_load(done.stdout)
    return project
