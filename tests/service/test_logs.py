import io
import json
import logging

import pytest

from service import logs, request_id

LOG = logging.getLogger("service.somewhere")


@pytest.fixture
def lines():
    """lines(form, level) begins to log; what it gives returns the lines so far. All is as before afterwards."""
    root, packages = logging.getLogger(), [logging.getLogger(name) for name in logs.PACKAGES]
    before = root.handlers[:], root.level, [package.level for package in packages]
    stream = io.StringIO()

    def begin(form, level="info"):
        logs.configure(form, level, stream)
        return lambda: stream.getvalue().splitlines()

    yield begin
    root.handlers[:], level, levels = before
    root.setLevel(level)
    for package, each in zip(packages, levels, strict=True):
        package.setLevel(each)


@pytest.fixture
def named():
    """A request is being worked on."""
    token = request_id.current.set("req-42")
    yield "req-42"
    request_id.current.reset(token)


def fail():
    try:
        raise ValueError("SECRET words")
    except ValueError:
        LOG.exception("it failed")


def test_a_json_line_is_one_object_with_time_level_logger_request_and_message(lines, named):
    said = lines("json")
    LOG.info("two\nlines and a “quote”", extra={"route": "/v1/screen", "seconds": 0.5})
    (line,) = said()
    found = json.loads(line)
    time = found.pop("time")
    assert time.endswith("Z")
    assert len(time) == len("2026-11-22T06:43:28.012Z")
    assert found == {
        "level": "INFO",
        "logger": "service.somewhere",
        "request_id": named,
        "message": "two\nlines and a “quote”",
        "route": "/v1/screen",
        "seconds": 0.5,
    }


def test_a_line_that_is_nobodys_request_says_so(lines):
    said = lines("json")
    LOG.warning("of the server itself")
    assert json.loads(said()[0])["request_id"] is None


def test_a_readable_line_has_the_same_parts(lines, named):
    said = lines("text")
    LOG.info("it went well")
    (line,) = said()
    assert line.split(" ", 1)[1] == "INFO service.somewhere [req-42] it went well"


@pytest.mark.parametrize("form", ["text", "json"])
def test_of_an_error_the_type_and_place_are_logged_and_not_its_words(lines, form):
    said = lines(form)
    fail()
    whole = "\n".join(said())
    assert "ValueError" in whole
    assert "test_logs.py" in whole
    assert "SECRET words" not in whole.replace('raise ValueError("SECRET words")', "").replace(
        r"raise ValueError(\"SECRET words\")", ""
    )


def test_words_that_another_handler_has_written_down_are_not_taken_over(lines):
    said = lines("text")
    record = LOG.makeRecord(LOG.name, logging.ERROR, "", 0, "it failed", (), None)
    record.exc_text = "ValueError: SECRET words"
    logging.getLogger().handle(record)
    assert "SECRET" not in "\n".join(said())


def test_own_lines_are_shown_from_the_level_on_and_those_of_others_from_warnings_on(lines):
    said = lines("text", "info")
    LOG.debug("own debug")
    LOG.info("own info")
    logging.getLogger("httpx").info("GET http://secret/")
    logging.getLogger("somebody.elses").warning("theirs")
    assert [line.split("] ")[1] for line in said()] == ["own info", "theirs"]


def test_a_surrogate_that_no_stream_takes_is_logged_all_the_same(lines):
    said = lines("json")
    LOG.info("\ud800")
    assert json.loads(said()[0])["message"] == "\ud800"
    assert said()[0].isascii()


def test_configuring_twice_logs_each_line_once(lines):
    lines("json")
    said = lines("text")
    LOG.info("once")
    assert len(said()) == 1
