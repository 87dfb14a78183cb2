"""Requests that mean harm, or come from what is broken, against `winnow serve` in a process of its own."""

import json
import random
import socket
import time
from contextlib import suppress

import httpx
import pytest

from service.keys import add_key
from tests.service.served_winnow import SAID, ServedWinnow

ARRIVAL = 3.0
CHAT, SCREEN, GROUND, MODERATIONS = "/v1/chat/completions", "/v1/screen", "/v1/ground", "/v1/moderations"
MEBIBYTE = 2**20
SPOILT = 60


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    key = add_key(folder / "keys.toml", "tester", ["chat", "screen"])
    server = ServedWinnow(folder, keys=folder / "keys.toml", arrival_seconds=ARRIVAL, max_header_bytes=4096)
    try:
        server.wait().key = key
        yield server
    finally:
        server.stop()


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {served.key}"}, timeout=60) as made:
        yield made
        assert made.get("/healthz").status_code == 200


def post(client, path, content):
    return client.post(path, content=content, headers={"content-type": "application/json"})


def user(content):
    return {"role": "user", "content": content}


def refused(response, *statuses):
    """The message of a refusal in the envelope."""
    assert response.status_code in statuses, response.text[:500]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(response.content) < 2000
    return error["message"]


SURROGATE = rb'{"messages": [{"role": "user", "content": "\ud800"}], "text": "\ud800", "input": "\ud800"}'
ODD = {
    "no UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe\xfd"}], "text": "\xff", "input": "\xff"}',
    "a cut sequence": b'{"input": "\xe2\x82"}',
    "an overlong sequence": b'{"input": "\xc0\xaf"}',
    "an encoded surrogate": b'{"input": "\xed\xa0\x80"}',
    "half of a pair": SURROGATE,
    "UTF-16": '{"input": "x"'.encode("utf-16"),
    "nothing": b"",
    "a null byte": b"\x00",
    "deep lists": b"[" * 100_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"messages":' * 50_000 + b"1" + b"}" * 50_000,
    "a deep field": b'{"messages": ' + b"[" * 90_000 + b"]" * 90_000 + b', "input": 1, "text": 1}',
    "a deep unknown field": b'{"extra": ' + b"[" * 90_000 + b"]" * 90_000 + b', "input": 1, "text": 1}',
    "a long number": b'{"seed": ' + b"9" * 100_000 + b', "input": 1, "text": 1}',
    "a huge number": b'{"temperature": 1e999999, "input": 1, "text": 1}',
    "not a number": b'{"temperature": NaN, "input": 1, "text": 1}',
    "a list": b"[1, 2]",
    "a text": b'"text"',
    "many keys": json.dumps({f"k{i}": i for i in range(50_000)}).encode(),
}


@pytest.mark.parametrize("path", [CHAT, SCREEN, GROUND, MODERATIONS])
@pytest.mark.parametrize("name", ODD)
def test_a_body_that_is_no_request_is_refused_in_the_envelope(client, path, name, trials):
    refused(post(client, path, ODD[name]), 400)
    trials("malformed UTF-8, deep JSON and other bodies that are no request", 1)


