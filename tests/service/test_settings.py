import annotated_types
import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder without a winnow.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_anything_set_the_defaults_hold():
    settings = Settings()
    assert (settings.host, settings.port, settings.candidates, settings.policy) == ("127.0.0.1", 8000, 16, "balanced")


def test_the_file_is_over_the_defaults(folder):
    (folder / "winnow.toml").write_text("candidates = 4\n")
    assert (Settings().candidates, Settings().port) == (4, 8000)


def test_the_environment_is_over_the_file(folder, monkeypatch):
    (folder / "winnow.toml").write_text("candidates = 4\nport = 81\n")
    monkeypatch.setenv("WINNOW_CANDIDATES", "5")
    assert (Settings().candidates, Settings().port) == (5, 81)


def test_what_is_given_by_hand_is_over_the_environment(monkeypatch):
    monkeypatch.setenv("WINNOW_CANDIDATES", "5")
    assert Settings(candidates=6).candidates == 6


def test_other_variables_of_the_environment_are_not_settings(monkeypatch):
    monkeypatch.setenv("PORT", "81")
    assert Settings().port == 8000


def test_no_translator_is_set_until_one_is_named(folder):
    assert Settings().translator is None
    (folder / "winnow.toml").write_text('translator = "models/en-de"\n')
    assert Settings().translator == "models/en-de"


def test_an_unknown_key_of_the_file_is_refused_by_name(folder):
    (folder / "winnow.toml").write_text("candidate = 4\n")
    with pytest.raises(ValidationError, match=r"candidate\n.*not permitted"):
        Settings()


def test_an_unknown_key_given_by_hand_is_refused_by_name():
    with pytest.raises(ValidationError, match="polcy"):
        Settings(polcy="strict")


def test_a_file_that_is_no_toml_is_refused(folder):
    (folder / "winnow.toml").write_text("candidates: 4\n")
    with pytest.raises(ValueError, match="line 1"):
        Settings()


OUT_OF_RANGE = [
    ("port", -1),
    ("port", 65536),
    ("candidates", 0),
    ("candidates", 65),
    ("max_tokens", 0),
    ("max_tokens", 1025),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("top_p", 0),
    ("top_p", 1.01),
    ("max_messages", 0),
    ("max_input_tokens", 15),
    ("max_body_bytes", 999),
    ("max_screen_items", 0),
    ("screen_seconds", 0),
    ("max_queue", 0),
    ("max_running", 0),
    ("request_seconds", 0),
    ("drain_seconds", -1),
    ("batch_rows", 0),
    ("batch_wait_ms", -1),
    ("support_threshold", 0),
    ("support_threshold", 1.1),
    ("evidence_relevance", 0),
    ("evidence_relevance", 1.1),
    ("research_seconds", 0),
    ("retention_days", -1),
    ("upstream_connect_seconds", 0),
    ("upstream_read_seconds", 0),
    ("upstream_seconds", 0),
    ("upstream_retries", -1),
    ("upstream_retries", 11),
    ("upstream_parallel", 0),
    ("upstream_parallel", 257),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_name_from_the_environment_too(name, value, monkeypatch):
    with pytest.raises(ValidationError, match=f"\n{name}\n"):
        Settings(**{name: value})
    monkeypatch.setenv(f"WINNOW_{name.upper()}", str(value))
    with pytest.raises(ValidationError, match=f"\n{name}\n"):
        Settings()


@pytest.mark.parametrize(
    "name",
    [
        *("temperature", "top_p", "screen_seconds", "support_threshold", "evidence_relevance", "research_seconds"),
        *("upstream_connect_seconds", "upstream_read_seconds", "upstream_seconds"),
    ],
)
def test_nan_is_no_number(name):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: "nan"})


@pytest.mark.parametrize("policy", ["keep", "mark", "drop"])
def test_there_are_three_policies_on_unsupported_claims(policy, monkeypatch):
    monkeypatch.setenv("WINNOW_UNGROUNDED", policy)
    assert Settings().ungrounded == policy


def test_another_policy_on_unsupported_claims_is_refused_with_the_three_that_there_are():
    with pytest.raises(ValidationError, match=r"ungrounded\n.*'keep', 'mark' or 'drop'"):
        Settings(ungrounded="hide")


def test_every_limit_is_tried_here():
    kinds = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)
    limited = {name for name, f in Settings.model_fields.items() if any(isinstance(m, kinds) for m in f.metadata)}
    assert limited == {name for name, _ in OUT_OF_RANGE}
