"""The chat page in headless Chromium: used as people use it, before a scripted corridor, and before servers that fail."""

import asyncio
import itertools
import json
import re
import threading
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright

from classifiers import OBJECTIVES, load_policy
from classifiers.labelled import read_labelled
from retrieval import Document, Index
from service.app import create_app
from service.feedback import exported
from service.log_file import LogReader
from tests.service import browsing
from tests.service.scripted import DOCUMENTS, GLAD, INVENTED, KENYA, POLICY, make_corridor
from tests.service.serving import listening

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"
ASKED = "What is the capital of Kenya?"
GREETING = "Hello, how are you?"
"""No passage fits it, so that all candidates are drawn in one call, as they are scripted."""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=browsing.chromium(), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """visit(app, **context): the page of an app in a fresh tab. At the end nothing may have happened that must not."""
    with ExitStack() as open_until_the_end:
        watched = []

        def visits(app, **context):
            home = open_until_the_end.enter_context(listening(app)).removesuffix("v1")
            tab = browser.new_context(**{"reduced_motion": "reduce", **context})
            open_until_the_end.callback(tab.close)
            watched.append(browsing.Watched(tab, home))
            return watched[-1].page

        yield visits
        for each in watched:
            assert each.faults == []


@pytest.fixture
def chat(visit):
    """chat(candidates, scores, **settings): the page before a corridor that says these."""
    return lambda says=(KENYA,), scores=None, **given: visit(create_app(make_corridor(says, scores, **given)))


def ask(page, words=ASKED):
    page.get_by_label("Message").fill(words)
    page.keyboard.press("Enter")


def replies(page):
    return page.get_by_role("article", name="Winnow's reply")


def reply_text(page):
    """What the last reply says, without the numbers of its sources."""
    without = "copy.querySelectorAll('sup, .unseen').forEach(one => one.remove())"
    said = replies(page).last.locator(".text")
    return said.evaluate(f"node => {{ const copy = node.cloneNode(true); {without}; return copy.textContent; }}")


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.textContent")


# --- a reply and its sources


def test_a_sentence_shows_its_quote_within_the_passage_when_it_is_reached_and_escape_puts_it_away(chat):
    page = chat()
    ask(page)
    sentence = page.get_by_role("button", name=KENYA)
    expect(sentence).to_have_attribute("aria-expanded", "false")
    card = page.locator(".card")
    expect(card).to_be_hidden()
    sentence.hover()
    expect(card).to_be_visible()
    expect(card.locator("mark")).to_have_text("The capital of Kenya is Nairobi.")
    expect(card.locator("blockquote")).to_contain_text("Kenya is a country in East Africa. The capital")
    card.hover()
    page.wait_for_timeout(400)
    expect(card).to_be_visible()
    page.mouse.move(0, 0)
    expect(card).to_be_hidden()
    sentence.focus()
    expect(card).to_be_visible()
    expect(sentence).to_have_attribute("aria-expanded", "true")
    expect(sentence).to_have_accessible_description(re.compile("1 Kenya.*The capital of Kenya is Nairobi", re.DOTALL))
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    page.keyboard.press("Enter")
    expect(card).to_be_visible()
    page.get_by_label("Message").focus()
    expect(card).to_be_hidden()


def test_sources_are_numbered_and_lead_to_their_documents(chat):
    page = chat([f"{KENYA} Mombasa is a port on the Indian Ocean."])
    ask(page)
    sources = page.get_by_role("region", name="Sources").get_by_role("listitem")
    expect(sources).to_have_count(2)
    expect(page.locator(".claim sup")).to_have_text([re.compile("1$"), re.compile("2$")])
    link = sources.first.get_by_role("link", name="Kenya")
    expect(link).to_have_attribute("href", "https://example.org/kenya")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    sources.last.locator("summary").click()
    expect(sources.last.locator("mark")).to_have_text("Mombasa is a port on the Indian Ocean.")
    expect(page.get_by_text("2 of 2 claims with a source.")).to_be_visible()


