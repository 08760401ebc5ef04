"""The trie of topic filters."""

from hypothesis import example, given
from hypothesis import strategies as st

from core import topics
from core.trie import FilterTrie
from tests.unit.topic_strategies import naive_match, topic_filters, topic_names

LONGEST = "a/" * 32_767 + "a"

filter_lists = st.lists(topic_filters(), max_size=12)


def trie_of(filters: list[str]) -> FilterTrie[str]:
    trie: FilterTrie[str] = FilterTrie()
    for topic_filter in filters:
        trie.insert(topic_filter, topic_filter)
    return trie


def matching(trie: FilterTrie[str], topic: str) -> list[str]:
    return sorted(trie.match(trie.split(topic)))


@given(filter_lists, topic_names)
@example(["#", "+/#", "a/#"], "a")
@example(["+/+", "/+", "+/"], "/")
@example(["#", "$a/#", "+/a"], "$a/a")
def test_trie_agrees_with_a_naive_matcher(filters: list[str], topic: str) -> None:
    """The trie finds exactly the filters that match one by one, each as often as it was filed."""
    assert sorted(f for f in filters if naive_match(f, topic)) == matching(trie_of(filters), topic)


@given(topic_filters(), topic_names)
def test_single_matcher_agrees_with_a_naive_matcher(topic_filter: str, topic: str) -> None:
    """So does ``topics.matches``."""
    assert topics.matches(topic_filter, topic) is naive_match(topic_filter, topic)


@given(filter_lists, topic_filters(), st.lists(topic_names, max_size=20))
def test_covering_filters_match_all_that_the_covered_one_matches(
    filters: list[str], topic_filter: str, names: list[str]
) -> None:
    """A topic that matches a filter matches every filter that covers it."""
    broader = trie_of(filters).covering(topic_filter)
    for topic in names:
        if naive_match(topic_filter, topic):
            assert [] == [f for f in broader if not naive_match(f, topic)]


def test_covering_finds_the_filter_itself_and_broader_ones() -> None:
    """Equal and broader filters cover; narrower and overlapping ones do not."""
    filters = ["#", "a/#", "a/+", "a/+/#", "a/b", "a/b/c", "+/b", "$a/#"]
    assert [
        "#",
        "+/b",
        "a/#",
        "a/+",
        "a/+/#",
        "a/b",
    ] == sorted(trie_of(filters).covering("a/b"))
    assert ["#", "a/#", "a/+", "a/+/#"] == sorted(trie_of(filters).covering("a/+"))
    assert ["#", "a/#"] == sorted(trie_of(filters).covering("a/#"))
    assert ["$a/#"] == trie_of(filters).covering("$a/b")
    assert ["#"] == trie_of(filters).covering("#")


@given(filter_lists, topic_filters(), st.lists(topic_names, max_size=20))
def test_filters_with_a_common_topic_overlap(filters: list[str], topic_filter: str, names: list[str]) -> None:
    """Filters that match one topic are found as overlapping."""
    found = list(trie_of(filters).overlapping(topic_filter))
    for topic in names:
        if naive_match(topic_filter, topic):
            assert [] == [f for f in filters if naive_match(f, topic) and f not in found]


def test_filters_without_a_common_topic_do_not_overlap() -> None:
    """'$' topics are apart from wildcards at the first level; other literals are apart from each other."""
    filters = ["#", "+/b", "a/#", "a/+/c", "b", "$a/b", "$a/#"]
    assert ["#", "+/b", "a/#"] == sorted(trie_of(filters).overlapping("a/b"))
    assert ["$a/#", "$a/b"] == sorted(trie_of(filters).overlapping("$a/+"))
    assert ["#", "+/b", "a/#", "a/+/c"] == sorted(trie_of(filters).overlapping("a/b/#"))
    assert [
        "#",
        "+/b",
        "a/#",
        "a/+/c",
        "b",
    ] == sorted(trie_of(filters).overlapping("#"))


def test_topic_of_65535_bytes_is_split_no_further_than_filters_look() -> None:
    """A topic of 32,768 levels costs as many steps as the deepest filter has levels."""
    trie = trie_of(["#", "a/#", "a/+/a", "b/#"])
    assert ["a", "a", "a", LONGEST[6:]] == trie.split(LONGEST)
    assert ["#", "a/#"] == matching(trie, LONGEST)


def test_filter_of_65535_bytes_is_walked_without_recursion() -> None:
    """Filters as deep as MQTT allows can be filed, matched and compared."""
    trie = trie_of([LONGEST, "/" * 65_535, "a/#"])
    assert ["a/#", LONGEST] == matching(trie, LONGEST)
    assert ["/" * 65_535] == matching(trie, "/" * 65_535)
    assert ["a/#", LONGEST] == sorted(trie.covering(LONGEST))
    assert ["/" * 65_535, "a/#", LONGEST] == sorted(trie.overlapping("#"))


def test_empty_trie_matches_nothing() -> None:
    """Without filters no topic matches."""
    assert [] == matching(trie_of([]), "a/b")
