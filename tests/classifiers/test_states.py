"""States as they are kept between two readouts: of each context its own, so many and no more."""

import threading

import numpy as np

from classifiers.states import States

HELLO, BYE = [("user", "Hello.")], [("user", "Goodbye.")]


def row(value):
    return np.full(4, value, np.float16)


def test_each_context_has_the_states_of_its_own_replies():
    states = States()
    states.keep(HELLO, {"Yes.": row(1), "No.": row(2)})
    states.keep(BYE, {"Yes.": row(3)})
    found = states.of(HELLO, ["No.", "Yes.", "Perhaps."])
    assert {reply: kept[0] for reply, kept in found.items()} == {"No.": 2, "Yes.": 1}
    assert states.of(BYE, ["Yes."])["Yes."][0] == 3
    assert states.of([], ["Yes."]) == {}


def test_a_context_is_the_same_however_its_turns_are_held():
    states = States()
    states.keep([["user", "Hello."]], {"Yes.": row(1)})
    assert list(states.of(tuple(HELLO), ["Yes."])) == ["Yes."]


def test_of_too_many_those_go_that_were_kept_first():
    states = States(3)
    states.keep(HELLO, {"a": row(1), "b": row(2), "c": row(3)})
    states.keep(HELLO, {"a": row(4)})
    states.keep(BYE, {"d": row(5)})
    assert {reply: kept[0] for reply, kept in states.of(HELLO, "abcd").items()} == {"a": 4, "c": 3}
    assert list(states.of(BYE, "d")) == ["d"]


def test_what_is_kept_keeps_no_whole_reading_alive():
    reading = np.arange(40, dtype=np.float16).reshape(10, 4)
    states = States()
    states.keep(HELLO, {"Yes.": reading[0]})
    reading[:] = 0
    kept = states.of(HELLO, ["Yes."])["Yes."]
    assert kept.tolist() == [0, 1, 2, 3]
    assert kept.base is None


def test_threads_that_keep_and_look_do_not_disturb_one_another():
    states, faults = States(50), []

    def work(number):
        context = [("user", f"{number}")]
        try:
            for i in range(300):
                states.keep(context, {f"{j}": row(number) for j in range(i % 5 + 1)})
                assert all(kept[0] == number for kept in states.of(context, "01234").values())
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
