"""The rules of topic names and topic filters (MQTT 5 section 4.7), as plain functions."""

__all__ = [
    "MAX_TOPIC_BYTES",
    "filter_problem",
    "has_wildcard",
    "join",
    "matches",
    "name_problem",
]

MAX_TOPIC_BYTES = 65_535


def name_problem(topic: str) -> str | None:
    """Say why a topic name is illegal.

    Args:
        topic: A topic to publish to.

    Returns:
        The reason, or ``None`` for a legal topic name (MQTT 5 section 4.7.1 and 4.7.3).
    """
    if "+" in topic or "#" in topic:
        return "a topic name has no wildcards"
    return _text_problem(topic)


def filter_problem(topic_filter: str) -> str | None:
    """Say why a topic filter is illegal.

    Args:
        topic_filter: A filter to subscribe to.

    Returns:
        The reason, or ``None`` for a legal filter (MQTT 5 section 4.7.1).
    """
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position != len(levels) - 1):
            return "'#' stands alone and last"
        if "+" in level and level != "+":
            return "'+' takes a whole level"
    return _text_problem(topic_filter)


def _text_problem(topic: str) -> str | None:
    if not topic:
        return "it is empty"
    if "\0" in topic:
        return "it contains a NUL character"
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        return "it contains a character that UTF-8 cannot encode"
    if size > MAX_TOPIC_BYTES:
        return f"it is longer than {MAX_TOPIC_BYTES} bytes"
    return None


def has_wildcard(topic_filter: str) -> bool:
    """Whether a legal filter can match more than one topic name."""
    return "+" in topic_filter or topic_filter.endswith("#")


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic name; to match many filters, use ``core.trie``.

    Args:
        topic_filter: A legal filter.
        topic: A legal topic name.
    """
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        del wanted[-1]
        # "a/#" also matches its parent "a" (MQTT 5 section 4.7.1.2).
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def join(prefix: str, rest: str) -> str:
    """Join a prefix and the rest of a pattern with exactly one slash between them.

    Args:
        prefix: Leading levels, with or without a slash at the end; may be empty.
        rest: Further levels; may be empty.
    """
    if not prefix or not rest:
        return prefix or rest
    return f"{prefix.removesuffix('/')}/{rest.removeprefix('/')}"
