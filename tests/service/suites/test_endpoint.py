import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest

from service.app import create_app
from service.server_faults import ServerFault
from service.suites.endpoint import AT_ONCE, FIRST_PAUSE, RETRIES, EndpointModel
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, KENYA, make_corridor
from tests.service.serving import listening, scripted


@contextmanager
def model(url, name="m", **options):
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    with closing(EndpointModel(url, name, pause=pause, **options)) as made:
        made.pauses = pauses
        yield made


async def no_pause(seconds):
    pass


def completion(*texts, **message):
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    return {"object": "chat.completion", "choices": choices}


def error(message, param=None):
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def chatting(answer):
    """A server without a list of models, whose chat route answers so."""
    return lambda path, body: answer(body) if path == "/v1/chat/completions" else (404, error("no such route"))


def chats(script):
    return [body for path, body in script.asked if path == "/v1/chat/completions"]


# Winnow as the server


def test_winnow_answers_as_the_model_under_test_with_its_sources():
    with listening(create_app(make_corridor([KENYA]))) as url, model(url, None) as made:
        assert (made.name, made.url) == ("scripted", url)
        answer = made.answer(ASKS_KENYA, 20, seed=1, grounding="cite")
        assert (answer.text, answer.finish_reason, answer.decision) == (KENYA, "stop", None)
        assert 0 < answer.seconds < 30
        (source,) = answer.sources
        assert source == {"title": "Kenya", "url": "https://example.org/kenya", "start": 0, "end": len(KENYA)}
        assert made.answer(ASKS_KENYA, 20, seed=1).sources == ()


def test_winnow_is_asked_for_all_candidates_in_one_call_with_seed_and_limit():
    corridor = make_corridor([GLAD, KENYA], candidates=4)
    with listening(create_app(corridor)) as url, model(url, "default") as made:
        assert sorted(made.candidates(ASKS_NOTHING, 2, 17, seed=5)) == sorted([GLAD, KENYA])
    (call,) = corridor.generator.calls
    assert (call.n, call.sampling.max_tokens) == (4, 17)


def test_a_reply_that_was_all_dropped_says_so():
    corridor = make_corridor(["A bomb."], {"bomb": {"weapons": 0.9}})
    with listening(create_app(corridor)) as url, model(url) as made:
        with pytest.raises(ServerFault, match="model 'm' is not served here"):
            made.answer(ASKS_NOTHING, 20, seed=1)
        made.name = "default"
        answer = made.answer(ASKS_NOTHING, 20, seed=1)
    assert answer.finish_reason == "content_filter"
    assert "bomb" not in answer.text


# servers with n and without


def test_a_server_with_n_gives_all_candidates_in_one_call_in_the_order_of_their_index():
    def answer(body):
        whole = completion(*(f"reply {i}" for i in range(body["n"])))
        return 200, {"choices": whole["choices"][::-1]}

    with scripted(chatting(answer)) as (url, script), model(url) as made:
        assert made.candidates(ASKS_NOTHING, 3, 20, seed=7) == ["reply 0", "reply 1", "reply 2"]
    assert chats(script) == [{"model": "m", "messages": ASKS_NOTHING, "seed": 7, "n": 3, "max_tokens": 20}]


def singly(body):
    return 200, completion(f"seed {body['seed']}")


def refusing_n(body):
    return (400, error("n is not supported", "n")) if "n" in body else singly(body)


def refusing_n_without_a_word(body):
    return (422, {"detail": "bad"}) if "n" in body else singly(body)


@pytest.mark.parametrize("answer", [singly, refusing_n, refusing_n_without_a_word])
def test_of_a_server_without_n_each_candidate_is_asked_for_with_a_seed_of_its_own(answer):
    with scripted(chatting(answer)) as (url, script), model(url) as made:
        for seed in (10, 20, 10):
            assert made.candidates(ASKS_NOTHING, 6, 20, seed) == [f"seed {seed + i}" for i in range(6)]
    assert sum("n" in body for body in chats(script)) == 1  # learnt once


