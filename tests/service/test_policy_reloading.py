"""A changed policy file is taken up between two requests; one request is judged, told and logged by one policy; a file that cannot be
used changes nothing but the warning.
"""

import json
import os
import random
import threading
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from fastapi.testclient import TestClient

from classifiers import Safety, load_policy
from classifiers.models import verify_checksums, write_checksums
from service.app import create_app
from service.log_file import LogReader
from service.reloading import LOOK_SECONDS, RETRY_SECONDS, Live
from tests.service.answers import HOW, events_of, said_by
from tests.service.scripted import ASKS_NOTHING, ScriptedSafety, make_corridor, scores_of
from tests.service.serving import listening

# What one of them drops the other sends.
OPPOSITES = {
    "amber": '[objectives.hate]\nthreshold = 0.5\nfallback = "No amber."\n[objectives.privacy]\nthreshold = 0.9\n',
    "blue": '[objectives.hate]\nthreshold = 0.9\n[objectives.privacy]\nthreshold = 0.5\nfallback = "No blue."\n',
}
BROKEN = {
    "no TOML": "[objectives.hate",
    "an unknown objective": "[objectives.haste]\nthreshold = 0.5\n",
    "no probability": "[objectives.hate]\nthreshold = nan\n",
    "a head that is not there": '[objectives.own]\nhead = "nowhere"\n',
    "no text": b"\xff\xfe\x00",
}


class Seconds:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "policy.toml", OPPOSITES["amber"])