def test_a_sentence_without_a_source_is_underlined_and_said_to_be(chat):
    page = chat([INVENTED])
    ask(page)
    sentence = page.locator(".turn .unsupported")
    expect(sentence).to_have_text(f"{INVENTED} (No document was found that bears this out.)")
    assert "underline" in sentence.evaluate("node => getComputedStyle(node).textDecorationLine")
    expect(page.get_by_text("0 of 1 claim with a source.")).to_be_visible()
    expect(page.get_by_role("region", name="Sources")).to_have_count(0)


def test_spans_are_counted_in_characters_whatever_stands_before_them(chat):
    said = f"I am glad to help \U0001f600\U0001f600\U0001f9d1‍\U0001f680. {KENYA} {INVENTED}"
    page = chat([said])
    ask(page)
    expect(page.locator(".turn .claim")).to_have_text(re.compile(f"^{re.escape(KENYA)}"))
    expect(page.locator(".turn .unsupported")).to_contain_text(INVENTED)
    assert reply_text(page) == said


def test_markup_in_words_titles_and_documents_shows_as_text_and_runs_nothing(chat):
    hostile = Document(
        "kenya",
        f"Kenya {HOSTILE}",
        f"{HOSTILE} The capital of Kenya is Nairobi. {HOSTILE}",
        "javascript:alert(3)",
        HOSTILE,
    )
    said = f"{KENYA}\n{HOSTILE}"
    page = chat([said], index=Index.build([hostile, *DOCUMENTS[1:]], words=40))
    ask(page, f"{HOSTILE} {ASKED}")
    expect(page.get_by_role("article", name="You")).to_have_text(f"{HOSTILE} {ASKED}")
    claim = page.get_by_role("button", name=KENYA)
    expect(claim).to_be_visible()
    assert reply_text(page) == said
    claim.focus()
    expect(page.locator(".card:visible blockquote")).to_contain_text(HOSTILE)
    page.keyboard.press("Escape")
    for passage in page.locator(".sources summary").all():
        passage.click()
    page.locator(".drawer summary").first.click()
    assert page.locator("main img, main script, main b").count() == 0
    assert page.locator("main a").count() == 0  # no scheme but http and https is a link


# --- the drawer


def bomb(**more):
    return {"bomb": {"weapons": 0.9, **more}}


def test_the_drawer_counts_what_was_sampled_and_dropped_and_shows_the_scores_but_no_dropped_word(chat):
    page = chat([KENYA, "Take a bomb.", GLAD, INVENTED], bomb(), candidates=4)
    ask(page, GREETING)
    page.get_by_text("4 sampled · 1 dropped").click()
    expect(page.get_by_text("Dropped by: Indiscriminate weapons 1.")).to_be_visible()
    rows = page.locator(".candidates tbody tr")
    expect(rows).to_have_count(4)
    assert sum("dropped: Indiscriminate weapons" in row for row in rows.all_inner_texts()) == 1
    assert sum("sent" in row for row in rows.all_inner_texts()) == 1
    bars = page.locator(".bars tbody tr")
    expect(bars).to_have_count(len(OBJECTIVES))
    expect(page.locator(".bars .over")).to_have_count(1)
    expect(page.locator(".bars .over")).to_contain_text("0.90")
    place = next(n for n, row in enumerate(rows.all_inner_texts()) if "sent" in row)
    page.get_by_role("button", name=f"Scores of candidate {place + 1}").click()
    expect(page.locator(".bars caption")).to_have_text(f"Scores of candidate {place + 1}, sent")
    expect(page.locator(".bars .over")).to_have_count(0)
    assert "Take a bomb" not in page.content()


def test_the_drawer_tells_what_another_preset_would_have_dropped(chat):
    strict = POLICY.objectives["weapons"]
    page = chat([KENYA, "A bomb.", GLAD], {"bomb": {"weapons": 0.4}}, candidates=3)
    ask(page, GREETING)
    page.get_by_text("3 sampled · 0 dropped").click()
    pick = page.get_by_label("The policy of")
    told = page.locator(".drawer output")
    expect(told).to_have_text("reaches 0 of 3 candidates")
    assert strict.threshold == 0.5
    pick.select_option(label="strict, as shipped")
    expect(told).to_have_text("reaches 1 of 3 candidates")


