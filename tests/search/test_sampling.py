import pytest

from kdbench.search import sampling
from kdbench.search.domain import Domain
from kdbench.search.sampling import Sampler
from kdbench.search.trial import Trial

SPACE = {
    "lr": Domain("float", 1e-3, 1.0, "log"),
    "layers": Domain("int", 1, 3),
    "loss": Domain("categorical", choices=("kl", "mse", 2)),
}
NUMERIC = {"lr": SPACE["lr"], "layers": SPACE["layers"]}


def trial(number, sampled, state="complete", value=0.5, **more):
    return Trial(number, f"key{number}", state, sampled, value, steps={1: value}, **more)


def play(sampler, numbers, objective=lambda sampled: sampled["lr"]):
    """Ask and tell; returns what was proposed."""
    proposed = []
    for number in numbers:
        sampled = sampler.ask(number)
        sampler.started(trial(number, sampled, "running"))
        sampler.tell(trial(number, sampled, value=objective(sampled)))
        proposed.append(sampled)
    return proposed


@pytest.mark.parametrize("kind", ["tpe", "random", "gp", "cmaes"])
def test_proposals_lie_in_the_space_and_reach_the_bounds_of_integers(kind):
    proposed = play(Sampler(kind, SPACE, 0, "study"), range(20))
    assert all(SPACE[name].contains(value) for sampled in proposed for name, value in sampled.items())
    assert {sampled["layers"] for sampled in proposed} == {1, 2, 3}
    assert all(set(sampled) == set(SPACE) for sampled in proposed)


@pytest.mark.parametrize("kind", ["tpe", "random", "gp"])
def test_a_relaunch_goes_on_with_the_same_proposals(kind):
    first = Sampler(kind, SPACE, 0, "study")
    proposed = play(first, range(12))
    again = Sampler(kind, SPACE, 0, "study")
    again.restore([trial(n, s, value=s["lr"]) for n, s in enumerate(proposed)])
    assert again.ask(12) == first.ask(12)


def test_cmaes_starts_from_the_earlier_trials():
    proposed = play(Sampler("cmaes", NUMERIC, 0, "study"), range(10))
    again = Sampler("cmaes", NUMERIC, 0, "study")
    again.restore([trial(n, s, value=s["lr"]) for n, s in enumerate(proposed)])
    assert again.ask(10) not in proposed


def test_every_number_study_and_seed_has_proposals_of_its_own():
    proposals = [
        Sampler("tpe", SPACE, seed, study).ask(number)["lr"]
        for seed in (0, 1)
        for study in ("a", "b")
        for number in (0, 1)
    ]
    assert len(set(proposals)) == len(proposals)


def test_tpe_learns_where_the_objective_is_high():
    proposed = play(Sampler("tpe", NUMERIC, 0, "study"), range(40))
    late = sorted(sampled["lr"] for sampled in proposed[-10:])
    assert late[5] > 0.3  # the upper end of a log scale from 0.001; the median of random proposals is 0.03


def test_a_diverged_region_is_left_and_a_failed_one_is_not_seen():
    def late(state):
        sampler = Sampler("tpe", NUMERIC, 0, "study")
        for number in range(40):
            sampled = sampler.ask(number)
            sampler.started(trial(number, sampled, "running"))
            bad = sampled["lr"] > 0.03
            sampler.tell(trial(number, sampled, state if bad else "complete", value=sampled["lr"]))
        return sum(sampler.ask(number)["lr"] > 0.03 for number in range(40, 60))

    assert late("diverged") < late("failed")


def test_running_trials_are_known_to_the_sampler_whoever_chose_them():
    def ask(*, running):
        sampler = Sampler("tpe", NUMERIC, 0, "study")
        play(sampler, range(12))
        if running:
            for number in range(12, 16):
                sampler.started(trial(number, {"lr": 0.9, "layers": 3}, "running"))
        return [sampler.ask(number) for number in range(16, 22)]

    assert ask(running=True) != ask(running=False)


def test_an_empty_space_proposes_nothing():
    sampler = Sampler("tpe", {}, 0, "study")
    assert play(sampler, range(3), objective=lambda sampled: 0.5) == [{}, {}, {}]


def test_a_long_study_is_seen_through_a_window(monkeypatch):
    monkeypatch.setattr(sampling, "WINDOW", 20)
    monkeypatch.setattr(sampling, "BEST", 5)
    monkeypatch.setattr(sampling, "LATEST", 8)
    sampler = Sampler("tpe", NUMERIC, 0, "study")
    running = {"lr": 0.5, "layers": 2}
    sampler.started(trial(0, running, "running"))
    play(sampler, range(1, 100))
    assert len(sampler._view) <= 41
    best = max((t for t in sampler._trials.values() if t.ended), key=lambda t: t.value)
    assert best.number in sampler._visible()
    assert 0 in sampler._visible()  # still running
    sampler.tell(trial(0, running))
    for number in range(100, 150):
        sampler.started(trial(number, running, "running"))
    sampler.ask(150)
    assert len(sampler._visible()) <= 20
    sampler.tell(trial(101, running))  # fell out of the window while it ran
