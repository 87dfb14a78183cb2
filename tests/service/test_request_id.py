import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import request_id
from service.request_id import SOUND, carried, current


@pytest.mark.parametrize("said", ["req-1", "0af7651916cd43dd8448eb211c80319c", "a" * 128, "team/run:7@host"])
def test_a_sound_id_of_the_client_is_kept(said):
    assert request_id.request_id(said) == said


@given(st.none() | st.text())
def test_whatever_the_client_says_the_id_is_fit_for_a_header_and_a_log_line(said):
    found = request_id.request_id(said)
    assert SOUND.fullmatch(found)
    assert found.isascii()
    assert found.isprintable()


@pytest.mark.parametrize("said", [None, "", "two words", "line\nbreak", 'quo"te', "a" * 129, "ü"])
def test_an_id_that_is_missing_or_unsound_is_replaced_by_a_fresh_one(said):
    first, second = request_id.request_id(said), request_id.request_id(said)
    assert first != second
    assert first.startswith("req-")


def test_carried_work_knows_for_whom_it_works_in_a_thread_that_did_not_know():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(current.get).result() is None  # the thread is there before the id
        token = current.set("req-7")
        try:
            work = carried(current.get)
            assert pool.submit(work).result() == "req-7"
            assert pool.submit(current.get).result() is None
        finally:
            current.reset(token)
        assert pool.submit(work).result() == "req-7"


def test_carried_work_of_several_requests_is_not_mixed_up():
    found = {}

    def ask(name):
        current.set(name)
        work = carried(lambda: found.setdefault(name, current.get()))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()

    threads = [threading.Thread(target=ask, args=(f"req-{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {f"req-{i}": f"req-{i}" for i in range(8)}