def test_words_of_a_dropped_candidate_show_where_the_server_sends_them(visit):
    async def chat(body, request):
        for event in browsing.events():
            if b'"verdicts"' in event:
                chunk = json.loads(event.removeprefix(b"data: "))
                chunk["winnow"]["verdicts"][1]["text"] = f"Words {HOSTILE}"
                event = f"data: {json.dumps(chunk)}\n\n".encode()
            yield event

    page = visit(browsing.stand_in(chat))
    ask(page)
    page.get_by_text("2 sampled").click()
    page.get_by_text("Its words").click()
    expect(page.locator(".its-words")).to_have_text(f"Words {HOSTILE}")


# --- what can be done with a reply


def test_what_is_wrong_with_a_reply_is_kept_as_a_label_and_can_be_taken_back(chat, tmp_path):
    log = tmp_path / "decisions.sqlite"
    page = chat(decision_log=log, retain_texts=True)
    ask(page)
    page.get_by_role("button", name="Something is wrong").click()
    dialog = page.get_by_role("dialog", name="What is wrong with this reply?")
    expect(dialog.get_by_role("checkbox")).to_have_count(len(OBJECTIVES) + 4)
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog.get_by_role("alert")).to_have_text("Mark at least one reason.")
    dialog.get_by_label("Hate", exact=True).check()
    dialog.get_by_label("Too general").check()
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#announced")).to_have_text("Kept. Thank you.")
    with LogReader(log) as reader:
        (label,) = reader.labels()
        rows = exported(reader).rows
    assert label.reasons == ("hate", "specific")
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (example,) = read_labelled(file)
    assert (example.reply, example.objectives) == (KENYA, {"hate"})
    page.get_by_role("button", name="Said what is wrong").click()
    expect(dialog.get_by_label("Hate", exact=True)).to_be_checked()
    dialog.get_by_role("button", name="Take back").click()
    expect(page.get_by_role("button", name="Something is wrong")).to_be_visible()
    with LogReader(log) as reader:
        assert reader.labels() == []


def test_a_server_that_keeps_no_log_says_so_before_anything_is_marked(chat):
    page = chat()
    ask(page)
    page.get_by_role("button", name="Something is wrong").click()
    expect(page.get_by_text("This server keeps no decision log")).to_be_visible()
    expect(page.get_by_role("button", name="Keep", exact=True)).to_be_disabled()


def test_a_reply_is_copied_with_its_sources(chat):
    page = chat()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{KENYA}\n\n[1] Kenya: “The capital of Kenya is Nairobi.” https://example.org/kenya"


