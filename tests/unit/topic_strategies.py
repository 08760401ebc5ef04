"""Random topics and filters, and a matcher so simple that it must be right."""

import re

from hypothesis import strategies as st

# Few words, so that filters and topics meet often.
_WORDS = ["", "a", "b", "$a", "a.b"]

topic_names = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def topic_filters(draw: st.DrawFn) -> str:
    """Any legal filter over the same few words."""
    levels = draw(st.lists(st.sampled_from([*_WORDS, "+"]), max_size=4))
    if draw(st.booleans()):
        levels.append("#")
    return "/".join(levels) or "+"


def naive_match(topic_filter: str, topic: str) -> bool:
    """Match by turning the filter into a regular expression, as MQTT 5 section 4.7 reads."""
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False
    if topic_filter == "#":
        return True
    base = topic_filter.removesuffix("/#")
    pattern = "/".join("[^/]*" if level == "+" else re.escape(level) for level in base.split("/"))
    tail = "(/.*)?" if base != topic_filter else ""
    return re.fullmatch(pattern + tail, topic, re.DOTALL) is not None
