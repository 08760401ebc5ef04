"""The ledger: what was published, what became of it, and every rule that was broken."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Fact", "Ledger"]


@dataclass(eq=False)
class Fact:
    """One published message, and what must become of it.

    Attributes:
        n: Its number.
        topic: Its topic.
        payload: What it carries; no two messages carry the same.
        qos: That of the publisher.
        owed: What must become of it, by route: "row", "letter", "either" or "nothing"; empty for what nobody routes.
        tracked: Whether it must not be lost: a session of the broker holds it, with a QoS above 0.
        copies: Copies that the broker still has to have acknowledged.
        begun: How often a handler has begun with it, by route.
        again: Routes on which it failed, or one process began with it more than once.
        rows: What was committed for it, by route and part.
        letters: Dead letters, by route; that of no route under the empty name.
        filtered: Routes whose middleware stopped it.
    """

    n: int
    topic: str
    payload: bytes
    qos: int
    owed: dict[str, str]
    tracked: bool = False
    copies: int = 0
    begun: Counter[str] = field(default_factory=Counter)
    again: set[str] = field(default_factory=set)
    rows: Counter[tuple[str, int]] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    filtered: set[str] = field(default_factory=set)

    @property
    def settled(self) -> bool:
        """Whether everything that must become of it has been committed."""
        if not self.owed:
            return self.letters[""] > 0
        return all(self._settled(route, end) for route, end in self.owed.items())

    def _settled(self, route: str, end: str) -> bool:
        written = {part for name, part in self.rows if name == route}
        parts = {1, 2} if end == "two rows" else {1}
        return (
            (end == "nothing" and route in self.filtered)
            or (end in ("row", "two rows", "either") and written >= parts)
            or (end in ("letter", "either") and self.letters[route] > 0)
        )

    def __str__(self) -> str:
        ends = f"rows={dict(self.rows)} letters={dict(self.letters)} filtered={sorted(self.filtered)}"
        return f"message {self.n} to {self.topic} QoS {self.qos} owed={self.owed} {ends} begun={dict(self.begun)}"


class Ledger:
    """Everything the judge knows.

    Attributes:
        violations: Rules that were broken, in words.
        stamps: Values that the state of a lane took, in the order of commits.
    """

    def __init__(self) -> None:
        self.facts: dict[int, Fact] = {}
        self._by_payload: dict[bytes, Fact] = {}
        self.violations: list[str] = []
        self.written: dict[tuple[str, str], list[int]] = defaultdict(list)
        #: Lanes whose state somebody else has locked at times: the writes behind go on.
        self.locked: set[tuple[str, str]] = set()
        self.state: dict[tuple[str, str], int] = {}
        #: Whether the broker gave known messages new packet identifiers and no DUP: no client can tell them then.
        self.anonymous_redelivery = False

    def publish(self, topic: str, do: str, qos: int, owed: dict[str, str]) -> Fact:
        """Note a new message."""
        n = len(self.facts) + 1
        payload = b"\xff%d" % n if do == "undecodable" else json.dumps({"n": n, "do": do}).encode()
        fact = self.facts[n] = self._by_payload[payload] = Fact(n, topic, payload, qos, owed)
        return fact

    def of(self, payload: bytes) -> Fact:
        """The message that carries this."""
        return self._by_payload[payload]

    def accuse(self, what: str) -> None:
        """Note a broken rule."""
        self.violations.append(what)

    # --- what the database committed ---

    def row(self, route: str, n: int, part: int) -> None:
        """A row of the table with a natural key is new."""
        fact = self.facts[n]
        fact.rows[route, part] += 1
        if fact.rows[route, part] > 1:
            self.accuse(f"two rows of one natural key: {fact}")
        if fact.owed.get(route) in (None, "letter", "nothing"):
            self.accuse(f"a row that must not be: {fact}")
        if part == 1:
            self._in_order(route, fact)

    def _in_order(self, route: str, fact: Fact) -> None:
        """Rows of one lane appear in the order of publishing, but for what failed or met a lock."""
        if route in fact.again or route == "free" or (route, fact.topic) in self.locked:
            return
        written = self.written[route, fact.topic]
        if written and written[-1] > fact.n:
            self.accuse(f"written after message {written[-1]} of the same lane: {fact}")
        written.append(fact.n)

    def keyless(self, route: str, n: int) -> None:
        """A row without a natural key was written."""
        fact = self.facts[n]
        fact.rows[route, 1] += 1
        if fact.rows[route, 1] > fact.begun[route]:
            self.accuse(f"written more often than it was handled: {fact}")

    def letter(self, payload: bytes, route: str | None) -> None:
        """A dead letter was committed."""
        fact = self.of(payload)
        fact.letters[route or ""] += 1
        if (fact.owed.get(route) not in ("letter", "either")) if route is not None else fact.owed:
            self.accuse(f"a dead letter that must not be: {fact}")
        if fact.letters[route or ""] > 1 and fact.qos and not self.anonymous_redelivery:
            self.accuse(f"two dead letters for one message: {fact}")

    # --- the end ---

    def close(self, still_owed: Any) -> None:
        """Judge the end, when everything has had the time to come right."""
        for fact in self.facts.values():
            if fact.tracked and not fact.settled:
                self.accuse(f"lost: {fact}")
            for route, end in fact.owed.items():
                if end == "either" and fact.begun[route] == 1 and fact.rows[route, 1] and fact.letters[route]:
                    self.accuse(f"both a row and a dead letter: {fact}")
        for key, value in self.state.items():
            if key in still_owed and value != still_owed[key]:
                self.accuse(f"the state of lane {key} is that of message {value}, not of {still_owed[key]}")