def test_retry_asks_the_same_again_and_a_new_chat_begins_with_nothing(chat):
    said = itertools.cycle([GLAD, KENYA])
    page = chat(lambda messages, n, sampling: [next(said)] * n, candidates=1)
    page.get_by_role("button", name="Options").click()
    page.get_by_role("combobox", name="Sources").select_option("off")
    ask(page)
    expect(replies(page)).to_contain_text(GLAD)
    expect(page.get_by_text("Not checked against the documents.")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(replies(page)).to_contain_text(KENYA)
    expect(replies(page)).to_have_count(1)
    page.get_by_role("button", name="New chat").click()
    expect(replies(page)).to_have_count(0)
    expect(page.get_by_label("Message")).to_be_focused()


def test_the_server_is_given_the_whole_conversation_and_the_options(visit):
    asked = []

    async def chat(body, request):
        asked.append(body)
        for event in browsing.events():
            yield event

    page = visit(browsing.stand_in(chat))
    ask(page, "One?")
    expect(replies(page)).to_contain_text(KENYA)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Candidates", exact=True).select_option("32")
    page.get_by_role("combobox", name="Sources").select_option("research")
    page.get_by_role("combobox", name="Policy", exact=True).select_option("strict")
    ask(page, "Two?")
    expect(page.get_by_text("2 sampled")).to_have_count(2)
    assert asked[0]["messages"] == [{"role": "user", "content": "One?"}]
    assert (asked[0]["grounding"], "candidates" in asked[0], "policy" in asked[0]) == ("cite", False, False)
    assert [message["content"] for message in asked[1]["messages"]] == ["One?", KENYA, "Two?"]
    assert (asked[1]["grounding"], asked[1]["candidates"], asked[1]["policy"]) == ("research", 32, "strict")
    assert asked[1]["stream"]
    expect(page.get_by_role("button", name="Retry")).to_have_count(1)


# --- while a reply comes


def test_progress_is_told_and_a_reply_can_be_stopped_which_ends_the_request(visit):
    sampled, left = threading.Event(), threading.Event()

    async def chat(body, request):
        yield b": sampled 16\n\n"
        try:
            while not sampled.is_set():
                await asyncio.sleep(0.01)
            yield b": screened, dropped 3\n\n"
            yield b": still working\n\n"
            await asyncio.sleep(60)
        finally:
            left.set()

    page = visit(browsing.stand_in(chat))
    ask(page)
    status = page.get_by_role("status").first
    expect(status).to_have_text("16 replies sampled; judging them")
    sampled.set()
    expect(status).to_have_text("3 dropped; looking for sources")
    expect(page.get_by_role("button", name="Send")).to_be_hidden()
    page.get_by_role("button", name="Stop").click()
    expect(replies(page)).to_contain_text("Stopped.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(status).to_be_empty()
    assert left.wait(10)


def test_words_show_as_they_come_even_where_a_character_is_cut_in_two(visit):
    go = threading.Event()

    async def chat(body, request):
        whole = b"".join(event.replace(b"\\u2615", "☕".encode()) for event in browsing.events("Tea ☕ is a drink."))
        cut = whole.index("☕".encode()) + 1
        yield whole[:cut]
        while not go.is_set():
            await asyncio.sleep(0.01)
        for start in range(cut, len(whole), 700):
            yield whole[start : start + 700]
            await asyncio.sleep(0)

    page = visit(browsing.stand_in(chat))
    ask(page)
    expect(replies(page)).to_have_text("Tea")
    go.set()
    expect(page.get_by_text("2 sampled")).to_be_visible()
    assert reply_text(page) == "Tea ☕ is a drink."


def test_a_finished_reply_is_read_out_once_and_whole(chat):
    page = chat()
    ask(page)
    expect(page.locator("#announced")).to_have_text(f"Winnow: {KENYA}")
    expect(page.locator("#announced")).to_have_attribute("aria-live", "polite")
    assert page.locator("main [aria-live], main [role=log]").count() == 0


# --- faults


def refusing(status, error=None, **headers):
    def answer(route):
        body = json.dumps({"error": error}) if error else "<html>gateway</html>"
        kind = "application/json" if error else "text/html"
        route.fulfill(status=status, body=body, headers={"content-type": kind, **headers})

    return answer


def envelope(message, code=None):
    return {"message": message, "type": "server_error", "param": None, "code": code}


@pytest.mark.parametrize(
    ("status", "error", "title", "words"),
    [
        (403, envelope("the key lacks the scope chat"), "This API key may not do that", "the key lacks the scope chat"),
        (400, envelope("messages: 9 messages; the limit is 8"), "The server did not take this", "the limit is 8"),
        (
            400,
            envelope("messages: too long.", "context_length_exceeded"),
            "The conversation is too long",
            "Begin a new chat",
        ),
        (503, envelope("a text could not be judged"), "The server cannot answer now", "a text could not be judged"),
        (504, envelope("no answer within 60 s", "deadline_exceeded"), "That took too long", "no answer within 60 s"),
        (500, envelope("internal error"), "The server cannot answer now", "internal error"),
        (502, None, "The server cannot answer now", "status 502"),
    ],
)
def test_each_fault_is_named_and_can_be_tried_again(chat, status, error, title, words):
    page = chat()
    page.route("**/v1/chat/completions", refusing(status, error))
    ask(page)
    alert = replies(page).get_by_role("alert")
    expect(alert).to_contain_text(title)
    expect(alert).to_contain_text(words)
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name=KENYA)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_busy_server_is_not_asked_again_before_it_said(chat):
    page = chat()
    page.route(
        "**/v1/chat/completions", refusing(429, envelope("16 requests wait", "queue_full"), **{"Retry-After": "2"})
    )
    ask(page)
    expect(replies(page).get_by_role("alert")).to_contain_text("The server is busy")
    again = page.locator(".retry")
    expect(again).to_be_disabled()
    expect(again).to_have_text(re.compile(r"Try again in [12] s"))
    expect(again).to_be_enabled()
    page.unroute("**/v1/chat/completions")
    again.click()
    expect(page.get_by_role("button", name=KENYA)).to_be_visible()


def test_a_key_is_asked_for_sent_and_kept_for_this_tab_alone(chat):
    page = chat()
    sent = []

    def door(route):
        sent.append(route.request.headers.get("authorization"))
        if sent[-1] != "Bearer secret":
            return refusing(401, envelope("no API key was given", "invalid_api_key"))(route)
        return route.continue_()

    page.route("**/v1/*", door)
    page.route("**/v1/chat/completions", door)
    ask(page)
    expect(replies(page).get_by_role("alert")).to_contain_text("This server asks for an API key")
    expect(page.get_by_label("API key")).to_be_focused()
    expect(page.get_by_label("API key")).to_have_attribute("type", "password")
    page.keyboard.type("secret")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name=KENYA)).to_be_visible()
    assert sent[-1] == "Bearer secret"
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]


