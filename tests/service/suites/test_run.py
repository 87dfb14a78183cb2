import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.settings import Settings
from service.suites.run import Run, Unavailable
from tests.service.scripted import make_corridor
from tests.service.suites.tiny import tiny_run

CASES = [{"id": f"c{i}"} for i in range(50)]


@given(st.text(), st.integers(0, 2**40))
def test_the_seed_of_a_case_is_a_seed_of_any_generator_and_always_the_same(id, seed):
    first, second = (Run(Settings(), seed) for _ in range(2))
    assert first.seed_of(id) == second.seed_of(id)
    assert 0 <= first.seed_of(id) < 2**31


def test_another_seed_or_case_has_another_seed():
    found = {Run(Settings(), seed).seed_of(case["id"]) for seed in range(4) for case in CASES}
    assert len(found) == 200


def test_a_sample_keeps_the_order_of_the_data_and_does_not_depend_on_it():
    run = tiny_run()
    kept = run.sample(CASES, 20, 5)
    assert len(kept) == 20
    assert kept == [case for case in CASES if case in kept]
    assert run.sample(CASES[::-1], 20, 5) == kept[::-1]
    assert tiny_run(seed=1).sample(CASES, 20, 5) != kept


def test_a_quick_sample_is_part_of_the_whole_one():
    quick = tiny_run(quick=True).sample(CASES, 20, 5)
    assert len(quick) == 5
    assert all(case in tiny_run().sample(CASES, 20, 5) for case in quick)


@pytest.mark.parametrize(("quick", "sampled"), [(False, [9, 9]), (True, [4, 9])])
def test_a_quick_run_picks_from_fewer_candidates_but_where_time_is_measured(quick, sampled):
    corridor = make_corridor(["I am glad."], candidates=9)
    run = Run(corridor.settings, quick=quick, corridor=corridor)
    for model in (run.model, run.unhurried):
        model.answer([{"role": "user", "content": "Hello"}], 8, 0)
    assert [call.n for call in corridor.generator.calls] == sampled


def test_fewer_cases_than_asked_for_are_all_kept():
    assert tiny_run().sample(CASES, 100, 100) == CASES
    assert tiny_run().sample([], 5, 5) == []


def test_a_public_set_that_is_not_there_says_how_to_name_it(tmp_path):
    (tmp_path / "edos").mkdir()
    corridor = make_corridor()
    assert Run(corridor.settings, datasets=tmp_path).public("edos") == tmp_path / "edos"
    for datasets in (None, tmp_path):
        with pytest.raises(Unavailable, match=r"needs the set .fed.: .* --datasets"):
            Run(corridor.settings, datasets=datasets).public("fed")


def test_parts_are_loaded_once_and_only_when_asked_for(monkeypatch):
    made = []
    monkeypatch.setattr("service.assembly.assemble", lambda settings: made.append(settings) or make_corridor())
    run = Run(Settings())
    assert made == []
    assert run.safety is run.corridor.safety
    assert run.model.name == "scripted"
    assert len(made) == 1


def test_the_model_under_test_is_the_endpoint_where_one_is_named():
    class Remote:
        name, url = "theirs", "http://there/v1"

    remote = Remote()
    assert tiny_run(endpoint=remote).model is remote
    assert tiny_run().model.url is None
