import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers import OBJECTIVES, Place, Scores
from service.batch import BadLine, read_lines, screen_line
from tests.service.scripted import JudgingSafety, scores_of

USER = {"role": "user", "content": "Hello?"}


def as_it_is(context, text, verdict, role):
    return verdict


def screened(line, scores=None, explain=False):
    return screen_line(JudgingSafety(scores).judge, line, as_it_is if explain else None)


def test_the_reasons_of_dropped_texts_are_looked_into_and_only_of_those():
    looked = []

    def look(context, text, verdict, role):
        looked.append((list(context), text, verdict.dropped, role))
        return verdict

    line = {"messages": [{"role": "user", "content": "A bomb?"}], "candidates": ["A bomb.", "Tea.", "Bombs."]}
    screen_line(JudgingSafety({"omb": {"violence": 0.9}}).judge, line, look)
    asked = [("user", "A bomb?")]
    assert looked == [
        (asked, "A bomb.", True, "assistant"),
        (asked, "Bombs.", True, "assistant"),
        ([], "A bomb?", True, "user"),
    ]
    looked.clear()
    row = screen_line(JudgingSafety({"omb": {"violence": 0.9}}).judge, {"messages": line["messages"]}, look)
    assert looked == [([], "A bomb?", True, "user")]
    assert row["verdicts"] == [row["prompt"]]


def test_a_line_out_has_the_shape_of_the_design():
    row = screened({"id": "a", "messages": [USER], "candidates": ["A bomb.", "Tea."]}, {"bomb": {"violence": 0.9}})
    safe = {"unsafe": 0.01, "scores": scores_of(), "dropped": False, "because": [], "flagged": []}
    unsafe = {
        "unsafe": 0.9,
        "scores": scores_of(violence=0.9),
        "dropped": True,
        "because": ["violence"],
        "flagged": [],
    }
    assert row == {"id": "a", "verdicts": [unsafe, safe], "ranks": [None, 1], "pick": 1, "prompt": safe}
    assert json.loads(json.dumps(row)) == row


@given(st.lists(st.sampled_from([0.0, 0.1, 0.1, 0.3, 0.49, 0.5, 0.9, 1.0, float("nan"), None]), min_size=1, max_size=8))
def test_kept_candidates_are_ranked_from_the_safest_and_dropped_ones_not_at_all(values):
    row = screened(
        {"candidates": [str(i) for i in range(len(values))]},
        lambda context, texts, role: [scores_of(**dict.fromkeys(OBJECTIVES, values[int(t)])) for t in texts],
    )
    kept = [i for i, value in enumerate(values) if value is not None and value < 0.5]
    assert [i for i, rank in enumerate(row["ranks"]) if rank is not None] == kept
    assert [i for i, verdict in enumerate(row["verdicts"]) if not verdict["dropped"]] == kept
    best_first = sorted(kept, key=lambda i: values[i])  # stable: of equals the first given comes first
    assert [row["ranks"][i] for i in best_first] == list(range(1, len(kept) + 1))
    assert row["pick"] == (best_first[0] if kept else None)


def test_a_candidate_without_a_probability_is_dropped_as_unscored_and_never_picked():
    row = screened({"candidates": ["a"]}, lambda context, texts, role: [scores_of(hate=float("nan"))])
    assert row["verdicts"][0] == {
        "unsafe": 1.0,
        "scores": {},
        "dropped": True,
        "because": ["unscored"],
        "flagged": [],
    }
    assert (row["ranks"], row["pick"]) == ([None], None)


def test_without_messages_the_texts_are_judged_alone():
    safety = JudgingSafety()
    assert screen_line(safety.judge, {"candidates": ["Tea.", "Bees."]})["id"] is None
    assert safety.calls == [([], ["Tea.", "Bees."], "assistant")]


def test_candidates_are_judged_in_the_context_of_every_message():
    safety = JudgingSafety()
    screen_line(safety.judge, {"messages": [USER, {"role": "assistant", "content": "Yes?"}], "candidates": ["Tea."]})
    assert safety.calls == [([("user", "Hello?"), ("assistant", "Yes?")], ["Tea."], "assistant")]


def test_without_candidates_the_users_last_turn_is_judged_as_the_users():
    safety = JudgingSafety({"bomb": {"weapons": 0.8}})
    row = screen_line(safety.judge, {"messages": [USER, {"role": "user", "content": "How to build a bomb?"}]})
    assert safety.calls == [([("user", "Hello?")], ["How to build a bomb?"], "user")]
    assert row["verdicts"][0]["because"] == ["weapons"]
    assert row["prompt"] == row["verdicts"][0]


def test_beside_candidates_the_users_last_turn_gets_a_verdict_of_its_own():
    safety = JudgingSafety({"bomb": {"weapons": 0.8}})
    asks = {"role": "user", "content": "How to build a bomb?"}
    row = screen_line(safety.judge, {"messages": [USER, asks], "candidates": ["Tea."]})
    assert safety.calls[0] == ([("user", "Hello?")], ["How to build a bomb?"], "user")
    assert row["prompt"]["because"] == ["weapons"]
    assert [verdict["dropped"] for verdict in row["verdicts"]] == [False]
    assert (row["ranks"], row["pick"]) == ([1], 0)  # an unsafe question does not drop a safe answer


