"""What the Dockerfile promises."""

from pathlib import Path

from tests import dockerfile
from tests.compose import ROOT
from tests.dockerfile import Instruction

INSTRUCTIONS = dockerfile.read(ROOT / "Dockerfile")


def of(keyword: str) -> list[str]:
    return [instruction.arguments for instruction in INSTRUCTIONS if instruction.keyword == keyword]


def last(keyword: str) -> Instruction:
    return [instruction for instruction in INSTRUCTIONS if instruction.keyword == keyword][-1]


def test_builds_in_stages() -> None:
    """The image that runs comes from a second stage and takes only the virtual environment from the first."""
    assert of("FROM") == ["python:3.13-slim AS builder", "python:3.13-slim"]
    assert [copy for copy in of("COPY") if "--from" in copy] == ["--from=builder /opt/venv /opt/venv"]


def test_runs_unprivileged() -> None:
    """The last word on the user is a numeric one that is not root, as `runAsNonRoot` of orchestrators needs."""
    user, group = last("USER").arguments.split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_command_gets_the_signals() -> None:
    """The service is the container's first process: no shell stands between it and the engine's signals."""
    assert last("CMD").exec_form == ["python", "main.py", "run"]
    assert last("HEALTHCHECK").exec_form == ["python", "main.py", "check"]
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert of("ENTRYPOINT") == []


def test_takes_only_what_runs() -> None:
    """Every file that is copied exists, and the secrets of a working copy, its tests and its history stay outside."""
    sources = {copy.split()[0] for copy in of("COPY") if "--from" not in copy}
    assert sources == {"requirements.lock", "main.py", "app", "bootstrap", "config", "core", "routes"}
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_installs_what_is_locked() -> None:
    """Every package is one whose hash is recorded; none is built from source, which would run its code."""
    (install,) = [command for command in of("RUN") if command.startswith("pip")]
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert install.endswith("--requirement /app/requirements.lock")


def test_build_context_is_what_is_copied() -> None:
    """.dockerignore lets through exactly what the Dockerfile copies."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {copy.split()[0] for copy in of("COPY") if "--from" not in copy}


def test_reads_instructions(tmp_path: Path) -> None:
    """Comments are dropped, continued lines joined, variables resolved and folders moved."""
    path = tmp_path / "Dockerfile"
    path.write_text('# A comment\nFROM base\nENV PATH=/opt/x:$PATH HOME=/app\nRUN one && \\\n    two\nCMD ["a", "b"]\n')
    base, env, run, command = dockerfile.read(path)
    assert base == Instruction("FROM", "base")
    assert dockerfile.assignments(env, {"PATH": "/bin"}) == {"PATH": "/opt/x:/bin", "HOME": "/app"}
    assert run == Instruction("RUN", "one && two")
    assert command.exec_form == ["a", "b"]
    assert dockerfile.relocate("pip -r /app/r.txt /opt/venv /apparent /bin/app", Path("/t")) == (
        "pip -r /t/app/r.txt /t/opt/venv /apparent /bin/app"
    )
