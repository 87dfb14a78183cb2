import pytest
from typer.testing import CliRunner

from service.cli import app
from service.keys import read_keys
from tests.service.scripted import make_corridor


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder without a winnow.toml, and a terminal wide enough for a table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*words, **options):
    return CliRunner().invoke(app, [str(word) for word in words], **options)


def refusal(result):
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    return line


def test_a_key_is_printed_alone_and_once(folder):
    made = run("keys", "add", "page", "--scope", "chat", "--scope", "debug", "--tokens-per-day", 9, "--keys", "k.toml")
    assert made.exit_code == 0
    (key,) = made.stdout.splitlines()
    assert key.startswith("winnow_")
    assert key not in made.stderr
    (row,) = read_keys(folder / "k.toml")
    assert (row.name, row.scopes, row.tokens_per_day, row.requests_per_minute) == ("page", {"chat", "debug"}, 9, None)
    shown = run("keys", "list", "--keys", "k.toml").stdout
    assert "chat, debug" in shown
    assert key not in shown
    assert row.sha256 not in shown


def test_without_a_scope_a_key_is_for_the_chat_alone(folder):
    run("keys", "add", "page", "--keys", "k.toml")
    assert read_keys(folder / "k.toml")[0].scopes == {"chat"}


def test_the_list_names_the_limits_or_that_there_is_none():
    run("keys", "add", "a", "--requests-per-minute", 60, "--keys", "k.toml")
    (row,) = [row for row in run("keys", "list", "--keys", "k.toml").stdout.splitlines() if " chat " in row]
    assert [cell.strip() for cell in row.split("│")[1:5]] == ["a", "chat", "60", "no limit"]


def test_a_removed_key_is_listed_no_more():
    run("keys", "add", "first", "--keys", "k.toml")
    run("keys", "add", "second", "--keys", "k.toml")
    assert run("keys", "remove", "first", "--keys", "k.toml").exit_code == 0
    shown = run("keys", "list", "--keys", "k.toml").stdout
    assert "second" in shown
    assert "first" not in shown
    assert "no key named 'first'; it has: second" in refusal(run("keys", "remove", "first", "--keys", "k.toml"))


def test_the_file_may_be_named_by_the_settings(folder):
    (folder / "winnow.toml").write_text('keys = "named.toml"\n')
    assert run("keys", "add", "a").exit_code == 0
    assert (folder / "named.toml").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "a"), "name the file of the keys with --keys"),
        (("list",), "name the file of the keys with --keys"),
        (("list", "--keys", "absent.toml"), "absent.toml"),
        (("remove", "a", "--keys", "absent.toml"), "absent.toml"),
        (("add", "a b", "--keys", "k.toml"), "name: "),
        (("add", "a", "--scope", "root", "--keys", "k.toml"), "allowed: chat, screen, debug, metrics"),
        (("add", "a", "--requests-per-minute", 0, "--keys", "k.toml"), "requests_per_minute: "),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(folder, words, says):
    assert says in refusal(run("keys", *words))
    assert not (folder / "k.toml").exists()


# serve


@pytest.fixture
def served(monkeypatch):
    calls = []
    monkeypatch.setattr("uvicorn.run", lambda web, **options: calls.append((web, options)))
    monkeypatch.setattr("service.assembly.assemble", lambda settings: make_corridor())
    return calls


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.invalid"])
def test_serve_does_not_listen_for_others_without_keys_unless_told_so(served, host):
    assert "can be reached from other machines" in refusal(run("serve", "--host", host))
    assert not served
    assert run("serve", "--host", host, "--insecure-no-keys").exit_code == 0
    run("keys", "add", "a", "--keys", "k.toml")
    assert run("serve", "--host", host, "--keys", "k.toml").exit_code == 0
    assert [options["host"] for _, options in served] == [host, host]


def test_serve_shows_where_the_key_goes(served):
    run("keys", "add", "a", "--keys", "k.toml")
    assert "-H 'authorization: Bearer KEY'" in run("serve", "--keys", "k.toml").stdout
    assert "Bearer" not in run("serve").stdout
