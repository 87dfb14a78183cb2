import builtins
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from retrieval import Document, Index
from service.generator import GeneratorFailed
from service.terminal import converse
from tests.service.scripted import ASKS_KENYA, GLAD, KENYA, POLICY, ScriptedGenerator, make_corridor

SAYS = ASKS_KENYA[0]["content"]


def talk(corridor, *typed):
    """What the terminal shows while these lines are typed, and no more come."""
    lines = iter(typed)

    def type_(*_):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    console = Console(file=io.StringIO(), width=400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "input", type_)
        converse(corridor, console)
    return console.file.getvalue(), list(lines)


def test_a_cited_reply_is_numbered_and_its_source_stands_below_with_the_quote(corridor):
    shown, _ = talk(corridor([f"{KENYA} Ask me more."]), SAYS)
    assert f"{KENYA} (1) Ask me more." in shown
    assert f'(1) Kenya "{KENYA}" https://example.org/kenya, support 1.00' in shown


def test_what_was_dropped_is_counted_by_reason_and_not_shown(corridor):
    says = ["A bomb for you.", "A rude bombing.", "Rude words.", GLAD]
    scores = {"bomb": {"weapons": 0.9}, "ude": {"hate": 0.8}}
    shown, _ = talk(corridor(says, scores, candidates=4), "Hello?")
    assert "4 sampled, 3 dropped (weapons 2, hate 1);" in shown
    assert GLAD in shown
    assert "bomb" not in shown
    assert "ude" not in shown


def test_when_everything_is_dropped_the_fallback_is_shown_and_nothing_else(corridor):
    shown, _ = talk(corridor(["A bomb."], {"bomb": {"weapons": 0.9}}, candidates=3), SAYS)
    assert POLICY.objectives["weapons"].fallback in shown
    assert "6 sampled, 6 dropped (weapons 6);" in shown
    assert "bomb" not in shown


def test_the_phases_and_their_seconds_are_shown(corridor):
    shown, _ = talk(corridor(), SAYS)
    assert all(re.search(rf"{phase} \d+\.\d s", shown) for phase in ("screen", "generate", "rank", "ground"))


NOTHING = Index.build([])


def said(corridor):
    """The one line inside the panel."""
    (line,) = [line for line in talk(corridor, SAYS)[0].splitlines() if line.startswith("│")]
    return line.removeprefix("│ ").removesuffix("│").strip()


@pytest.mark.parametrize("end", ["", "   ", "/quit"])
def test_an_empty_line_or_quit_ends(corridor, end):
    shown, untyped = talk(corridor(), SAYS, end, "not reached")
    assert untyped == ["not reached"]
    assert shown.count("winnow") == 1


def test_the_end_of_input_ends(corridor):
    assert "scripted, policy balanced" in talk(corridor())[0]


@pytest.mark.parametrize(
    "text", ["[bold]loud[/bold]", "[/]", "[red]", "see [link=x]here[/link]", "a :heart: b", "\\[x]", "end \\"]
)
def test_markup_in_a_reply_is_shown_as_text(corridor, text):
    assert said(corridor([text], index=NOTHING)) == text


@settings(max_examples=60)
@given(pieces=st.lists(st.sampled_from(["[", "]", "/", "\\", ":", "bold", "heart", "red", " "]), min_size=1))
def test_no_reply_however_bracketed_is_changed(pieces):
    text = "".join(pieces).strip() or "x"
    assert said(make_corridor([text], index=NOTHING)) == text


def test_markup_in_a_source_is_shown_as_text(corridor):
    index = Index.build([Document("k", "[b]Kenya[/b] :bee:", f"{KENYA} Tea grows there.", "https://e.org/[red]")])
    shown, _ = talk(corridor([KENYA], index=index), SAYS)
    assert f'(1) (b)Kenya(/b) :bee: "{KENYA}" https://e.org/%5Bred%5D, support' in shown


def test_control_characters_in_a_source_do_not_reach_the_terminal(corridor):
    text = "The capital of Kenya\x07 is \x1bNairobi."
    index = Index.build([Document("k", "\x1b]0;title\x07Kenya", text, "https://e.org/\x1b[2J")])
    shown, _ = talk(corridor([KENYA], index=index), SAYS)
    assert f'"{KENYA}" https://e.org/%1B%5B2J, support' in shown
    assert not {"\x1b", "\x07"} & set(shown)


def test_each_turn_hears_the_whole_conversation(corridor):
    generator = ScriptedGenerator([GLAD])
    talk(corridor(generator=generator), "Hello?", "And you?")
    assert generator.calls[-1].messages == [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": GLAD},
        {"role": "user", "content": "And you?"},
    ]


def test_a_conversation_that_grows_too_long_is_said_so_and_begins_afresh(corridor):
    generator = ScriptedGenerator([GLAD], limit=8)
    shown, _ = talk(corridor(generator=generator), "One two?", "Three four five?", "Six?")
    assert "the conversation has 10 tokens; the limit is 8; starting afresh" in shown
    assert generator.calls[-1].messages == [{"role": "user", "content": "Six?"}]


def test_a_server_that_fails_is_told_and_the_words_can_be_said_again(corridor):
    def says(messages, n, sampling):
        if not failed:
            failed.append(messages)
            raise GeneratorFailed("the upstream server answered [503]", 502, "upstream_unreachable")
        return [GLAD] * n

    failed = []
    generator = ScriptedGenerator(says)
    shown, _ = talk(corridor(generator=generator), "Hello?", "Hello?")
    assert "the upstream server answered [503]; say it again" in shown
    assert generator.calls[-1].messages == [{"role": "user", "content": "Hello?"}]
    assert GLAD in shown