def test_a_server_that_is_gone_is_said_to_be(chat):
    page = chat()
    page.route("**/v1/chat/completions", lambda route: route.abort("connectionrefused"))
    ask(page)
    expect(replies(page).get_by_role("alert")).to_contain_text("The server cannot be reached")


def broken_off():
    yield from browsing.events()[:4]


def failed_midway():
    yield from browsing.events()[:4]
    yield f"data: {json.dumps({'error': envelope('the deadline passed', 'deadline_exceeded')})}\n\n".encode()


def withdrawn():
    yield from browsing.events()[:4]
    yield f"data: {json.dumps({'error': envelope('the whole did not pass', 'content_filter')})}\n\n".encode()


def rubbish():
    yield b"data: {half\n\n"


def nothing():
    yield b"data: null\n\n"


def unlike_winnow():
    yield b'data: {"choices": [{"index": 0, "delta": {"content": "Hm."}}]}\n\n'
    yield b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("stream", "title", "left"),
    [
        (broken_off, "The connection dropped", "The capital of"),
        (failed_midway, "That took too long", "The capital of"),
        (withdrawn, "The reply was withdrawn", ""),
        (rubbish, "The server cannot answer now", ""),
        (nothing, "The server cannot answer now", ""),
        (unlike_winnow, "The server cannot answer now", "Hm."),
    ],
)
@pytest.mark.parametrize("raises", [False, True], ids=["ends", "breaks"])
def test_a_stream_that_does_not_end_well_is_no_reply(visit, stream, title, left, raises):
    async def chat(body, request):
        for event in stream():
            yield event
            await asyncio.sleep(0.05)
        if raises:
            raise ConnectionResetError

    page = visit(browsing.stand_in(chat))
    ask(page)
    expect(replies(page).get_by_role("alert")).to_contain_text(title)
    expect(replies(page).locator(".half")).to_have_text([left] if left else [])
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    expect(page.get_by_role("button", name="Try again")).to_be_enabled()


