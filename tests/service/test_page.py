"""The chat page as files: what a browser is told about them, and what stands in them. What it does is in test_chat_page.py."""

import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from classifiers import OBJECTIVES
from classifiers.policy import PRESETS
from service.app import create_app
from service.page import FILES, PAGES
from tests.service.scripted import POLICY, make_corridor

SCRIPTS = {path: name for path, (name, kind) in FILES.items() if kind == "text/javascript"}
DANGEROUS = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|createContextualFragment|srcdoc"
    r"|eval\(|new Function|\.setAttribute\(\"(on|style)"
)


@pytest.fixture
def client():
    with TestClient(create_app(make_corridor())) as client:
        yield client


def read(name):
    return (PAGES / name).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element of a document: (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize("path", FILES)
def test_a_browser_may_run_nothing_but_the_files_of_the_page_and_ask_nobody_else(client, path):
    found = client.get(path)
    assert found.status_code == 200
    assert found.headers["content-type"] == f"{FILES[path][1]}; charset=utf-8"
    policy = dict(rule.strip().split(" ", 1) for rule in found.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["referrer-policy"] == "no-referrer"
    assert client.head(path).status_code == 200


def test_the_page_is_no_part_of_the_described_api_but_what_it_asks_for_is(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert not set(FILES) & set(paths)
    assert {"/v1/policy", "/v1/feedback", "/v1/chat/completions"} <= set(paths)


def test_no_file_of_the_page_names_another_server_or_holds_script_or_style_of_its_own():
    html = read("chat.html")
    assert not re.search(r"https?://|\son\w+=|style=|<style|<script(?![^>]* src=)", html)
    assert not re.search(r"https?://|url\(|@import", read("chat.css"))
    for name in SCRIPTS.values():
        assert not re.search(DANGEROUS, read(name)), name
        assert "https://" not in read(name)


def test_every_script_is_served_and_every_import_is_there():
    served = set(SCRIPTS.values())
    assert {path.name for path in PAGES.glob("*.js")} - {"label.js"} == served
    for name in served:
        assert set(re.findall(r'from "\./([^"]+)"', read(name))) <= served


def test_every_element_that_a_script_looks_for_by_name_is_in_the_page():
    there = {attributes.get("id") for _, attributes in Elements(read("chat.html")).found}
    for name in SCRIPTS.values():
        assert set(re.findall(r'\bfind\("([^"]+)"\)', read(name))) <= there, name


def test_the_addresses_are_relative_so_that_the_page_works_below_a_path():
    elements = Elements(read("chat.html")).found
    named = [a.get("href") or a.get("src") for _, a in elements if a.get("href") or a.get("src")]
    assert named
    assert not [address for address in named if address.startswith("/")]
    assert not re.search(r'"/v1', read("server.js"))


def test_every_field_has_a_label_and_every_reference_an_end():
    elements = Elements(read("chat.html")).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
    assert {a["id"] for tag, a in elements if tag in ("input", "select", "textarea")} <= labelled
    for _, attributes in elements:
        for name in ("aria-controls", "aria-describedby", "aria-labelledby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
    assert next(a["lang"] for tag, a in elements if tag == "html") == "en"


def _luminance(color):
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """The ratio of WCAG 2.2, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_colours_of_both_schemes_contrast_enough(scheme):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    schemes = re.findall(r":root \{(.*?)\}", read("chat.css"), re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", schemes[scheme]))
    for ink in ("ink", "quiet", "bad", "accent"):
        for paper in ("paper", "card", "veil"):
            assert contrast(colors[ink], colors[paper]) >= 4.5, (ink, paper)
    assert contrast(colors["ink"], colors["mark"]) >= 4.5
    assert contrast(colors["accent"], colors["mark"]) >= 4.5
    assert contrast(colors["on-accent"], colors["accent"]) >= 4.5
    for paper in ("paper", "card"):  # the edges of fields and buttons, and the focus
        assert contrast(colors["edge"], colors[paper]) >= 3
        assert contrast(colors["accent"], colors[paper]) >= 3


def test_the_policy_is_told_with_the_words_and_limits_of_every_objective(client):
    found = client.get("/v1/policy").json()
    assert (found["preset"], found["fingerprint"]) == (POLICY.preset, POLICY.fingerprint)
    assert [each["name"] for each in found["objectives"]] == list(OBJECTIVES)
    for each in found["objectives"]:
        own = POLICY.objectives[each["name"]]
        assert (each["title"], each["definition"], each["code"], each["group"]) == (
            own.title,
            own.definition,
            own.code,
            own.group,
        )
        assert (each["threshold"], each["action"]) == (0.5, "drop")
        assert list(each["presets"]) == list(PRESETS)
        assert each["presets"]["strict"] <= each["presets"]["balanced"] <= each["presets"]["permissive"]
