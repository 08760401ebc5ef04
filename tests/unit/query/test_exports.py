"""The public names."""

import core.query
from tests.acceptance.test_documentation import ROOT


def test_every_name_is_documented() -> None:
    """What core.query exports has its recipe in the cookbook."""
    text = (ROOT / "docs" / "database" / "queries.md").read_text()
    results = {"Page", "CursorPage"}
    assert set() == {name for name in core.query.__all__ if f"{name}(" not in text} - results
    assert sorted(core.query.__all__) == sorted(name for name in core.query.__all__ if hasattr(core.query, name))
