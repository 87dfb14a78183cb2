import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.listening import check_address, server_options
from service.settings import Settings


def resolver(monkeypatch, **names):
    """`names` instead of whatever this machine's resolver knows."""

    def look(host, port, **_):
        if host not in names:
            raise socket.gaierror("unknown")
        return [(0, 0, 0, "", (address, 0)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.1", "localhost"])
def test_on_this_machine_alone_keys_are_not_needed(host):
    check_address(Settings(host=host))


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "0",
        "",
        "::ffff:0.0.0.0",
        "::ffff:10.0.0.1",
        "10.0.0.1",
        "192.168.1.7",
        "169.254.0.1",
        "172.17.0.2",
        "8.8.8.8",
        "128.0.0.1",
        "126.255.255.255",
        "fe80::1",
        "fd00::1",
        "2001:db8::1",
        "no-such-name.invalid",
    ],
)
def test_where_others_could_ask_keys_are_needed_or_the_operators_word(host, tmp_path):
    with pytest.raises(ValueError, match=r"can be reached from other machines.*winnow keys add.*--insecure-no-keys"):
        check_address(Settings(host=host))
    check_address(Settings(host=host, insecure_no_keys=True))
    check_address(Settings(host=host, keys=tmp_path / "keys.toml"))


@given(st.ip_addresses())
def test_an_address_is_safe_only_where_no_other_machine_has_it(address):
    try:
        check_address(Settings(host=str(address)))
    except ValueError:
        assert not address.is_loopback
    else:
        assert (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_a_name_is_as_safe_as_every_address_that_it_stands_for(monkeypatch):
    resolver(monkeypatch, home=["127.0.0.1", "::1"], both=["127.0.0.1", "10.0.0.1"], away=["10.0.0.1"])
    check_address(Settings(host="home"))
    for host in ("both", "away", "unknown"):
        with pytest.raises(ValueError, match=f"host '{host}' can be reached"):
            check_address(Settings(host=host))


def test_the_limits_of_the_settings_reach_the_server():
    settings = Settings(host="127.0.0.2", port=81, max_header_bytes=2048, max_connections=7, arrival_seconds=3)
    options = server_options(settings)
    assert (options["host"], options["port"]) == ("127.0.0.2", 81)
    assert options["h11_max_incomplete_event_size"] == 2048
    assert options["limit_concurrency"] == 7
    assert options["http"].seconds == 3
    assert options["server_header"] is False
