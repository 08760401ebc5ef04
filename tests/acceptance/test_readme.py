"""A newcomer clones the project into an empty folder and types what the README says."""

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.test_documentation import fences_of
from tests.servers import executables, free_port
from tests.service import ROOT, Service, shell


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is committed, with the files of the working tree on top."""
    folder = tmp_path_factory.mktemp("newcomer") / "mqueduct"
    if (ROOT / ".git").exists() and shutil.which("git") is not None:
        # In a container the checkout often belongs to another user than the one who runs the tests.
        trusting = folder.parent / "gitconfig"
        trusting.write_text("[safe]\n\tdirectory = *\n")
        git = {**os.environ, "GIT_CONFIG_GLOBAL": str(trusting)}
        subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(folder)], env=git, check=True)
        _copy_working_tree(folder, git)
    else:
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*_cache", ".venv", "storage", "__pycache__"))
    # What pip would install is already here; a truly empty environment is test_image_steps.py's matter.
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def _copy_working_tree(folder: Path, git: dict[str, str]) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, env=git, capture_output=True, text=True, check=True).stdout
    for path in listing.splitlines():
        target = folder / path
        if (ROOT / path).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target)
        else:
            target.unlink(missing_ok=True)


@pytest.fixture
def variables() -> dict[str, str]:
    """A port of this test's own for the embedded broker."""
    return {"MQTT_PORT": str(free_port())}


@pytest.fixture
def redirected(tmp_path: Path, variables: dict[str, str]) -> dict[str, str]:
    """The same port for the README's mosquitto_pub, which names none."""
    shim = tmp_path / "bin" / "mosquitto_pub"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {executables.find(shim.name)} -p {variables["MQTT_PORT"]} "$@"\n')
    shim.chmod(0o755)
    return {**variables, "PATH": f"{shim.parent}:{os.environ['PATH']}"}


def commands() -> list[str]:
    """The README's shell commands, in order."""
    fences = fences_of((ROOT / "README.md").read_text())
    return [line for fence in fences if fence.language == "sh" for line in fence.code.splitlines()]


async def test_make_run_shows_committed_rows_and_stops_on_ctrl_c(
    clone: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    """The first command of the README; Ctrl-C reaches make and the service, as in a terminal."""
    assert "make run" == commands()[0]
    with Service(tmp_path, variables, root=clone, command=("make", "run")) as service:
        await service.until(lambda: re.search(r"committed [1-9]", service.output.read_text()), "committed rows")
        service.send_to_group(signal.SIGINT)
        service.wait()
    summary = service.summary()
    assert summary["committed"] > 0
    assert 0 == summary["left"]
    with closing(sqlite3.connect(clone / "storage" / "mqueduct.db")) as database:
        (readings,) = database.execute("SELECT count(*) FROM sensor_readings").fetchone()
    assert 0 < readings <= summary["committed"]


@pytest.mark.mosquitto  # for mosquitto_pub
async def test_first_route_of_the_readme_stores_a_reading(
    clone: Path, redirected: dict[str, str], tmp_path: Path
) -> None:
    """Every further command as it is written, beside the files that the README has the reader write."""
    for fence in fences_of((ROOT / "README.md").read_text()):
        if fence.language == "python" and (stored := re.match(r"# ([\w/]+\.py)\n", fence.code)):
            (clone / stored[1]).write_text(fence.code)
    venv = ".venv/bin/python main.py"
    listing = shell(_command(f"{venv} routes"), clone, redirected)
    assert re.search(r"greenhouse/\{house:int\}/\{sensor\}/reading .*GreenhouseController\.store", listing)
    assert 5 == shell(_command(f"{venv} check"), clone, redirected).count(" ok ")
    with Service(tmp_path, redirected, root=clone, command=tuple(_command(f"{venv} run").split())) as service:
        await service.connected()
        publish = [command for command in commands() if command.startswith("mosquitto_pub")]
        await asyncio.to_thread(shell, publish[0], clone, redirected)
        await service.until(lambda: stored_readings(clone), "the reading")
        assert 0 == service.stop()
    assert [("7-north", 21.5)] == stored_readings(clone)
    shell(_command("cp .env.example .env"), clone, redirected)
    assert "Nothing to do" in shell(_command(f"{venv} migrate"), clone, redirected)


def _command(wanted: str) -> str:
    assert wanted in commands(), f"the README no longer has: {wanted}"
    return wanted


def stored_readings(clone: Path) -> list[tuple[str, float]]:
    with closing(sqlite3.connect(clone / "storage" / "mqueduct.db")) as database:
        statement = "SELECT device_id, value FROM sensor_readings WHERE device_id = '7-north'"
        return database.execute(statement).fetchall()
