"""Which sentences are supported: a set made by hand, and the ways of being almost supported."""

from __future__ import annotations

import pytest

from renga.citations.matching import Passage, Passages

TOWER = (
    "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France.",
    "It is named after the engineer Gustave Eiffel, whose company designed and built the tower "
    "from 1887 to 1889.",
    "It was initially criticised by some of France's leading artists.",
    "The tower received 5,889,000 visitors in 2022.",
    "The tower is 330 metres tall, about the same height as an 81-storey building.",
    "It is not lit after midnight.",
)
POLICY = (
    "Customers may return any item within 30 days of delivery for a full refund.",
    "Items must be unused and in their original packaging.",
    "Refunds are paid to the original payment method within 5 business days.",
    "Shipping costs are not refunded unless the item arrived damaged.",
    "Gift cards cannot be returned or exchanged for cash.",
    "Contact support@example.com before you send anything back.",
)
PASSAGES = Passages(
    [
        *(Passage(0, text, "Eiffel Tower") for text in TOWER),
        *(Passage(1, text, "Return policy") for text in POLICY),
    ]
)
N = len(TOWER)

# What a model wrote, and the passages that a careful reader would cite for it.
SUPPORTED: list[tuple[str, list[int]]] = [
    ("The Eiffel Tower is on the Champ de Mars in Paris.", [0]),
    ("The Eiffel Tower is 330 metres tall.", [4]),
    ("It is about as tall as an 81-storey building.", [4]),
    ("Gustave Eiffel's company designed and built the tower from 1887 to 1889.", [1]),
    ("Leading artists of France criticised it initially.", [2]),
    ("In 2022 the tower received 5,889,000 visitors.", [3]),
    ("The tower had 5889000 visitors in 2022.", [3]),
    ("The tower is not lit after midnight.", [5]),
    ("You may return any item within 30 days of delivery for a full refund.", [N]),
    ("Items must be unused and in the original packaging.", [N + 1]),
    ("Refunds are paid within five business days to the original payment method.", [N + 2]),
    ("Shipping costs are not refunded, unless the item was damaged.", [N + 3]),
    ("Gift cards cannot be exchanged for cash.", [N + 4]),
    ("Before sending anything back, contact support@example.com.", [N + 5]),
    (
        "The tower is 330 metres tall and received 5,889,000 visitors in 2022.",
        [3, 4],
    ),
    (
        "Return an item within 30 days of delivery, unused and in its original packaging.",
        [N, N + 1],
    ),
]
# What no passage says, though much of it sounds like one.
UNSUPPORTED = [
    "The Eiffel Tower is 324 metres tall.",
    "The tower received 6,889,000 visitors in 2022.",
    "The tower is lit after midnight.",
    "The Eiffel Tower is not 330 metres tall.",
    "Napoleon's company designed and built the tower from 1887 to 1889.",
    "The Eiffel Tower is on the Champ de Mars in Lyon.",
    "Customers may return any item within 60 days of delivery for a full refund.",
    "Gift cards can be exchanged for cash.",
    "Shipping costs are refunded.",
    "I hope that this helps!",
    "Let me know if you have any other questions about the tower.",
    "The weather in Paris is nice.",
    "Yes.",
    "Here is what I found:",
    "Refunds are paid in bitcoin within 5 business days.",
    "The tower was painted red by the artists.",
    "Visitors climb the stairs of the building every day.",
    "",
]


def test_what_is_cited_is_right_and_most_that_can_be_is_cited() -> None:
    """Precision before recall: all that is cited is right, and nine of ten are."""
    found = [(PASSAGES.support(sentence), expected) for sentence, expected in SUPPORTED]
    wrong = [pair for pair in found if not set(pair[0]) <= set(pair[1])]
    assert wrong == []
    right = [pair for pair in found if pair[0]]
    assert len(right) >= 0.9 * len(SUPPORTED), [
        sentence for sentence, _ in SUPPORTED if not PASSAGES.support(sentence)
    ]


@pytest.mark.parametrize("sentence", UNSUPPORTED)
def test_what_no_passage_says_is_not_cited(sentence: str) -> None:
    assert PASSAGES.support(sentence) == []


def test_every_passage_supports_itself() -> None:
    for at, text in enumerate([*TOWER, *POLICY]):
        assert PASSAGES.support(text) == [at]


def test_a_short_answer_is_cited_where_the_question_leads() -> None:
    texts = ("Paris is the capital of France.", "The fair of 1900 was held in Paris.", "Rome fell.")
    row = [Passage(0, text) for text in texts]
    assert Passages(row, "What is the capital of France?").support("Paris.") == [0]
    assert Passages(row, "Where was the fair of 1900 held?").support("Paris.") == [1]
    assert Passages(row, "Who wrote Hamlet?").support("Paris.") == []
    assert Passages(row, "What is the capital of France?").support("Lyon.") == []


def test_what_a_source_is_about_may_be_named_where_the_source_says_it() -> None:
    row = [Passage(0, text, "Tower") for text in ("It is 324 metres tall.", "It opened in 1889.")]
    assert Passages(row, "When?").support("The tower opened in 1889.") == [1]
    assert Passages(row, "When?").support("The bridge opened in 1889.") == []


def test_two_sources_that_say_the_same_are_both_cited() -> None:
    text = "The meeting of the board was moved to Thursday at noon."
    row = [Passage(0, text), Passage(0, "Nothing else changed."), Passage(1, text)]
    assert Passages(row).support("The board meeting was moved to Thursday.") == [0, 2]


def test_scripts_without_spaces_are_compared_too() -> None:
    row = [Passage(0, "东京是日本的首都。"), Passage(0, "大阪是日本的第二大城市。")]
    assert Passages(row).support("日本的首都是东京。") == [0]


def test_nothing_is_cited_where_there_is_nothing() -> None:
    assert Passages([]).support("Anything at all is said here.") == []
    assert Passages([Passage(0, "...")]).support("...") == []
