"""What becomes of tests whose server is not installed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Runs one test of a broker on a machine that, as far as the test run knows, has none.
WITHOUT_MOSQUITTO = """
import sys
import pytest
from tests.servers import Mosquitto
Mosquitto.needs = ("no-such-broker",)
sys.exit(pytest.main(["tests/integration/test_servers.py", "-k", "test_delivers", "-p", "no:cacheprovider"]))
"""


def run(ci: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MOSQUITTO],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_are_skipped() -> None:
    """Without the server the test is left out, with the reason and the remedy."""
    report = run(ci="")
    assert "1 skipped" in report
    assert "no-such-broker is not installed; `make servers` installs it" in report


def test_fail_in_ci() -> None:
    """With CI=true the same is an error."""
    report = run(ci="true")
    assert "1 error" in report
    assert "skipped" not in report
    assert "no-such-broker is not installed" in report