@pytest.mark.parametrize("path", [CHAT, SCREEN, GROUND, MODERATIONS])
def test_a_body_that_spoke_well_before_bytes_were_spoilt_is_refused_or_answered_never_a_fault(client, path, trials):
    good = {
        CHAT: {"messages": [user("Hello.")], "candidates": 1},
        SCREEN: {"candidates": ["Hello."]},
        GROUND: {"text": "Hello."},
        MODERATIONS: {"input": ["Hello."]},
    }[path]
    chance = random.Random(7)
    for _ in range(SPOILT):
        body = bytearray(json.dumps(good).encode())
        for _ in range(chance.randint(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        response = post(client, path, bytes(body))
        assert response.status_code in (200, 400, 404)
    trials("bodies with spoilt bytes", SPOILT)


@pytest.mark.parametrize("declared", [True, False])
def test_bodies_of_ten_megabytes_are_refused_and_take_no_memory(client, served, declared, trials):
    body = b'{"input": "' + b"x" * (10 * MEBIBYTE) + b'"}'
    pieces = [body[i : i + 65_536] for i in range(0, len(body), 65_536)]
    post(client, MODERATIONS, body if declared else iter(pieces))
    before = served.bytes()
    for path in (CHAT, SCREEN, GROUND, MODERATIONS) * 3:
        assert "max_body_bytes" in refused(post(client, path, body if declared else iter(pieces)), 413)
    assert served.bytes() - before < 40 * MEBIBYTE
    trials("bodies of 10 MB", 12)


@pytest.mark.parametrize("path", [CHAT, SCREEN, GROUND])
def test_ten_thousand_messages_are_refused_with_the_limit(client, served, path, trials):
    fields = {CHAT: {}, SCREEN: {"candidates": ["Hello."]}, GROUND: {"text": "Hello."}}[path]
    body = json.dumps({"messages": [user("Hello.")] * 10_000, **fields}).encode()
    before = served.bytes()
    for _ in range(5):
        assert refused(post(client, path, body), 400) == "10000 messages; the limit is 100"
    assert served.bytes() - before < 100 * MEBIBYTE
    trials("10,000 messages", 5)


@pytest.mark.parametrize(
    ("path", "body", "limit"),
    [
        (MODERATIONS, {"input": ["x"] * 65}, "64"),
        (SCREEN, {"candidates": ["x"] * 65}, "64"),
        (GROUND, {"text": "x", "sources": ["x"] * 65}, "64"),
        (CHAT, {"messages": [user("x")], "stop": ["x"] * 5}, "4"),
        (CHAT, {"messages": [user("x")], "candidates": 65}, "64"),
        (CHAT, {"messages": [user("x")], "max_tokens": 10**9}, "1024"),
    ],
)
def test_more_of_anything_than_the_limit_is_refused_with_it(client, path, body, limit):
    assert limit in refused(post(client, path, json.dumps(body).encode()), 400)


def raw(served, head, wait=60.0):
    """All that comes back for these bytes, until the server closes."""
    with served.connect() as connection:
        connection.settimeout(wait)
        connection.sendall(head)
        return everything(connection)


def everything(connection):
    found = b""
    try:
        while more := connection.recv(65_536):
            found += more
    except (ConnectionResetError, BrokenPipeError):
        pass
    return found


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 300,
        b"HELLO\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: -1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    ],
)
def test_a_head_that_is_too_large_or_no_http_is_refused_and_the_connection_closed(client, served, head):
    answer = raw(served, head)
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


def late(served, answer):
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b"arrival_seconds" in answer


SLOW_HEAD = b"POST /v1/screen HTTP/1.1\r\nhost: x\r\n"


def test_clients_that_never_finish_are_let_go_and_hold_nobody_up(client, served, trials):
    """Forty that drip their heads, forty that drip their bodies, forty that say nothing."""
    key = f"authorization: Bearer {served.key}\r\n".encode()
    starts = [SLOW_HEAD, SLOW_HEAD + key + b"content-length: 100000\r\n\r\n", b""]
    slow = [served.connect() for _ in range(120)]
    try:
        for i, each in enumerate(slow):
            each.sendall(starts[i % 3])
        until = time.monotonic() + ARRIVAL + 2
        answered = 0
        while time.monotonic() < until:
            assert client.post(SCREEN, json={"candidates": ["Hello."]}).status_code == 200
            answered += 1
            for i, each in enumerate(slow):
                if i % 3 < 2:
                    with suppress(OSError):
                        each.sendall(b"x")  # a byte now and then gains no time
        for each in slow:
            each.settimeout(30)
            found = everything(each)
            assert not found or found.startswith(b"HTTP/1.1 408")
        assert answered
    finally:
        for each in slow:
            each.close()
    trials("slow clients", len(slow))
    print(f"{answered} others answered meanwhile")


@pytest.mark.parametrize("start", [b"", SLOW_HEAD])
def test_a_slow_client_is_told_what_it_was(client, served, start):
    late(served, raw(served, start))


def test_a_slow_body_is_told_what_it_was(client, served):
    head = SLOW_HEAD + f"authorization: Bearer {served.key}\r\ncontent-length: 500\r\n\r\n".encode()
    late(served, raw(served, head + b'{"candidates"'))


def test_a_body_that_goes_on_after_its_refusal_is_not_listened_to_for_long(client, served):
    with served.connect() as connection:
        connection.sendall(b"POST /v1/screen HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n")
        began = time.monotonic()
        try:
            while time.monotonic() - began < 30:
                connection.sendall(b"x" * 1000)
                time.sleep(0.02)
            raise AssertionError("still listening")
        except (ConnectionResetError, BrokenPipeError):
            pass


def test_two_requests_on_a_connection_each_have_their_time(served):
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    with served.connect() as connection:
        for _ in range(3):
            connection.sendall(head[:10])
            time.sleep(ARRIVAL / 2)
            connection.sendall(head[10:])
            answer = b""
            while not answer.endswith(b"}"):
                answer += (more := connection.recv(65_536))
                assert more
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.5)


