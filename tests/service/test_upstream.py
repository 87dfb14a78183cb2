"""An OpenAI-compatible server's choices as candidates: what is asked of it, what is taken from it, and what becomes of its faults."""

import logging
import math
import threading
import time
from contextlib import closing, contextmanager

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.breaker import Breaker
from service.client import Client, Limits
from service.generator import GeneratorFailed, PromptTooLong, Sampling
from service.server_faults import ServerFault
from service.settings import Settings
from service.upstream import KEY, LONGEST_TOKEN, UpstreamGenerator, seed_of
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, KENYA, POLICY, make_corridor
from tests.service.serving import scripted

LIMITS = Limits(connect=5, read=20, whole=30, retries=2, parallel=4, bytes=100_000, first_pause=0.5)


def choice(text, logs=None, finish="stop", **message):
    told = None if logs is None else {"content": [{"token": "x", "logprob": log} for log in logs]}
    found = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return {**found, "logprobs": told}


def completion(*choices, prompt=None, written=None):
    usage = {"prompt_tokens": prompt, "completion_tokens": written}
    return {"choices": [{"index": i, **each} for i, each in enumerate(choices)], "usage": usage}


def error(message="no", param=None, code=None):
    return {"error": {"message": message, "type": "x", "param": param, "code": code}}


def as_asked(body):
    """A server that knows everything: n choices with log-probabilities."""
    return 200, completion(*(choice(f"reply {i}", [-1.0, -2.0]) for i in range(body.get("n", 1))), prompt=11)


def singly(body):
    return 200, completion(choice(f"seed {body['seed']}"))


@contextmanager
def upstream(answer, limits=LIMITS, max_input_tokens=2048, **options):
    """(generator, `Script` of its server, the pauses that it made) of a server whose chat route answers so."""
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    def route(path, body):
        return answer(body) if path == "/v1/chat/completions" else (404, error())

    with scripted(route) as (url, script):
        client = Client(url, options.pop("key", None), limits, named="upstream", key_named=KEY, pause=pause, **options)
        with closing(UpstreamGenerator(client, "m", max_input_tokens)) as generator:
            yield generator, script, pauses


def bodies(script):
    return [body for path, body in script.asked if path == "/v1/chat/completions"]


# What is asked


def test_messages_and_sampling_are_passed_on_with_a_wish_for_likelihoods():
    sampling = Sampling(max_tokens=7, temperature=0.3, top_p=0.8, stop=("END", "\n"), seed=2**61)
    with upstream(as_asked) as (generator, script, _):
        generator.sample(ASKS_NOTHING, 3, sampling)
    assert bodies(script) == [
        {
            "model": "m",
            "messages": ASKS_NOTHING,
            "max_tokens": 7,
            "temperature": 0.3,
            "top_p": 0.8,
            "stop": ["END", "\n"],
            "logprobs": True,
            "n": 3,
            "seed": seed_of(2**61, 0),
        }
    ]


@given(st.integers(0, 2**63), st.integers(0, 63))
def test_a_seed_is_one_that_every_server_takes(seed, i):
    assert 0 <= seed_of(seed, i) < 2**31


def test_seeds_beside_one_another_share_no_draws():
    assert len({seed_of(seed, i) for seed in range(40) for i in range(64)}) == 40 * 64


def test_the_same_seed_asks_for_the_same():
    with upstream(singly) as (generator, _, _):
        first, second = (generator.sample(ASKS_NOTHING, 4, Sampling(seed=9)) for _ in range(2))
    assert (
        [each.text for each in first] == [each.text for each in second] == [f"seed {seed_of(9, i)}" for i in range(4)]
    )


def refusing_n(body):
    return (400, error("n is not supported", "n")) if "n" in body else singly(body)


def refusing_n_without_a_word(body):
    return (422, {"detail": "bad"}) if "n" in body else singly(body)


