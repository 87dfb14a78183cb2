"""The speed benchmark's arithmetic on figures that are known, its rivals on a tiny model, and what it says when it cannot go on."""

import copy
import itertools
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import count

import pytest
import torch

from benchmarks import charts, floor, machine, sampling, speed, starting
from benchmarks.charts import Chart, Line
from benchmarks.figures import Row, Target, markdown, ratio, rounds, spread
from benchmarks.plan import Found, Plan, Table
from benchmarks.rivals import NO_CPP, Cpp, Sampled, Transformers, UsualChain, ours, until
from service.generator import LocalGenerator, Sampling
from tests.service.conftest import tiny_model

__all__ = ["tiny_model"]

HELLO = [{"role": "user", "content": "Hello"}]
FASTER, SMALLER = Target("≥", 3, "×"), Target("≤", 0.05, "%")


@pytest.fixture(scope="module")
def eager(tiny_model):
    """The tiny model with so high a probability of its end mark that most candidates end early."""
    model, tokenizer = copy.deepcopy(tiny_model[0]), tiny_model[1]
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = model.lm_head.weight.max(0).values
    return model, tokenizer


# Figures


def test_a_figure_is_the_median_with_its_range():
    assert spread([3.4, 2.9, 3.1]).shown("×") == "3.10× [2.90, 3.40]"
    assert spread([0.02, 0.06]).shown("%") == "4.0% [2.0%, 6.0%]"
    assert spread([1.0, 2.0, 3.0, 10.0]).median == 2.5


def test_what_was_measured_once_has_no_range():
    assert spread([1.5]).shown("GB") == "1.50 GB"


def test_nothing_is_no_figure():
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_ratios_are_taken_round_by_round():
    # The second round was four times as slow for both: the ratio of medians would be 4, that of the rounds is 2.
    assert ratio([2.0, 8.0, 8.0], [1.0, 4.0, 4.0]).values == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("target", "values", "outcome"),
    [
        (FASTER, [3.0, 3.5, 4.0], "met"),
        (FASTER, [2.9, 3.5, 4.0], "met, in 2 of 3 rounds"),
        (FASTER, [2.0, 2.9, 4.0], "missed, met in 1 of 3 rounds"),
        (FASTER, [2.0, 2.5, 2.9], "missed"),
        (SMALLER, [0.05, 0.04], "met"),
        (SMALLER, [0.06, 0.07, 0.05], "missed, met in 1 of 3 rounds"),
    ],
)
def test_the_outcome_goes_by_the_median_and_says_where_rounds_differ(target, values, outcome):
    assert target.outcome(spread(values)) == outcome


@pytest.mark.parametrize(
    ("target", "shown"), [(FASTER, "≥ 3×"), (SMALLER, "≤ 5%"), (Target("≤", 1.2, "GB"), "≤ 1.2 GB")]
)
def test_a_target_is_written_as_it_was_set(target, shown):
    assert str(target) == shown


def test_a_row_tells_what_its_figure_is_made_of():
    row = Row("speed", "a peer", spread([3.0, 4.0, 5.0]), "×", FASTER, "400 tokens/s", "100 tokens/s")
    assert row.cells() == ["speed", "a peer", "≥ 3×", "4.00× [3.00, 5.00]", "met", "400 tokens/s", "100 tokens/s", "3"]
    assert replace(row, target=None).cells()[2:5] == ["-", "4.00× [3.00, 5.00]", "reported"]


def test_what_was_not_measured_is_never_met():
    row = Row("speed", "a peer", None, "×", FASTER, why="it is not installed here")
    assert row.cells()[3:5] == ["-", "not measured: it is not installed here"]