def written(path, content):
    """As a careful editor writes: beside it, then in its place."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(beside, path)
    return path


def fingerprint(name, folder):
    return load_policy(written(folder / "of.toml", OPPOSITES[name])).fingerprint


class WithHeads(ScriptedSafety, Safety):
    """Obeys a policy whose heads are there; answers for no objective but the shipped ones."""

    def _obey(self, policy):
        for folder in policy.heads:
            verify_checksums(folder)


def scores(context, texts, role):
    """Every amber text is .7 hateful, every blue one .7 a breach of privacy."""
    return [scores_of(hate=0.7 * ("amber" in text), privacy=0.7 * ("blue" in text)) for text in texts]


def over(file, texts=("Some amber hay.", "Some blue hay."), **settings):
    corridor = make_corridor(texts, policy=load_policy(file), safety=WithHeads(scores), **settings)
    return replace(corridor, settings=corridor.settings.model_copy(update={"policy": str(file)}))


@pytest.fixture
def clock():
    return Seconds()


@pytest.fixture
def made(file, clock):
    return Live(over(file), clock)


def looks(made, clock, times=2):
    for _ in range(times):
        clock.now += LOOK_SECONDS
        made.current()
    return made.current()


def test_a_changed_file_is_taken_up_when_it_was_the_same_at_two_looks(made, file, clock, caplog):
    before = looks(made, clock)
    written(file, OPPOSITES["blue"])
    assert looks(made, clock, 1) is before
    after = looks(made, clock, 1)
    assert after.policy == load_policy(file) != before.policy
    assert before.policy.objectives["privacy"].threshold == 0.9
    assert after.index is before.index
    assert after.versions()["policy"] == after.policy.fingerprint
    assert "policy reloaded" in caplog.text


def test_what_requests_tighten_is_the_policy_as_it_is_now(made, file, clock):
    before = made.current().tightened("strict").policy
    written(file, OPPOSITES["blue"])
    after = looks(made, clock).tightened("strict").policy
    assert after == load_policy(file).tightened(load_policy("strict")) != before
    assert after is made.current().tightened("strict").policy


def test_a_file_that_is_still_being_written_is_not_taken_for_a_whole_one(made, file, clock):
    """Each beginning of a policy that ends with a line is a policy, of fewer rules."""
    before = looks(made, clock)
    for end in range(0, len(OPPOSITES["blue"]), 3):
        file.write_text(OPPOSITES["blue"][:end])
        os.utime(file, ns=(end, end))
        assert looks(made, clock, 1) is before
    file.write_text(OPPOSITES["blue"])
    assert looks(made, clock).policy == load_policy(file)


def test_a_file_changed_while_it_is_read_is_not_taken(made, file, clock, monkeypatch):
    before = looks(made, clock)
    written(file, OPPOSITES["blue"])

    def slow(path):
        found = load_policy(path)
        written(file, OPPOSITES["amber"] + "\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("service.reloading.load_policy", slow)
        assert looks(made, clock) is before
    assert looks(made, clock) is before


def test_the_same_policy_in_another_file_changes_nothing(made, file, clock):
    before = looks(made, clock)
    written(file, "# Nothing new.\n" + OPPOSITES["amber"])
    assert looks(made, clock) is before
    assert made.warnings == []


def test_a_policy_replaced_before_the_first_request_is_seen(made, file, clock):
    written(file, OPPOSITES["blue"])
    assert looks(made, clock).policy == load_policy(file)


@pytest.mark.parametrize("name", [*BROKEN, "no file"])
def test_a_file_that_cannot_be_used_leaves_the_old_policy_in_service_until_it_is_mended(
    made, file, clock, caplog, name
):
    before = looks(made, clock)
    if name == "no file":
        file.unlink()
    else:
        written(file, BROKEN[name])
    for _ in range(3):
        clock.now += RETRY_SECONDS
        assert made.current() is before
    (warning,) = made.warnings
    assert warning.startswith("the policy in service stays, the new one cannot be used: ")
    assert caplog.text.count("the policy in service stays") == 1
    written(file, OPPOSITES["blue"])
    for _ in range(2):
        clock.now += RETRY_SECONDS
        made.current()
    assert made.current().policy == load_policy(file)
    assert made.warnings == []


def test_a_head_is_not_taken_up_where_another_classifier_judges(file, clock, tmp_path):
    corridor = replace(over(file), safety=ScriptedSafety(scores))
    made = Live(corridor, clock)
    looks(made, clock)
    written(file, f'[objectives.own]\nhead = "{tmp_path}"\n')
    assert looks(made, clock) is corridor
    assert "is a head for the shipped classifier" in made.warnings[0]


def test_the_disk_is_not_looked_at_for_every_request(made, clock, monkeypatch):
    before = looks(made, clock)
    monkeypatch.setattr("service.reloading._PolicyFile._stamp", lambda self: pytest.fail("looked"))
    assert made.current() is before


def test_a_preset_is_no_file(monkeypatch):
    monkeypatch.setattr("service.reloading.load_policy", lambda path: pytest.fail("read"))
    corridor = make_corridor(policy=load_policy("strict"))
    live = Live(replace(corridor, settings=corridor.settings.model_copy(update={"policy": "strict"})), Seconds())
    assert live.current() is corridor or live.current().policy == corridor.policy


# Under the application


@pytest.fixture
def at_every_request(monkeypatch):
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("service.reloading.RETRY_SECONDS", 0.0)


def ask(made, **fields):
    return made.post("/v1/chat/completions", json={"messages": ASKS_NOTHING, "candidates": 2, **fields})


@pytest.mark.usefixtures("at_every_request")
def test_every_door_tells_of_the_new_policy_without_a_restart(file):
    with TestClient(create_app(over(file))) as made:
        for name, other in (("amber", "blue"), ("blue", "amber")):
            written(file, OPPOSITES[name])
            made.get("/readyz"), made.get("/readyz")
            policy = load_policy(file)
            answer = ask(made).json()
            assert answer["choices"][0]["message"]["content"] == f"Some {other} hay."
            assert answer["system_fingerprint"].endswith(policy.fingerprint)
            (judged,) = made.post("/v1/moderations", json={"input": f"Some {name} hay."}).json()["results"]
            assert judged["flagged"]
            rows = made.post("/v1/screen", json={"candidates": ["amber", "blue"]}).json()["verdicts"]
            assert [row["dropped"] for row in rows] == [name == "amber", name == "blue"]
            assert made.get("/v1/policy").json()["fingerprint"] == policy.fingerprint
            assert made.get("/readyz").json()["policy"] == f"balanced {policy.fingerprint}"
            assert f'policy="{policy.fingerprint}"' in made.get("/metrics").text


@pytest.mark.usefixtures("at_every_request")
def test_readyz_warns_of_a_policy_that_cannot_be_used_and_replies_go_on(file):
    with TestClient(create_app(over(file))) as made:
        written(file, BROKEN["an unknown objective"])
        made.get("/readyz")
        ready = made.get("/readyz")
        assert ready.status_code == 200
        (warning,) = ready.json()["warnings"]
        assert "'haste'" in warning
        assert ask(made).json()["choices"][0]["message"]["content"] == "Some blue hay."


@pytest.mark.usefixtures("at_every_request")
def test_a_new_head_is_watched_and_an_objective_without_a_score_drops_everything(file, tmp_path):
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "config.json").write_text("{}")
    write_checksums(tmp_path / "head")
    with TestClient(create_app(over(file))) as made:
        written(file, f'[objectives.own]\nhead = "{tmp_path / "head"}"\n')
        made.get("/readyz"), made.get("/readyz")
        answer = ask(made).json()
        assert (answer["choices"][0]["finish_reason"], answer["winnow"]["dropped_by"]) == (
            "content_filter",
            {"unscored": 4},
        )
        assert made.get("/readyz").status_code == 200
        (tmp_path / "head" / "config.json").write_text("[]")
        assert "config.json" in made.get("/readyz").json()["reasons"][0]
        written(file, OPPOSITES["amber"])
        made.get("/readyz"), made.get("/readyz")
        assert made.get("/readyz").status_code == 200


@pytest.mark.usefixtures("at_every_request")
@pytest.mark.parametrize("how", HOW, ids=str)
def test_a_request_is_judged_and_told_by_the_policy_that_it_began_with(file, tmp_path, how):
    path, asked = tmp_path / "log.sqlite", threading.Event()

    def says(messages, n, sampling):
        written(file, OPPOSITES["blue"])
        asked.set()
        live.get("/readyz"), live.get("/readyz")  # which takes it up
        return ["Some amber hay.", "Some blue hay. And so on."][:n]

    amber = fingerprint("amber", tmp_path)
    with TestClient(create_app(over(file, says, decision_log=path, durable=True))) as live:
        answer = ask(live, **how)
        assert asked.is_set()
        rows = events_of(answer) if how else [answer.json()]
        assert said_by(answer) == "Some blue hay. And so on."
        assert {row["system_fingerprint"].split("-")[-1] for row in rows} == {amber}
        assert rows[-1]["moderation"]["output"]["results"][0]["flagged"] is False
        assert live.get("/readyz").json()["policy"].split()[-1] == fingerprint("blue", tmp_path)
    with LogReader(path) as log:
        (record,) = log.decisions()
    assert record.versions["policy"] == amber


@pytest.mark.usefixtures("at_every_request")
def test_two_policies_that_come_and_go_under_load_each_judge_their_own_requests(file, tmp_path, trials):
    """Six clients in all three routes, while a writer turns one policy into the other: whole, in pieces, broken now and then."""
    path, chance, over_now = tmp_path / "log.sqlite", random.Random(3), threading.Event()
    dropped = {fingerprint(name, tmp_path): name for name in OPPOSITES}
    number = iter(range(10**9))
    pools = (["amber", "blue"], ["amber", "blue"], ["amber and blue"])

    def says(messages, n, sampling):
        pool = pools[sampling.seed % 3]
        return [f"Some {pool[i % len(pool)]} hay. It is number {next(number)}." for i in range(n)]

    def write():
        while not over_now.is_set():
            content = chance.choice(list(OPPOSITES.values()))
            kind = chance.random()
            if kind < 0.6:
                written(file, content)
            elif kind < 0.8:
                file.write_text(chance.choice(list(BROKEN.values())[:3]))
            else:
                with file.open("w") as slowly:
                    for piece in content.splitlines(keepends=True):
                        slowly.write(piece)
                        slowly.flush()
            over_now.wait(0.02 * chance.random())

    answers = []

    def client(url, which):
        how = HOW[which % 3]
        with httpx.Client(base_url=url, timeout=60) as made:
            for _ in range(40):
                response = made.post(
                    "/chat/completions", json={"messages": ASKS_NOTHING, "candidates": 2, "explain": True, **how}
                )
                answers.append((how, response))

    writer = threading.Thread(target=write)
    with listening(create_app(over(file, says, decision_log=path, durable=True))) as url:
        clients = [threading.Thread(target=client, args=(url, which)) for which in range(6)]
        for each in (writer, *clients):
            each.start()
        for each in clients:
            each.join()
        over_now.set()
        writer.join()
    assert {response.status_code for _, response in answers} == {200}
    with LogReader(path) as log:
        logged = {record.id: record.versions["policy"] for record in log.decisions()}
    seen, unscreened = Counter(), 0
    for how, response in answers:
        rows = events_of(response) if how else [response.json()]
        said = said_by(response)
        (judged_by,) = {row["system_fingerprint"].split("-")[-1] for row in rows}
        record, moderation = rows[-1]["winnow"], rows[-1]["moderation"]["output"]
        assert logged[rows[0]["id"]] == record["versions"]["policy"] == judged_by
        # A policy in between: the file was empty, or ended early, at two looks. Such a one judges too, by the shipped thresholds.
        name = dropped.get(judged_by)
        seen[name] += 1
        unscreened += name is not None and name in said and "hay" in said
        if name and "hay" in said:
            assert not moderation["results"][0]["flagged"]
        elif name:
            assert said == f"No {name}."
        if name:
            assert all(
                "hate" in verdict["because"] if name == "amber" else "privacy" in verdict["because"]
                for verdict in record["verdicts"]
                if verdict["dropped"]
            )
    assert min(seen["amber"], seen["blue"]) > 10
    assert unscreened == 0
    trials("two policies reloaded under load", len(answers), unscreened)
    print(json.dumps({str(key): value for key, value in seen.items()}))