def failing_at_n(body):
    return (500, error("Only one completion choice is allowed")) if "n" in body else singly(body)


@pytest.mark.parametrize("answer", [singly, refusing_n, refusing_n_without_a_word, failing_at_n])
def test_a_server_without_n_is_asked_singly_from_then_on(answer):
    with upstream(answer) as (generator, script, _):
        assert len({each.text for each in generator.sample(ASKS_NOTHING, 5, Sampling(seed=1))}) == 5
        known = len(script.asked)
        assert len(generator.sample(ASKS_NOTHING, 5, Sampling(seed=2))) == 5
    assert not any("n" in body for body in bodies(script)[known:])
    assert len(script.asked) == known + 5


def test_no_more_calls_run_side_by_side_than_allowed_of_all_requests_together():
    def answer(body):
        time.sleep(0.05)
        return singly(body)

    with upstream(answer) as (generator, script, _):
        generator.sample(ASKS_NOTHING, 2, Sampling())
        threads = [threading.Thread(target=generator.sample, args=(ASKS_NOTHING, 6, Sampling())) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert 1 < script.most <= LIMITS.parallel


@pytest.mark.parametrize("name", ["logprobs", "seed", "temperature", "top_p"])
def test_what_a_server_refuses_by_name_is_left_out_from_then_on_and_said_once(name, caplog):
    def answer(body):
        return (400, error(f"unknown: {name}", name)) if name in body else as_asked(body)

    with upstream(answer) as (generator, script, _):
        for _ in range(2):
            assert len(generator.sample(ASKS_NOTHING, 2, Sampling())) == 2
    assert [name in body for body in bodies(script)] == [True, False, False]
    assert caplog.text.count(f"refuses {name}") == 1


def test_a_model_that_denies_likelihoods_without_naming_them_is_asked_without():
    def answer(body):
        return (403, error("You are not allowed to request logprobs")) if "logprobs" in body else as_asked(body)

    with upstream(answer) as (generator, script, _):
        for _ in range(2):
            assert len(generator.sample(ASKS_NOTHING, 2, Sampling())) == 2
    assert ["logprobs" in body for body in bodies(script)] == [True, False, False]


def test_a_refusal_of_something_else_is_told_as_it_is_and_nothing_is_learnt_from_it():
    with upstream(lambda body: (400, error("no such model", "model"))) as (generator, script, _):
        with pytest.raises(GeneratorFailed, match=r"answered 400$"):
            generator.sample(ASKS_NOTHING, 2, Sampling())
        assert len(bodies(script)) == 1
        assert generator.client.left_out == set()


def test_an_unexplained_refusal_is_tried_without_likelihoods_and_singly_and_then_told():
    with upstream(lambda body: (422, {"detail": "bad"})) as (generator, script, _):
        with pytest.raises(GeneratorFailed, match=r"answered 422$"):
            generator.sample(ASKS_NOTHING, 2, Sampling())
        assert [("n" in body, "logprobs" in body) for body in bodies(script)] == [
            (True, True),
            (True, False),
            (False, True),
            (False, False),
        ]
        assert generator.client.left_out == set()


# What is taken


def test_choices_become_candidates_with_their_likelihoods():
    def answer(body):
        return 200, completion(choice(" A. ", [-0.5, -1.5]), choice("B", [-3.0], "length"), choice("C", [0.0], None))

    with upstream(answer) as (generator, _, _):
        found = generator.sample(ASKS_NOTHING, 3, Sampling())
    assert [(c.text, c.tokens, c.log_likelihood, c.mean_log_likelihood, c.finish_reason) for c in found] == [
        ("A.", 2, -2.0, -1.0, "stop"),
        ("B", 1, -3.0, -3.0, "length"),
        ("C", 1, 0.0, 0.0, "stop"),
    ]


USELESS = [
    None,
    [],
    [{"logprob": -1.0}, {}],
    [{"logprob": "-1"}],
    [{"logprob": None}],
    [{"logprob": math.nan}],
    [{"logprob": -math.inf}],
    [{"logprob": 0.5}],
    ["x"],
    3,
]


@pytest.mark.parametrize("content", USELESS)
def test_without_likelihoods_of_all_there_are_none_and_nobody_is_asked_for_them_again(content, caplog):
    def answer(body):
        odd = {**choice("B"), "logprobs": {"content": content}}
        return 200, completion(choice("A", [-1.0]), odd)

    with upstream(answer) as (generator, script, _):
        first, second = (generator.sample(ASKS_NOTHING, 2, Sampling()) for _ in range(2))
    assert [each.log_likelihood for each in first] == [None, None]
    assert [each.mean_log_likelihood for each in first] == [0.0, 0.0]
    assert len(second) == 2
    assert ["logprobs" in body for body in bodies(script)] == [True, False]
    assert caplog.text.count("not ranked by likelihood") == 1


def test_tokens_are_the_servers_count_or_an_estimate():
    def answer(body):
        several = [choice("12345678") for _ in range(body.get("n", 1))]
        return 200, completion(*several, prompt=31, written=5)

    with upstream(answer) as (generator, _, _):
        assert generator.count_tokens(ASKS_NOTHING) == math.ceil(len(ASKS_NOTHING[0]["content"]) / 4) + 4
        assert [each.tokens for each in generator.sample(ASKS_NOTHING, 2, Sampling())] == [2, 2]
        assert [each.tokens for each in generator.sample(ASKS_NOTHING, 1, Sampling())] == [5]
        assert generator.count_tokens(ASKS_NOTHING) == 31
        assert generator.count_tokens(ASKS_KENYA) != 31


@pytest.mark.parametrize("prompt", [None, True, "31", -1, 0, 1.5, 2**40])
def test_a_count_that_is_none_is_not_believed(prompt):
    with upstream(lambda body: (200, completion(choice("A"), prompt=prompt, written=prompt))) as (generator, _, _):
        estimate = generator.count_tokens(ASKS_NOTHING)
        (found,) = generator.sample(ASKS_NOTHING, 1, Sampling())
        assert (found.tokens, generator.count_tokens(ASKS_NOTHING)) == (1, estimate)


def test_of_given_texts_nothing_is_known_and_all_are_alike():
    with upstream(as_asked) as (generator, script, _):
        assert generator.log_likelihoods(ASKS_NOTHING, ["a", "b"]) == [0.0, 0.0]
    assert script.asked == []


def test_the_refusal_of_a_model_is_its_reply_and_a_filtered_one_is_known_as_such():
    def answer(body):
        return 200, completion(choice(None, refusal="I will not."), choice("Half of a", finish="content_filter"))

    with upstream(answer) as (generator, _, _):
        found = generator.sample(ASKS_NOTHING, 2, Sampling())
    assert [(each.text, each.finish_reason) for each in found] == [
        ("I will not.", "stop"),
        ("Half of a", "content_filter"),
    ]


BAD_CHOICES = [
    ({"message": None}, r"without choices\[\]\.message"),
    ({"message": "secret words"}, r"without choices\[\]\.message"),
    (choice(None), r"choices\[\]\.message\.content that is null"),
    (choice(["secret words"]), r"choices\[\]\.message\.content that is no text"),
    (choice(None, refusal=["secret words"]), r"choices\[\]\.message\.refusal that is no text"),
    (choice(None, tool_calls=[{"id": "secret words"}]), r"choices\[\]\.message\.tool_calls"),
    (choice(None, function_call={"name": "secret words"}), r"choices\[\]\.message\.function_call"),
    (choice("secret words \ud800"), "half of a surrogate pair"),
    (choice("secret words", finish=3), r"choices\[\]\.finish_reason that is no text"),
    (choice("secret words" * LONGEST_TOKEN), r"content of 768 characters for 10 tokens"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_CHOICES)
def test_a_choice_that_is_no_reply_is_named_without_its_words_and_others_stay(bad, says, caplog):
    with upstream(lambda body: (200, completion(choice("A"), bad))) as (generator, _, _):
        (found,) = generator.sample(ASKS_NOTHING, 2, Sampling(max_tokens=10))
    assert found.text == "A"
    assert "1 of 2 candidates came" in caplog.text
    with (
        upstream(lambda body: (200, completion(bad))) as (generator, _, _),
        pytest.raises(GeneratorFailed, match=says) as failed,
    ):
        generator.sample(ASKS_NOTHING, 1, Sampling(max_tokens=10))
    assert (failed.value.status, failed.value.code) == (502, "upstream_malformed")
    assert "secret" not in caplog.text + str(failed.value)


NAMES = ["choices", "message", "content", "refusal", "index", "usage", "logprobs", "logprob", "finish_reason", "error"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    body=JSON | st.fixed_dictionaries({"choices": st.lists(JSON, max_size=3), "usage": JSON}),
    status=st.sampled_from([200, 400, 404, 500]),
)
def test_any_json_is_candidates_or_a_failure_that_is_told(body, status):
    answered["now"] = status, body
    try:
        found = fuzzed().sample(ASKS_NOTHING, 2, Sampling())
    except (GeneratorFailed, PromptTooLong):
        return
    assert 1 <= len(found) <= 2
    assert all(isinstance(each.text, str) for each in found)


answered = {}


@pytest.fixture(scope="module", autouse=True)
def _one_server_for_the_fuzzing():
    limits = Limits(retries=0)
    with upstream(lambda body: answered["now"], limits, breaker=Breaker(10**9)) as (generator, _, _):
        answered["generator"] = generator
        yield


def fuzzed():
    return answered["generator"]


# Faults


@pytest.mark.parametrize(
    ("status", "code", "door"),
    [(500, "upstream_unreachable", 502), (503, "upstream_unreachable", 502), (429, "upstream_busy", 503)],
)
def test_what_may_pass_is_asked_for_again_with_growing_pauses(status, code, door):
    with (
        upstream(lambda body: (status, error("secret words"))) as (generator, script, pauses),
        pytest.raises(GeneratorFailed, match=f"the upstream server answered {status}$") as failed,
    ):
        generator.sample(ASKS_NOTHING, 1, Sampling())
    assert (failed.value.status, failed.value.code) == (door, code)
    assert len(script.asked) == 3
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 1.5
    assert pauses[0] not in (0.5, 1.0)  # by chance as well: clients that failed together do not come back together


def test_the_servers_wish_to_wait_is_followed_whether_seconds_or_a_date():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 20))
    said = iter([(503, b"", {"retry-after": "7"}), (429, b"", {"retry-after": date}), as_asked({})])
    with upstream(lambda body: next(said)) as (generator, _, pauses):
        assert len(generator.sample(ASKS_NOTHING, 1, Sampling())) == 1
    assert pauses[0] == 7
    assert 15 < pauses[1] <= 20


