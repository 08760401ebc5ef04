"""The long run, for a moment, so that it still runs when it is wanted."""

import subprocess
import sys
from pathlib import Path

from tests.service import ROOT

PAGE = "before\n<!-- soak: begin -->\nold\n<!-- soak: end -->\nafter\n"


def test_a_short_run_writes_its_table(tmp_path: Path, mosquitto: object) -> None:
    """It prints its seed, does what it was told, and replaces the table; a broken promise would be its exit code."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    bounds = (
        "--kills 2 --brokers 0 --outages 0 --cuts 2 --locks 0 --schedules 20 --inputs 40 --seed 5 --databases sqlite"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", *bounds.split(), "--report", str(page)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert done.stdout.startswith("seed 5")
    text = page.read_text()
    assert text.startswith("before\n<!-- soak: begin -->\nRun on ")
    assert text.endswith("<!-- soak: end -->\nafter\n")
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith(("| service killed", "| connection"))]
    assert ["1"] * 4 == [row.split("|")[4].strip() for row in rows]