def test_clients_that_leave_in_the_middle_hold_nothing(client, served):
    body = json.dumps({"messages": [user("Hello.")]}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {served.key}\r\ncontent-type: application/json\r\n"
    )
    whole = (head + f"content-length: {len(body)}\r\n\r\n").encode() + body
    for cut in range(0, len(whole), 7):
        with served.connect() as connection:
            connection.sendall(whole[:cut])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert client.post(CHAT, json={"messages": [user("Hello.")]}).status_code == 200


def test_nothing_that_was_said_is_in_the_output(client, served):
    """Words of users, in every place of a request that takes them, and of candidates; in answers of every kind."""
    word = "quokkacanary"
    asked = [
        *(post(client, path, json.dumps(body).encode()) for path, body in bodies(word)),
        client.get(f"/v1/models?q={word}"),
        client.get(f"/{word}"),
        client.get("/v1/models", headers={"authorization": f"Bearer {word}", "x-said": word}),
        client.get(
            "/v1/models", headers={"user-agent": word, "origin": f"https://{word}", "x-request-id": f"{word} said"}
        ),
        post(client, f"/{word}/{CHAT}", b'{"' + word.encode()),
    ]
    statuses = {response.status_code for response in asked}
    assert {200, 400, 401, 404, 500} <= statuses
    raw(served, f"GET /{word} HTTP/1.1\r\nhost: x\r\n{word}\r\n\r\n".encode())
    raw(served, SLOW_HEAD + word.encode())
    output = served.output.read_text()
    assert "RuntimeError" in output  # what failed was logged, and with it where
    assert "ValueError" in output
    assert word not in output
    assert SAID not in output
    assert served.key not in output
    print(f"{len(asked)} requests answered {sorted(statuses)}: no word in {len(output)} characters of output")


def bodies(word):
    for said in (word, f"{word} explode", f"{word} misjudge", f"{word} bomb"):
        yield CHAT, {"messages": [{"role": "system", "content": said}, user(said)], "explain": True, "stop": [word]}
        yield CHAT, {"messages": [user(said)], "stream": True, "grounding": "research"}
        yield SCREEN, {"candidates": [said], "id": word, "messages": [user(said)], "explain": True}
        yield GROUND, {"text": f"{said} is 12.", "sources": [said], "messages": [user(said)]}
        yield MODERATIONS, {"input": said}
    yield CHAT, {"messages": [user(word)], "model": word}
    yield CHAT, {"messages": [{"role": word, "content": word}]}
    yield CHAT, {word: word}
    yield CHAT, {"messages": [user(word * 2000)], "candidates": word}
    yield SCREEN, {word: word}