def test_a_wish_beyond_the_time_limit_is_not_waited_for_but_passed_on():
    with (
        upstream(lambda body: (429, b"", {"retry-after": "45"})) as (generator, script, pauses),
        pytest.raises(GeneratorFailed) as failed,
    ):
        generator.sample(ASKS_NOTHING, 1, Sampling())
    assert (len(script.asked), pauses, failed.value.retry_after) == (1, [], 45)


def test_one_failed_candidate_does_not_fail_the_others():
    def answer(body):
        if body["seed"] == seed_of(5, 2):
            return 500, error("secret words")
        return singly(body)

    with upstream(answer) as (generator, _, _):
        found = generator.sample(ASKS_NOTHING, 5, Sampling(seed=5))
    assert [each.text for each in found] == [f"seed {seed_of(5, i)}" for i in (0, 1, 3, 4)]


def test_a_slow_candidate_does_not_hold_up_the_others_beyond_the_time_limit():
    over = threading.Event()

    def answer(body):
        if body["seed"] == seed_of(5, 2):
            over.wait(30)
        return singly(body)

    limits = Limits(read=1.0, whole=3.0, retries=0)
    with upstream(answer, limits) as (generator, _, _):
        assert len(generator.sample(ASKS_NOTHING, 4, Sampling(seed=5))) == 3
        over.set()