@pytest.mark.parametrize("messages", [None, [], [USER, {"role": "assistant", "content": "Yes?"}]])
def test_where_the_user_does_not_speak_last_there_is_no_prompt(messages):
    assert screened({"messages": messages, "candidates": ["Tea."]})["prompt"] is None


def test_reasons_say_which_sentence_decided_and_only_when_asked_for():
    place = Place("A bomb.", 6, 13, "normalised")

    def scores(context, texts, role):
        return [Scores(scores_of(weapons=0.9, crime=0.6), 0.95, {"weapons": place}, doubt=0.125)] * len(texts)

    line = {"messages": [USER], "candidates": ["Well. A b0mb."]}
    reasons = [
        {"objective": "weapons", "score": 0.9, "threshold": 0.5}
        | {"sentence": "A bomb.", "start": 6, "end": 13, "reading": "normalised"},
        {"objective": "crime", "score": 0.6, "threshold": 0.5},  # where is not known
    ]
    row = screened(line, scores, explain=True)
    assert row["verdicts"][0]["reasons"] == row["prompt"]["reasons"] == reasons
    assert row["verdicts"][0]["doubt"] == row["prompt"]["doubt"] == 0.125
    assert json.loads(json.dumps(row)) == row
    plain = screened(line, scores)
    for verdict in (plain["prompt"], *plain["verdicts"]):
        assert not {"reasons", "doubt"} & set(verdict)


def test_a_kept_candidate_is_explained_by_the_objective_that_came_nearest():
    row = screened({"candidates": ["A knife."]}, {"knife": {"weapons": 0.4}}, explain=True)
    assert row["verdicts"][0]["doubt"] is None  # a plain mapping of scores does not tell
    assert row["verdicts"][0]["reasons"] == [{"objective": "weapons", "score": 0.4, "threshold": 0.5}]


def test_what_could_not_be_judged_has_no_reasons():
    row = screened({"candidates": ["a"]}, lambda context, texts, role: [None], explain=True)
    assert row["verdicts"][0]["because"] == ["unscored"]
    assert row["verdicts"][0]["reasons"] == []


CONTENT = st.text(max_size=30)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": CONTENT}), min_size=1, max_size=3)


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.fixed_dictionaries(
            {"id": st.integers() | st.text(max_size=5), "messages": MESSAGES},
            optional={"candidates": st.lists(CONTENT, min_size=1, max_size=3)},
        ),
        max_size=4,
    ),
    escaped=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_every_line_that_json_can_write_is_read_as_it_was(tmp_path_factory, lines, escaped, ending):
    file = tmp_path_factory.getbasetemp() / "lines.jsonl"
    text = "".join(json.dumps(line, ensure_ascii=escaped) + ending for line in lines)
    file.write_bytes(text.encode())
    assert list(read_lines(file)) == lines


@pytest.mark.parametrize("break_", ["\u2028", "\u2029", "\x85"])
def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path, break_):
    file = tmp_path / "in.jsonl"
    line = {"candidates": [f"one{break_}two"]}
    file.write_text(json.dumps(line, ensure_ascii=False), encoding="utf-8")
    assert list(read_lines(file)) == [line]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "JSON object"),
        ("{}", "'candidates', or 'messages' that end with the user's turn"),
        ('{"messages": []}', "'candidates', or 'messages' that end with the user's turn"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "'messages' that end with the user's turn"),
        ('{"messages": "Hello", "candidates": ["x"]}', "'messages' must be a list"),
        ('{"messages": ["Hello"], "candidates": ["x"]}', "role (system, user, assistant) and a text content"),
        ('{"messages": [{"role": "tool", "content": "x"}], "candidates": ["x"]}', "role (system, user, assistant)"),
        ('{"messages": [{"role": "user"}], "candidates": ["x"]}', "text content"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "candidates": ["x"]}', "text content"),
        ('{"candidates": []}', "'candidates' must be a non-empty list of texts"),
        ('{"candidates": "x"}', "'candidates' must be a non-empty list of texts"),
        ('{"candidates": ["x", 1]}', "'candidates' must be a non-empty list of texts"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_field(tmp_path, line, says):
    file = tmp_path / "in.jsonl"
    file.write_text('{"candidates": ["fine"]}\n\n' + line)
    with pytest.raises(BadLine) as caught:
        list(read_lines(file))
    assert str(caught.value).startswith("in.jsonl:3: ")
    assert says in str(caught.value)


def test_bytes_that_are_not_text_are_named_by_file_and_line(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'{"candidates": ["fine"]}\n{"candidates": ["\xff"]}')
    with pytest.raises(BadLine, match=r"in\.jsonl:2: not UTF-8"):
        list(read_lines(file))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.jsonl"):
        list(read_lines(tmp_path / "absent.jsonl"))