def test_a_server_that_gives_fewer_choices_than_asked_for_is_asked_again_for_the_rest():
    def answer(body):
        return 200, completion(*(f"{body['seed']}+{i}" for i in range(min(2, body.get("n", 1)))))

    with scripted(chatting(answer)) as (url, _), model(url) as made:
        first = made.candidates(ASKS_NOTHING, 5, 20, seed=0)
        assert first == ["0+0", "0+1", "2+0", "2+1", "4+0"]
        assert made.candidates(ASKS_NOTHING, 5, 20, seed=0) == first


def test_more_choices_than_asked_for_are_left():
    with scripted(chatting(lambda body: (200, completion("a", "b", "c")))) as (url, _), model(url) as made:
        assert made.candidates(ASKS_NOTHING, 2, 20, seed=0) == ["a", "b"]


def test_calls_run_side_by_side_but_at_most_four():
    def answer(body):
        time.sleep(0.05)
        return singly(body)

    with scripted(chatting(answer)) as (url, script), model(url) as made:
        made.candidates(ASKS_NOTHING, 12, 20, seed=0)
    assert 1 < script.most <= AT_ONCE == 4


# what a server may say


def test_the_token_limit_goes_by_its_newer_name_where_the_server_wants_it():
    def answer(body):
        if "max_tokens" in body:
            return 400, error("Unsupported parameter: use max_completion_tokens", "max_tokens")
        return 200, completion(f"{body['max_completion_tokens']}")

    with scripted(chatting(answer)) as (url, script), model(url) as made:
        assert [made.answer(ASKS_NOTHING, 9, seed=0).text for _ in range(2)] == ["9", "9"]
    assert len(chats(script)) == 3


def test_a_reply_without_content_is_its_refusal_or_nothing():
    said = iter([completion(None, refusal="I will not."), completion(None)])
    with scripted(chatting(lambda body: (200, next(said)))) as (url, _), model(url) as made:
        assert [made.answer(ASKS_NOTHING, 9, seed=0).text for _ in range(2)] == ["I will not.", ""]


def test_annotations_of_other_kinds_are_no_sources():
    cited = {"start_index": 1, "end_index": 4, "url": "http://x", "title": "X"}
    annotations = [{"type": "file_citation"}, {"type": "url_citation", "url_citation": cited}]
    with (
        scripted(chatting(lambda body: (200, completion("text", annotations=annotations)))) as (url, _),
        model(url) as made,
    ):
        assert made.answer(ASKS_NOTHING, 9, 0).sources == ({"title": "X", "url": "http://x", "start": 1, "end": 4},)


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (200, b"<html>", "something that is not JSON"),
        (200, b"", "something that is not JSON"),
        (200, [], "JSON that is no object"),
        (200, {}, "without choices"),
        (200, {"choices": []}, "without choices"),
        (200, {"choices": ["text"]}, "without choices"),
        (200, {"choices": [{"text": "x"}]}, r"without choices\[\]\.message"),
        (200, completion(["parts"]), "content that is no text"),
        (200, completion("x", annotations=3), "annotations that is no list"),
        (200, completion("x", annotations=[{"type": "url_citation"}]), "holds no url_citation"),
        (301, b"", "answered 301"),
        (400, error("too\n long"), "answered 400: too long"),
        (401, {"error": "no"}, r"answered 401: no \(no API key was sent: it is read from OPENAI_API_KEY\)"),
        (404, b"nothing", "answered 404"),
    ],
)
def test_rubbish_and_refusals_are_named_and_not_asked_for_again(status, content, says):
    with scripted(chatting(lambda body: (status, content))) as (url, script), model(url) as made:
        with pytest.raises(ServerFault, match=says) as caught:
            made.answer(ASKS_NOTHING, 9, seed=0)
        assert url in str(caught.value)
        assert made.pauses == []
    assert len(chats(script)) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_is_asked_three_times(status):
    with scripted(chatting(lambda body: (status, error("down")))) as (url, script), model(url) as made:
        with pytest.raises(ServerFault, match=f"answered {status}: down"):
            made.answer(ASKS_NOTHING, 9, seed=0)
        first, second = made.pauses
    assert FIRST_PAUSE <= first <= 2 * FIRST_PAUSE <= second <= 3 * FIRST_PAUSE
    assert len(chats(script)) == 1 + RETRIES == 3