def test_after_the_circuit_opens_nothing_is_asked_and_one_call_of_several_tries_it():
    down = True

    def answer(body):
        return (500, b"") if down else singly(body)

    clock = [0.0]
    with upstream(answer, breaker=Breaker(3, 10.0, lambda: clock[0])) as (generator, script, _):
        for code in ("upstream_unreachable", "upstream_circuit_open"):
            with pytest.raises(GeneratorFailed) as failed:
                generator.sample(ASKS_NOTHING, 1, Sampling())
            assert (failed.value.code, len(script.asked)) == (code, 3)
        assert failed.value.retry_after == 10
        assert "answered 500" in str(failed.value)
        assert "left alone for 10 s" in generator.unready()
        down, clock[0] = False, 10.0
        assert generator.unready() is None
        generator.client._most = 1  # learnt before it failed
        assert len(generator.sample(ASKS_NOTHING, 4, Sampling())) == 4
        assert generator.client.breaker.state == "closed"


def test_the_key_is_sent_and_neither_shown_nor_logged(caplog):
    caplog.set_level(logging.DEBUG)
    wrong = 401, error("Incorrect API key: sk-secret")
    with (
        upstream(lambda body: wrong, key=" sk-secret\n") as (generator, script, _),
        pytest.raises(GeneratorFailed) as failed,
    ):
        generator.sample(ASKS_NOTHING, 1, Sampling())
    assert script.headers[-1]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(failed.value) + caplog.text
    assert KEY in str(failed.value)