def test_the_table_is_markdown_in_which_a_bar_stays_in_its_cell():
    assert markdown(("a", "b"), [["1", "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n"


def test_works_take_turns_and_the_first_round_is_not_counted():
    heard, numbers = [], count()
    found = rounds({"a": lambda: next(numbers), "b": lambda: next(numbers)}, 3, heard.append)
    assert heard == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert found == {"a": [2, 5, 6], "b": [3, 4, 7]}


# The floor


def test_the_floor_is_what_memory_or_arithmetic_takes_whichever_is_more():
    # A million weights of two bytes at 1 GB/s: 2 ms; 16 million multiply-adds at 4 G/s: 4 ms.
    found = floor.floor(1_000_000, 16, "bfloat16", floor.Machine(1e9, 4e9))
    assert (found.memory, found.arithmetic) == pytest.approx((0.002, 0.004))
    assert (found.seconds, found.bound) == (pytest.approx(0.004), "arithmetic")
    one = floor.floor(1_000_000, 1, "bfloat16", floor.Machine(1e9, 4e9))
    assert (one.seconds, one.bound) == (pytest.approx(0.002), "memory")
    assert floor.floor(1_000_000, 1, "int8", floor.Machine(1e9, 4e9)).memory == pytest.approx(0.001)


def test_the_weights_of_a_step_are_those_of_its_products(tiny_model):
    model, _ = tiny_model
    # Two layers of q, k, v, out (32 wide, 16 for keys and values), gate, up and down (64), and the way to the vocabulary.
    layer = 32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 64
    assert floor.weights_of(model) == 2 * layer + 32 * model.config.vocab_size


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_machine_is_measured_in_bytes_and_multiply_adds_a_second(precision):
    found = floor.measured(precision, read=2**22, side=64)
    assert 1e7 < found.bandwidth < 1e13
    assert 1e6 < found.peak < 1e15


# Rivals and ours


def test_both_sample_every_token_where_no_end_counts(eager):
    model, tokenizer = eager
    generator = LocalGenerator("tiny", model, tokenizer)
    mine = ours(generator, HELLO, 3, Sampling(max_tokens=12), to_end=False)
    theirs, rows = Transformers(model, tokenizer).drawn(HELLO, 3, Sampling(max_tokens=12), to_end=False)
    assert mine.tokens == theirs.tokens == 36
    end = tokenizer.eos_token_id
    assert any(a == end != b for row in rows for a, b in itertools.pairwise(row)), "nothing was said after an end mark"
    # Twelve tokens of each candidate are drawn, eleven of them read.
    assert len(mine.steps) == 11
    assert 0 < sum(mine.steps) < mine.seconds


def test_both_count_tokens_up_to_the_end_mark(eager):
    model, tokenizer = eager
    sampling = Sampling(max_tokens=12)
    mine = ours(LocalGenerator("tiny", model, tokenizer), HELLO, 8, sampling)
    theirs, rows = Transformers(model, tokenizer).drawn(HELLO, 8, sampling)
    assert 8 <= mine.tokens < 96
    assert theirs.tokens == sum(map(len, rows)) < 96
    assert all(tokenizer.eos_token_id not in row[:-1] for row in rows)


@pytest.mark.parametrize(("tokens", "left"), [([5, 9, 2, 9, 2], [5, 9, 2]), ([5, 9], [5, 9]), ([2, 2, 2], [2])])
def test_the_end_mark_itself_is_a_token_that_was_sampled(tokens, left):
    assert until(tokens, 2) == left


def test_the_usual_chain_has_a_classifier_of_robertas_size_and_reads_each_text_as_if_alone(tiny_model):
    small = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "initializer_range": 1.0,
    }
    torch.manual_seed(0)
    chain = UsualChain(Transformers(*tiny_model), ["the capital of Kenya", "bees make honey", "rivers"], small)
    assert chain.reply(HELLO, 2, Sampling(max_tokens=4)) > 0
    rows = [[5, 6, 7, 8, 9], [5, 6]]
    alone = torch.cat([chain.classify([row]) for row in rows])
    assert torch.allclose(chain.classify(rows), alone, rtol=0.05, atol=0.05)


def test_without_the_cpp_runtime_its_row_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("benchmarks.rivals.CPP", "no_such_package")
    assert not Cpp.installed()
    found = {"ours, a short prompt, False": [Sampled(100, 1.0)]}
    row = sampling.against_cpp(found, Plan(), has_gguf=True)
    assert row.figure is None
    assert row.cells()[4] == f"not measured: {NO_CPP}"
    assert "pip install" in NO_CPP


def test_a_step_is_set_against_the_best_that_the_machine_has_shown():
    steps = [Sampled(16, 1.0, (0.010, 0.012, 0.014)), Sampled(16, 1.0, (0.020, 0.020, 0.020))]
    machines = [floor.Machine(1e9, 1e9), floor.Machine(2e9, 4e9)]
    found = {"ours, 16": steps, "the machine's floor": machines}
    row = sampling.step_by_floor(found, Plan(), "bfloat16", 1_000_000)
    # 16 million multiply-adds at 4 G/s: 4 ms.
    assert row.figure.values == pytest.approx((3.0, 5.0))
    assert row.theirs == "4.0 ms, by arithmetic (memory 1.0, arithmetic 4.0)"


def test_sixteen_are_set_against_one():
    found = {"ours, 16": [Sampled(16, 4.0), Sampled(16, 6.0)], "ours, 1": [Sampled(1, 1.0), Sampled(1, 2.0)]}
    assert sampling.sixteen_by_one(found, Plan()).figure.values == (4.0, 3.0)


# Processes


def test_a_field_of_what_linux_tells_of_a_process():
    assert starting.kib("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n", "VmRSS") == 1024
    assert str(starting.kib("", "VmRSS")) == "nan"


def test_a_process_that_only_imports_is_timed_and_weighed():
    seconds, mib = starting.imported("import json")
    assert seconds > 0
    assert mib > 1 or not starting.linux()


def test_a_process_that_cannot_import_says_why():
    with pytest.raises(RuntimeError, match="no_such_module"):
        starting.imported("import no_such_module")


# Charts


def test_a_chart_places_its_points_by_their_logarithms():
    line = Line("Winnow", ((1, 10, 9, 11), (10, 100, 90, 110), (100, 1000, 900, 1100)))
    root = ElementTree.fromstring(Chart("Speed & cost", "candidates", "tokens/s", (line,)).svg())
    (path,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    places = [tuple(map(float, each.split(","))) for each in path.get("points").split()]
    across, down = zip(*places, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.11)
    assert down[0] - down[1] == pytest.approx(down[1] - down[2], abs=0.11)
    assert across[0] < across[1]
    assert down[0] > down[1]
    assert root.get("aria-label") == "Speed & cost"


def test_lines_are_told_apart_without_colour():
    lines = tuple(Line(name, ((1, 1, 1, 1), (2, 2, 2, 2))) for name in "abc")
    root = ElementTree.fromstring(Chart("t", "x", "y", lines).svg())
    dashes = [each.get("stroke-dasharray") for each in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(set(dashes)) == 3


def test_a_chart_of_nothing_or_of_zeros_is_refused():
    for lines in ((), (Line("a", ((1, 0, 0, 1),)),)):
        with pytest.raises(ValueError, match="above 0"):
            Chart("t", "x", "y", lines).svg()


@pytest.mark.parametrize(
    ("least", "most", "found"),
    [(1, 20, [1, 2, 5, 10, 20]), (30, 600, [50, 100, 200, 500]), (3, 3, [3]), (6, 7, [6, 7])],
)
def test_an_axis_is_marked_at_round_numbers(least, most, found):
    assert charts.ticks(least, most) == found


@pytest.mark.parametrize(
    ("value", "shown"), [(0.123456, "0.123"), (1000, "1,000"), (1_000_000, "1,000,000"), (64, "64")]
)
def test_numbers_on_a_chart_are_short(value, shown):
    assert charts.short(value) == shown


# The command


@pytest.fixture
def parts(monkeypatch):
    """Two parts that measure nothing, and a model that is there."""
    line = Line("Winnow", ((1, 1, 1, 1), (2, 2, 2, 2)))
    row = Row("a", "b", spread([4.0, 5.0]), "×", FASTER)
    table = Table("Growth", ("x", "y"), [["1", "2"]], "n = 2.")
    found = Found([row], [table], {"growth-a": Chart("A", "x", "y", (line,))}, [0.04, 0.06])
    made = {"reply": lambda plan, begin: found, "serve": lambda plan, begin: Found([replace(row, what="c")])}
    monkeypatch.setattr(speed, "PARTS", made)
    monkeypatch.setattr(speed, "resolve", lambda name: name)
    return made


def test_a_run_writes_its_tables_with_the_machine_and_draws_its_charts(parts, tmp_path, capsys):
    page, images = tmp_path / "results.md", tmp_path / "images"
    images.mkdir()
    assert speed.main(["--out", str(page), "--images", str(images)]) == 0
    written = page.read_text(encoding="utf-8")
    assert "| a | b | ≥ 3× | 4.50× [4.00, 5.00] | met |" in written
    assert "## Growth" in written
    assert "![A](images/growth-a.svg)" in written
    assert f"torch {torch.__version__}" in written
    assert machine.commit().split()[0] in written
    assert "quick run" not in written
    assert (images / "growth-a.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "4.50×" in capsys.readouterr().out


def test_a_quick_run_says_so_and_writes_nothing_unless_told_where(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(speed, "IMAGES", tmp_path)
    assert speed.main(["--quick"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert speed.main(["--quick", "--out", str(tmp_path / "quick.md")]) == 0
    assert "not for quoting" in (tmp_path / "quick.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [["--only", "reply"], ["--model", "another"], ["--repeats", "4"]])
def test_what_is_not_the_whole_run_does_not_replace_its_results(options, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(speed, "IMAGES", tmp_path)
    assert speed.main(options) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_fails_is_named_and_the_results_stay_as_they_are(parts, tmp_path, capsys):
    def failing(plan, begin):
        raise RuntimeError("the server did not get ready")

    parts["serve"] = failing
    page = tmp_path / "results.md"
    assert speed.main(["--out", str(page), "--images", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
    told = capsys.readouterr()
    assert "serve failed: RuntimeError: the server did not get ready" in told.err.replace("\n", " ")
    assert "4.50×" in told.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--repeats", "0"], "--repeats is 0; at least 1"),
        (["--only", "all"], "invalid choice"),
        (["--card", "--quick"], "--card needs a run without --quick"),
        (["--card", "--only", "serve"], "add --only reply"),
        (["--out", "/no/such/folder/results.md"], "no folder that can be written to"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_measured(options, said, parts, capsys):
    with pytest.raises(SystemExit) as stopped:
        speed.main(options)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_model_that_is_not_there_is_told_before_anything_is_measured(capsys):
    assert speed.main(["--model", "/no/such/model.gguf", "--only", "search"]) == 2
    assert "/no/such/model.gguf" in capsys.readouterr().err.replace("\n", "")


def test_the_card_is_given_the_share_of_screening(parts, monkeypatch):
    given = []
    monkeypatch.setattr(speed, "add_benchmark", lambda folder, row: given.append(row))
    assert speed.main(["--only", "reply", "--card"]) == 0
    (row,) = given
    assert (row["value"], row["low"], row["high"], row["n"]) == (0.05, 0.04, 0.06, 2)


def test_every_tick_moves_the_bar_and_none_is_beyond_its_end(capsys):
    with speed.bars() as begin:
        for title, steps in itertools.product(("one", "two"), (2,)):
            tick = begin(title, steps)
            for name in "ab":
                tick(name)
    assert capsys.readouterr().err.count("2/2") >= 2
