"""requirements.lock: the same versions as requirements.txt, with hashes."""

import re

from tests.compose import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
REQUIREMENTS = (ROOT / "requirements.txt").read_text()
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", re.MULTILINE)


def versions(text: str) -> dict[str, str]:
    """Version by normalised name (PEP 503)."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PINNED.findall(text)}


def test_agrees_with_the_requirements() -> None:
    """What is tested is what the image gets; `make lock` brings a changed requirement over."""
    assert versions(REQUIREMENTS) == versions(LOCK)
    assert 40 < len(versions(LOCK))


def test_every_package_has_hashes() -> None:
    """A file that was exchanged at its source is refused."""
    packages = re.split(r"\n(?=\S)", LOCK.strip())
    assert [] == [package for package in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", package)]
    assert len(versions(LOCK)) == len(packages)


def test_names_no_index() -> None:
    """Where packages come from is the business of the machine that installs them."""
    assert "://" not in LOCK
    assert [] == [line for line in LOCK.splitlines() if line.startswith("-")]


def test_requirements_are_exact() -> None:
    """Each line is one version."""
    lines = [line.split("#")[0].strip() for line in REQUIREMENTS.splitlines()]
    assert [] == [line for line in lines if line and not PINNED.match(line)]