def test_a_server_that_comes_back_is_forgiven_and_its_wish_to_wait_followed():
    said = iter([(503, b"", {"retry-after": "30"}), (429, b"", {"retry-after": "soon"}), (200, completion("there"))])
    with scripted(chatting(lambda body: next(said))) as (url, _), model(url) as made:
        assert made.answer(ASKS_NOTHING, 9, seed=0).text == "there"
        assert made.pauses[0] == 30.0
        assert 2 * FIRST_PAUSE <= made.pauses[1] <= 3 * FIRST_PAUSE


def test_a_slow_server_is_given_up_after_the_time_limit():
    over = threading.Event()

    def answer(body):
        over.wait(60)
        return singly(body)

    with scripted(chatting(answer)) as (url, script), model(url, seconds=1) as made:
        with pytest.raises(ServerFault, match="gave no answer in 1 s"):
            made.answer(ASKS_NOTHING, 9, seed=0)
        over.set()
    assert len(chats(script)) == 3


def test_a_server_that_is_not_there_is_named():
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(ServerFault, match="cannot be reached"):
            EndpointModel(url, "m", pause=no_pause)


# the key, the name and the address


def test_the_key_is_sent_and_never_shown():
    key = "sk-secret"
    wrong = chatting(lambda body: (401, error(f"Incorrect API key: {key}")))
    with scripted(wrong) as (url, script), model(url, key=key) as made, pytest.raises(ServerFault) as caught:
        made.answer(ASKS_NOTHING, 9, seed=0)
    assert script.headers[-1]["Authorization"] == f"Bearer {key}"
    assert key not in str(caught.value)
    assert "Incorrect API key: [key]" in str(caught.value)


def listing(*names):
    return lambda path, body: (200, {"data": [{"id": name} for name in names]})


def test_the_only_model_that_is_listed_is_taken_and_of_several_one_has_to_be_named():
    with scripted(listing("theirs")) as (url, _), model(url, None) as made:
        assert made.name == "theirs"
    with scripted(listing("one", "two")) as (url, _):
        with pytest.raises(ServerFault, match="lists one, two; say with --model"):
            EndpointModel(url)
        with model(url, "two") as made:
            assert made.name == "two"
    with scripted(chatting(singly)) as (url, _), pytest.raises(ServerFault, match="lists no model; say with --model"):
        EndpointModel(url)


def test_a_list_that_needs_a_key_is_asked_for_with_one_unless_the_model_is_named():
    with scripted(lambda path, body: (401, {"error": "no"}) if path == "/v1/models" else singly(body)) as (url, _):
        with pytest.raises(ServerFault, match=r"/models answered 401: no \(no API key was sent"):
            EndpointModel(url)
        with model(url, "m") as made:
            assert made.answer(ASKS_NOTHING, 9, seed=3).text == "seed 3"


@pytest.mark.parametrize("written", ["{}", "{}/", "{}/v1", "{}/v1/", "{}/v1/chat/completions"])
def test_an_address_may_be_written_in_several_ways(written):
    with scripted(listing("theirs")) as (url, _), model(written.format(url.removesuffix("/v1")), None) as made:
        assert made.url == url


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://there/v1", "http://", "file:///etc"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="not an address like"):
        EndpointModel(url, "m")


@pytest.mark.parametrize("url", ["http://me:secret@there/v1", "http://there/v1?key=secret"])
def test_an_address_with_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="must hold no name, password or query") as caught:
        EndpointModel(url, "m")
    assert "secret" not in str(caught.value)