def test_where_every_candidate_is_dropped_the_policy_s_words_are_shown_as_such(chat):
    page = chat(["A bomb."], bomb(), candidates=2)
    ask(page)
    expect(page.get_by_text("Every candidate was dropped. These are the policy's own words.")).to_be_visible()
    assert reply_text(page) == POLICY.objectives["weapons"].fallback
    expect(page.get_by_text("4 sampled · 4 dropped")).to_be_visible()


# --- the policy


def test_the_policy_explains_every_objective_and_gives_the_focus_back(chat):
    page = chat()
    page.get_by_role("button", name="Policy").click()
    dialog = page.get_by_role("dialog", name="Policy")
    expect(dialog.locator(".objectives li")).to_have_count(len(OBJECTIVES))
    for objective in POLICY.objectives.values():
        expect(dialog.locator(f"#objective-{objective.name}")).to_contain_text(objective.definition)
        expect(dialog.locator(f"#objective-{objective.name}")).to_contain_text(objective.code)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Policy")).to_be_focused()


def choose_policy(page, preset):
    page.get_by_role("combobox", name="Policy", exact=True).select_option(preset)


def test_a_stricter_policy_can_be_chosen_and_each_reply_shows_the_limits_that_it_was_judged_by(chat):
    balanced, strict = load_policy("balanced"), load_policy("strict")
    limits = [policy.objectives["weapons"].threshold for policy in (balanced, strict)]
    mild = {"knife": {"weapons": sum(limits) / 2}}
    page = chat(["A knife is a tool.", GLAD], mild, candidates=2, policy=balanced)
    page.get_by_role("button", name="Options").click()
    choice = page.get_by_role("combobox", name="Policy", exact=True)
    expect(choice).to_have_accessible_description("Can only be stricter than this server's.")
    expect(choice.get_by_role("option")).to_have_text(["as the server is set", "strict", "balanced", "permissive"])
    shown = []
    for preset in ("", "strict", "permissive"):
        choose_policy(page, preset)
        ask(page, GREETING)
        drawer = replies(page).nth(len(shown)).locator(".drawer")
        drawer.locator("summary").first.click()
        limit = drawer.locator(".bars tr", has_text="Indiscriminate weapons").locator(".number").last
        told = drawer.get_by_label("The policy of").locator("option").first
        shown.append((drawer.locator("summary").first.inner_text(), limit.inner_text(), told.inner_text()))
    plain = ("2 sampled · 0 dropped", f"{limits[0]:.2f}", "this reply (balanced)")
    assert shown == [plain, ("2 sampled · 1 dropped", f"{limits[1]:.2f}", "this reply (balanced+strict)"), plain]
    choose_policy(page, "strict")
    page.get_by_role("button", name="Policy").click()
    dialog = page.get_by_role("dialog", name="Policy")
    expect(dialog).to_contain_text("the policy balanced+strict")
    expect(dialog.locator("#objective-weapons")).to_contain_text(f"dropped: {limits[1]:.2f} or more")


# --- for everybody


def test_everything_can_be_done_from_the_keyboard(chat, tmp_path):
    log = tmp_path / "decisions.sqlite"
    page = chat(decision_log=log, candidates=2)
    page.keyboard.type(ASKED)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Please.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="You")).to_have_text(f"{ASKED}\nPlease.", use_inner_text=True)
    expect(page.get_by_role("button", name=KENYA)).to_be_visible()
    assert focused(page) == "words"
    order = []
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        order.append(focused(page))
        shown = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert shown != "none", order[-1]
        if order[-1].startswith("Skip"):
            break
    back = [text.strip() for text in order[::-1]]
    places = [
        next(n for n, text in enumerate(back) if part in text)
        for part in (
            "Skip",
            "show-options",
            "show-policy",
            "begin-anew",
            KENYA,
            "Kenya",
            "Passage",
            "2 sampled",
            "Copy",
            "Retry",
            "wrong",
        )
    ]
    assert places == sorted(places)
    page.get_by_role("button", name="Something is wrong").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Makes no sense").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Said what is wrong")).to_be_focused()
    with LogReader(log) as reader:
        assert [label.reasons for label in reader.labels()] == [("sensible",)]
    page.get_by_text("2 sampled").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Scores of candidate 1").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Scores of candidate 1")).to_have_attribute("aria-pressed", "true")


