"""What a reply's claims rest on, and citations that break their promise."""

from dataclasses import replace

import pytest

from retrieval import Grounding
from service.chat import Wants
from service.suites.looking_up import reply_row
from tests.service.scripted import ASKS_KENYA, INVENTED, KENYA, make_corridor

QUESTION = ASKS_KENYA[-1]["content"]


def replied(text, grounding="cite", **options):
    corridor = make_corridor([text], **options)
    return corridor.reply(ASKS_KENYA, Wants(1, seed=1, grounding=grounding)).replies[0], corridor


@pytest.mark.parametrize("grounding", ["cite", "off"])
def test_every_claim_has_its_support_whether_or_not_the_corridor_looked_it_up(grounding):
    row = reply_row(*replied(f"{KENYA} {INVENTED}", grounding), QUESTION)
    assert [(claim["text"], claim["label"]) for claim in row["claims"]] == [
        (KENYA, "supported"),
        (INVENTED, "unsupported"),
    ]
    assert [claim["documents"] for claim in row["claims"]] == [["kenya"], []]
    assert row["claims"][0]["quotes"] == [KENYA]
    assert row["invented"] == 0


def test_a_fallback_makes_no_claims():
    row = reply_row(*replied(KENYA, scores={"Kenya": {"violence": 0.9}}), QUESTION)
    assert (row["finish_reason"], row["claims"], row["invented"]) == ("content_filter", [], 0)


def _other_words(citation):
    return replace(citation, quote=replace(citation.quote, text="The capital of Kenya is Mombasa."))


def _outside_the_reply(citation):
    return replace(citation, end=citation.end + 5)


def _no_such_passage(citation):
    passage = replace(citation.quote.passage, id="nowhere#1")
    return replace(citation, quote=replace(citation.quote, passage=passage))


@pytest.mark.parametrize("broken", [_other_words, _outside_the_reply, _no_such_passage])
def test_a_citation_that_its_passage_or_the_reply_does_not_bear_out_is_invented(broken):
    reply, corridor = replied(KENYA)
    (citation,) = reply.grounding.citations
    assert reply_row(replace(reply, grounding=_with(broken(citation), reply)), corridor, QUESTION)["invented"] == 1


def _with(citation, reply):
    (claim,) = reply.grounding.claims
    return Grounding((replace(claim, citations=(citation,)),))
