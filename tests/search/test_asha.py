import pytest

from kdbench.search.asha import Asha, milestones


def test_milestones_are_geometric_and_below_the_last_epoch():
    assert milestones("asha", 3, 3, 30) == (3, 9, 27)
    assert milestones("asha", 1, 2, 9) == (1, 2, 4, 8)
    assert milestones("asha", 3, 3, 9) == (3,)  # 9 is the end: nothing is decided there
    assert milestones("asha", 5, 3, 5) == ()
    assert milestones("none", 1, 2, 9) == ()


def test_the_first_at_a_rung_goes_on_and_worse_ones_stop():
    asha = Asha((1, 3), factor=3)
    assert not asha.report(0, 1.0, 0.5)
    assert asha.report(1, 1.0, 0.4)
    assert not asha.report(2, 1.0, 0.6)
    assert not asha.report(3, 1.0, 0.6)  # equal to the best


def test_a_third_of_many_goes_on():
    asha = Asha((1,), factor=3)
    values = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7]
    for number, value in enumerate(values):
        asha.report(number, 1.0, value)
    assert not asha.report(6, 1.0, 0.85)  # of 7 values the best 2 go on
    assert asha.report(7, 1.0, 0.75)  # of 8 the best 2: 0.9 and 0.85


@pytest.mark.parametrize("rung", [3.0, 3.4, 8.0])
def test_the_first_report_at_or_after_a_milestone_counts(rung):
    asha = Asha((3, 9), factor=3)
    assert not asha.report(0, 2.9, 0.1)
    assert asha.rungs(0) == {}
    asha.report(0, rung, 0.2)
    asha.report(0, rung + 0.5, 0.9)  # passed already
    assert asha.rungs(0) == {"3": 0.2}


def test_a_jump_over_two_milestones_enters_both_and_either_stops():
    asha = Asha((1, 3), factor=3)
    asha.report(0, 1.0, 0.1)
    asha.report(1, 3.0, 0.9)
    assert asha.rungs(1) == {"1": 0.9, "3": 0.9}
    assert asha.report(2, 3.0, 0.5)


def test_rungs_come_back_from_records_and_unknown_milestones_are_left():
    asha = Asha((1, 3), factor=3)
    asha.restore(0, {1: 0.9, 7: 0.9})
    assert asha.rungs(0) == {"1": 0.9}
    assert asha.report(1, 1.0, 0.5)


def test_judging_again_is_only_for_a_trial_that_stands_on_the_rung():
    asha = Asha((1, 3), factor=3)
    asha.report(1, 1.0, 0.5)
    asha.report(0, 1.0, 0.9)
    assert asha.judge(1, 1.0)
    assert not asha.judge(1, 2.0)  # went on from there
    assert not asha.judge(0, 1.0)
    assert not asha.judge(5, 1.0)  # never seen
