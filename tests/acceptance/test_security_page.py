"""docs/security.md: its commands make certificates, and its settings use them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_documentation import ROOT, fences_of
from tests.servers import Mosquitto
from tests.service import environment

PAGE = ROOT / "docs" / "security.md"
# The example's host name leads nowhere.
FENCES = {
    fence.language: fence.code.replace("broker.example.org", "localhost") for fence in fences_of(PAGE.read_text())
}


class DocumentedMosquitto(Mosquitto):
    """A broker with the page's certificates and the page's listener."""

    def __init__(self, certificates: Path) -> None:
        super().__init__()
        self._certificates = certificates

    def _prepare(self) -> None:
        lines = f"allow_anonymous true\nlog_dest stderr\nlistener {self.port} 127.0.0.1\n{FENCES['conf']}"
        lines = lines.replace("listener 8883", f"listener {self.tls_port} 127.0.0.1")
        for name in ("ca.crt", "broker.crt", "broker.key"):
            lines = lines.replace(f" {name}", f" {self._write(name, (self._certificates / name).read_text())}")
        self._write(self.configuration.name, lines)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """The folder in which the commands were run."""
    subprocess.run(["/bin/sh", "-ec", FENCES["sh"]], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
def broker(certificates: Path) -> Iterator[Mosquitto]:
    with DocumentedMosquitto(certificates) as server:
        yield server


def check(folder: Path, broker: Mosquitto, settings: dict[str, str]) -> str:
    """What ``check`` finds about the broker."""
    variables = {"MQTT_PORT": str(broker.tls_port), "DATABASE_URL": f"sqlite:///{folder / 'test.db'}"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "check"],
        cwd=folder,
        env=environment(settings | variables),
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("broker")]
    return line


@pytest.mark.mosquitto
def test_the_certificates_work(certificates: Path, broker: Mosquitto) -> None:
    """Service and broker accept each other, and the broker nobody without a certificate."""
    settings = dict(line.split("=", 1) for line in FENCES["ini"].splitlines())
    assert " ok " in check(certificates, broker, settings)
    strangers = {name: value for name, value in settings.items() if "CERT" not in name and "KEY" not in name}
    assert "MQTT_TLS_CERT_FILE" in check(certificates, broker, strangers)


@pytest.mark.parametrize("page", [PAGE, ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every page and every section that is referred to exists."""
    for target, section in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        path = (page.parent / target).resolve()
        assert path.is_file(), target
        headings = [line.lstrip("# ").lower() for line in path.read_text().splitlines() if line.startswith("#")]
        assert section in {"", *(re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings)}
