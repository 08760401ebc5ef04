"""What every peer is told on its command line."""

import argparse
from dataclasses import dataclass

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """Where to take messages from and where to put them.

    Attributes:
        port: The broker's port on loopback.
        url: SQLAlchemy URL of the database, with its async driver.
        client_id: Names the persistent session.
        window: Messages taken in and not yet acknowledged.
    """

    port: int
    url: str
    client_id: str
    window: int

    @classmethod
    def given(cls) -> "Order":
        """Read the command line."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--url", required=True)
        parser.add_argument("--client-id", required=True)
        parser.add_argument("--window", type=int, required=True)
        return cls(**vars(parser.parse_args()))

    def arguments(self) -> list[str]:
        """The command line that ``given`` reads."""
        return [
            *("--port", str(self.port), "--url", self.url),
            *("--client-id", self.client_id, "--window", str(self.window)),
        ]
