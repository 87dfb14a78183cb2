"""LaMDA's toolset: every tool on the string, outputs in the order calculator, translator, retrieval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Document, Hit, Index, Retrieval, Toolset
from retrieval.calculator import Calculator

INDEX = Index.build(
    [
        Document("kenya", "Kenya", "The capital of Kenya is Nairobi. Kenya has 47 counties."),
        Document("sums", "Sums", "In French schools 135+7721 is a hard sum."),
        *(Document(f"tea{n}", "Tea", f"Tea number {n} is a drink.") for n in range(60)),
    ]
)


class Echo:
    """A translator that says what it was asked."""

    name, installed = "translator", "echo"

    def __call__(self, text: str) -> list[str]:
        return [f"translated {text}"] if "French" in text else []


TOOLS = Toolset(translator=Echo(), retrieval=Retrieval(INDEX))


def test_every_tool_is_tried_and_the_outputs_are_in_lamdas_order():
    text = "How do they say it in French? What is 135+7721?"
    results = TOOLS.results(text)
    assert [r.tool for r in results][:2] == ["calculator", "translator"]
    assert {r.tool for r in results[2:]} == {"retrieval"}
    assert TOOLS(text)[:2] == ["7856", f"translated {text}"]
    assert TOOLS(text)[2] == "In French schools 135+7721 is a hard sum."


def test_135_plus_7721_is_7856():
    assert Toolset()("135+7721") == ["7856"]


def test_what_no_tool_can_parse_gives_nothing():
    assert TOOLS("zorblax") == []


@given(st.text() | st.sampled_from(["3 + 4", "tea", "the capital of Kenya", "bread in French"]))
def test_a_string_gives_the_same_outputs_with_and_without_their_sources(text):
    results = TOOLS.results(text)
    assert TOOLS(text) == [r.output for r in results]
    assert all(r.input == text for r in results)
    assert all((r.hit is not None) == (r.tool == "retrieval") for r in results)


def test_what_retrieval_found_can_be_cited():
    (result,) = Toolset(retrieval=Retrieval(INDEX, k=1)).results("the capital of Kenya")
    assert isinstance(result.hit, Hit)
    assert INDEX.passage(result.hit.passage.id).text == result.output
    assert result.record() == {
        "tool": "retrieval",
        "input": "the capital of Kenya",
        "output": result.output,
        "passage": result.hit.passage.id,
    }


def test_what_the_calculator_said_can_be_cited():
    (result,) = Toolset().results("What is 12% of 250?")
    assert result.record() == {"tool": "calculator", "input": "What is 12% of 250?", "output": "30"}


def test_no_more_passages_come_back_than_were_asked_for():
    assert len(Retrieval(INDEX, k=7)("tea")) == 7
    for k in (0, 51):
        with pytest.raises(ValueError, match=f"1 to 50, not {k}"):
            Retrieval(INDEX, k=k)


def test_a_query_of_a_whole_book_is_not_looked_up():
    assert Retrieval(INDEX)("tea " * 1000) == []


def test_the_toolset_says_what_is_installed():
    assert TOOLS.installed == {"calculator": "built in", "translator": "echo", "retrieval": "index"}
    assert Toolset().installed["translator"] == "none installed"
    assert Toolset(calculator=None).installed["calculator"] == "none installed"
    assert Calculator().name == "calculator"