@pytest.mark.parametrize("key", ["sk secret", "sk-\nsecret", "sk-sécret"])
def test_a_key_that_no_header_may_hold_is_refused_without_showing_it(key):
    with pytest.raises(ValueError, match=KEY) as refused:
        Client("http://there", key, named="upstream", key_named=KEY)
    assert "secret" not in str(refused.value)


# Too long


def test_a_conversation_over_the_limit_is_not_sent():
    with upstream(as_asked, max_input_tokens=20) as (generator, script, _):
        with pytest.raises(PromptTooLong, match="limit is 20"):
            generator.sample([{"role": "user", "content": "word " * 20}], 1, Sampling())
        assert script.asked == []


@pytest.mark.parametrize(
    "refusal",
    [
        error("This model's maximum context length is 4096 tokens."),
        error("too much", code="context_length_exceeded"),
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too much"}},
        {"error": {"code": 400, "message": "the request exceeds the available context size"}},
    ],
)
def test_a_conversation_that_the_server_finds_too_long_is_told_as_such(refusal):
    with (
        upstream(lambda body: (400, refusal)) as (generator, script, _),
        pytest.raises(PromptTooLong, match="longer than the upstream server's model takes"),
    ):
        generator.sample(ASKS_NOTHING, 3, Sampling())
    assert len(script.asked) == 1


# In the corridor


@contextmanager
def doors(answer, scores=None, limits=LIMITS, **options):
    with (
        upstream(answer, limits) as (generator, script, _),
        TestClient(create_app(make_corridor(generator=generator, scores=scores, **options))) as made,
    ):
        yield made, script


def ask(made, messages=ASKS_NOTHING, **fields):
    return made.post("/v1/chat/completions", json={"messages": messages, **fields})


def test_the_record_says_how_many_were_asked_for_and_how_many_came():
    def answer(body):
        return singly(body) if body["seed"] % 2 or "n" in body else (500, b"")

    with doors(answer, candidates=16) as (made, _):
        record = ask(made, seed=1).json()["winnow"]
    assert record["asked"] == 16
    assert 0 < record["sampled"] < 16


