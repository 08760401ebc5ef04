"""A trie of topic filters: what matches a topic, at a cost that does not depend on how many there are."""

import sys
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["FilterTrie"]

T = TypeVar("T")


class _Node(Generic[T]):
    """One level of the trie: ``here`` ends at it, ``below`` are filters whose next level is ``#``.

    With many filters a match waits mostly for memory. Tuples (the empty one is shared by all) and
    interned levels keep what it has to touch small.
    """

    __slots__ = ("below", "here", "literals", "wildcard")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.wildcard: _Node[T] | None = None
        self.here: tuple[T, ...] = ()
        self.below: tuple[T, ...] = ()

    def children(self) -> Iterator["_Node[T]"]:
        yield from self.literals.values()
        if self.wildcard is not None:
            yield self.wildcard

    def descend(self, level: str) -> "_Node[T]":
        """The child for a level of a filter, made if it is missing."""
        if level != "+":
            return self.literals.setdefault(sys.intern(level), _Node())
        if self.wildcard is None:
            self.wildcard = _Node()
        return self.wildcard


class FilterTrie(Generic[T]):
    """Values filed under topic filters and found by topic name."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._depth = 0

    def insert(self, topic_filter: str, value: T) -> None:
        """File a value.

        Args:
            topic_filter: A legal filter; several values may share one.
            value: What ``match`` returns.
        """
        levels = topic_filter.split("/")
        below = levels[-1] == "#"
        if below:
            del levels[-1]
        node = self._root
        for level in levels:
            node = node.descend(level)
        if below:
            node.below += (value,)
        else:
            node.here += (value,)
        self._depth = max(self._depth, len(levels))

    def split(self, topic: str) -> list[str]:
        """Split a topic into as many levels as any filter can look at; the last item keeps the rest."""
        return topic.split("/", self._depth)

    def match(self, levels: list[str]) -> list[T]:
        """Find what is filed under every filter that matches a topic.

        Args:
            levels: The topic name as ``split`` returns it.

        Returns:
            The values, in no particular order. Wildcards at the first level leave topics that
            begin with ``$`` alone (MQTT 5 section 4.7.2).
        """
        found: list[T] = []
        nodes = [self._root]
        wildcards = not levels[0].startswith("$")
        for level in levels:
            reached: list[_Node[T]] = []
            for node in nodes:
                if (child := node.literals.get(level)) is not None:
                    reached.append(child)
                if wildcards:
                    found += node.below
                    if node.wildcard is not None:
                        reached.append(node.wildcard)
            if not reached:
                return found
            nodes = reached
            wildcards = True
        for node in nodes:
            found += node.here
            found += node.below
        return found

    def covering(self, topic_filter: str) -> list[T]:
        """Find what is filed under filters that match every topic which the given one matches.

        Args:
            topic_filter: A legal filter; values filed under itself are found too.
        """
        levels = topic_filter.split("/")
        found: list[T] = []
        nodes = [self._root]
        # A filter that begins with a wildcard says nothing of "$..." topics.
        wildcards = not levels[0].startswith("$")
        for level in levels:
            if wildcards:
                for node in nodes:
                    found += node.below
            if level == "#":
                return found
            nodes = [child for node in nodes for child in self._broader(node, level, wildcards)]
            wildcards = True
        for node in nodes:
            found += node.here
            found += node.below
        return found

    def overlapping(self, topic_filter: str) -> Iterator[T]:
        """Find what is filed under filters that share at least one topic with the given one.

        Args:
            topic_filter: A legal filter; values filed under itself are found too.
        """
        levels = topic_filter.split("/")
        nodes = [self._root]
        for position, level in enumerate(levels):
            # A wildcard at the first level and a "$..." level have no topic in common.
            dollar = position == 0 and level.startswith("$")
            if not dollar:
                for node in nodes:
                    yield from node.below
            if level == "#":
                yield from self._subtree(nodes, spare_dollar=position == 0)
                return
            nodes = [child for node in nodes for child in self._sharing(node, level, position == 0)]
        for node in nodes:
            yield from node.here
            yield from node.below

    @staticmethod
    def _sharing(node: _Node[T], level: str, first: bool) -> Iterator[_Node[T]]:
        if level == "+":
            for text, child in node.literals.items():
                if not (first and text.startswith("$")):
                    yield child
        elif level in node.literals:
            yield node.literals[level]
        if node.wildcard is not None and not (first and level.startswith("$")):
            yield node.wildcard

    @staticmethod
    def _subtree(nodes: list[_Node[T]], *, spare_dollar: bool) -> Iterator[T]:
        """Everything at and below nodes whose own ``below`` was found already."""
        pending: list[_Node[T]] = []
        for node in nodes:
            yield from node.here
            pending += [c for text, c in node.literals.items() if not (spare_dollar and text.startswith("$"))]
            pending += [node.wildcard] if node.wildcard is not None else []
        while pending:
            node = pending.pop()
            yield from node.here
            yield from node.below
            pending += node.children()

    @staticmethod
    def _broader(node: _Node[T], level: str, wildcards: bool) -> Iterator[_Node[T]]:
        if level != "+" and level in node.literals:
            yield node.literals[level]
        if wildcards and node.wildcard is not None:
            yield node.wildcard