AUDIT = """() => {
  const found = [], seen = new Set(), say = (what, node) => found.push(what + ': ' + node.outerHTML.slice(0, 120));
  for (const node of document.querySelectorAll('[id]')) { if (seen.has(node.id)) say('id used twice', node); seen.add(node.id); }
  for (const name of ['aria-controls', 'aria-describedby', 'aria-labelledby', 'for'])
    for (const node of document.querySelectorAll(`[${name}]`))
      for (const id of node.getAttribute(name).split(' ')) if (!document.getElementById(id)) say(name + ' without an end', node);
  const visible = node => node.checkVisibility() && node.getClientRects().length;
  for (const node of document.querySelectorAll('button, a, input, select, textarea, summary, [role=button]')) {
    if (!visible(node)) continue;
    const labels = node.labels ? [...node.labels].map(one => one.textContent).join('') : '';
    if (!(node.getAttribute('aria-label') || node.textContent || labels).trim()) say('without a name', node);
    const box = node.getBoundingClientRect();
    const pressed = node.matches('button, input:not([type=checkbox]), select, textarea');
    if (pressed && (box.height < 24 || box.width < 24)) say('too small', node);
  }
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const paper = node => { for (; node; node = node.parentElement) {
    const color = parse(getComputedStyle(node).backgroundColor);
    if (color.length && color[3] !== 0) return color;
  } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !visible(node) || node.closest('.unseen, .skip, :disabled, option')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(paper(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) say('contrast ' + ratio.toFixed(2), node);
  }
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].filter(visible).map(node => Number(node.tagName[1]));
  levels.forEach((level, n) => { if (n && level > levels[n - 1] + 1) found.push('heading skips to ' + level); });
  if (document.documentElement.scrollWidth > innerWidth) found.push('scrolls sideways: ' + document.documentElement.scrollWidth);
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_names_contrast_sizes_and_widths_hold_in_every_state_of_the_page(visit, tmp_path, scheme, width):
    corridor = make_corridor(
        [f"{KENYA} {INVENTED}", "A bomb."], bomb(), candidates=4, decision_log=tmp_path / "log.sqlite"
    )
    page = visit(create_app(corridor), color_scheme=scheme, viewport={"width": width, "height": 740})
    assert page.evaluate(AUDIT) == []
    ask(page, f"{ASKED} {'x' * 300}")
    page.get_by_text("4 sampled").click()
    page.locator(".sources summary").first.click()
    page.locator(".turn .claim").first.focus()
    expect(page.locator(".card").first).to_be_visible()
    assert page.evaluate(AUDIT) == []
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Something is wrong").click()
    expect(page.get_by_role("checkbox").first).to_be_visible()
    assert page.evaluate(AUDIT) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Policy").click()
    assert page.evaluate(AUDIT) == []
    page.keyboard.press("Escape")
    page.route("**/v1/chat/completions", refusing(503, envelope("a text could not be judged")))
    ask(page, "Again?")
    expect(page.get_by_role("alert").first).to_be_visible()
    assert page.evaluate(AUDIT) == []


@contextmanager
def asking(visit, motion):
    held = threading.Event()

    async def chat(body, request):
        yield b": sampled 2\n\n"
        while not held.is_set():
            await asyncio.sleep(0.01)

    page = visit(browsing.stand_in(chat), reduced_motion=motion)
    ask(page)
    expect(page.locator("#status")).to_contain_text("sampled")
    try:
        yield page
    finally:
        held.set()


@pytest.mark.parametrize(("motion", "moves"), [("reduce", "none"), ("no-preference", "beat")])
def test_nothing_moves_for_those_who_want_stillness(visit, motion, moves):
    with asking(visit, motion) as page:
        assert page.evaluate("getComputedStyle(document.getElementById('status'), '::before').animationName") == moves