def test_when_the_half_without_evidence_fails_the_other_half_is_enough():
    def answer(body):
        if "Nairobi" not in body["messages"][-1]["content"]:
            return 400, error("no", "messages")
        return 200, completion(*[choice(KENYA, [-1.0])] * body["n"])

    with doors(answer, candidates=4) as (made, _):
        answered = ask(made, ASKS_KENYA).json()
    assert answered["choices"][0]["message"]["content"] == KENYA
    assert (answered["winnow"]["asked"], answered["winnow"]["sampled"]) == (4, 2)


def test_when_the_second_attempt_fails_the_fallback_is_sent():
    def answer(body):
        if body["messages"][0]["role"] == "system":
            return 400, error("no", "messages")
        return 200, completion(choice("A bomb."))

    with doors(answer, {"bomb": {"weapons": 0.9}}, candidates=1) as (made, _):
        answered = ask(made).json()
    assert answered["choices"][0]["message"]["content"] == POLICY.objectives["weapons"].fallback
    assert answered["choices"][0]["finish_reason"] == "content_filter"


def test_research_that_the_server_fails_ends_with_what_was_found():
    asked = []

    def answer(body):
        asked.append(body)
        if len(asked) > 1:
            return 400, error("no", "messages")
        return 200, completion(choice("The capital of Kenya is Nairobi. Bees make honey from iron.", [-1.0]))

    with doors(answer, candidates=1) as (made, _):
        answered = ask(made, ASKS_KENYA, grounding="research").json()
    assert answered["winnow"]["stopped"] == "generator failed"
    assert "Nairobi" in answered["choices"][0]["message"]["content"]


def test_a_model_is_served_under_the_upstreams_name():
    with doors(as_asked) as (made, _):
        assert [each["id"] for each in made.get("/v1/models").json()["data"]] == ["m", "default"]
        assert ask(made, model="m").json()["model"] == "m"


# Settings


def connected(url, **settings):
    return UpstreamGenerator.connect(Settings(upstream=url, upstream_retries=0, **settings), None)


def test_without_a_name_the_only_model_that_the_server_lists_is_taken():
    with scripted(lambda path, body: (200, {"data": [{"id": "theirs"}]})) as (url, _), closing(connected(url)) as made:
        assert made.name == "theirs"
    with (
        scripted(lambda path, body: (200, {"data": [{"id": "one"}, {"id": "two"}]})) as (url, _),
        pytest.raises(ServerFault, match=r"lists one, two; say with --upstream-model NAME \(setting upstream_model\)"),
    ):
        connected(url)


def test_a_server_that_does_not_answer_yet_is_waited_for_where_its_model_is_named(caplog):
    with scripted(as_asked) as (url, _):
        pass  # it is gone
    with closing(connected(url, upstream_model="m")) as made:
        assert "requests are refused until it answers" in caplog.text
        assert "cannot be reached" in made.unready()
    with pytest.raises(ConnectionError, match=r"cannot be reached.*name its model with --upstream-model"):
        connected(url)


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:secret@there/v1"])
def test_an_address_that_is_none_is_refused_by_the_settings_name(url):
    with pytest.raises(ValueError, match=r"^upstream ") as refused:
        connected(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("status", "ready"), [(200, True), (404, True), (500, True), (401, False), (503, False)])
def test_a_server_is_ready_when_it_answers_were_it_without_a_list_of_models(status, ready):
    with (
        scripted(lambda path, body: (status, {"data": []})) as (url, script),
        closing(UpstreamGenerator(Client(url, named="upstream", key_named=KEY), "m")) as made,
    ):
        assert (made.unready() is None) == (made.unready() is None) == ready
    assert len(script.asked) == (1 if ready else 2)  # one that answered is not asked again at once
