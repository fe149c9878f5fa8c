import pytest

from kdbench.search import measuring
from kdbench.search.packing import Measured, pack
from kdbench.search.slots import count, whole_device
from kdbench.search.work import Share

GIB = 2**30


def device(rate_by_runs, memory=GIB):
    """A GPU on which so many runs at once do so much work per second."""
    asked = []

    def measure(runs):
        asked.append(runs)
        return Measured(runs, runs / rate_by_runs[runs], memory)

    return measure, asked


def test_runs_are_doubled_while_it_pays():
    measure, asked = device({1: 1.0, 2: 1.9, 4: 3.0, 8: 3.1})
    packing = pack(measure, 80 * GIB)
    assert (packing.runs, asked) == (4, [1, 2, 4, 8])
    assert "8 at once do 1.03 × the work of 4" in packing.why


def test_what_does_not_fit_is_not_tried():
    measure, asked = device({1: 1.0, 2: 2.0}, memory=3 * GIB)
    packing = pack(measure, 8 * GIB)  # 4 x 3 GiB and a fifth more
    assert (packing.runs, asked) == (2, [1, 2])
    assert "4 at once do not fit into 8 GiB" in packing.why


def test_running_out_of_memory_ends_the_search():
    def measure(runs):
        if runs == 4:
            raise MemoryError
        return Measured(runs, 1.0, GIB)

    assert pack(measure, 80 * GIB).runs == 2


def test_a_busy_gpu_is_not_shared():
    measure, _ = device({1: 1.0, 2: 1.05})
    assert pack(measure, 80 * GIB).runs == 1


def test_never_more_than_sixteen():
    measure, asked = device({2**k: 2.0**k for k in range(9)})
    assert pack(measure, 1000 * GIB).runs == 16
    assert max(asked) == 16


@pytest.mark.parametrize(
    ("cores", "gpus", "expected"), [(64, 8, Share(1.0, 0.25)), (8, 8, Share(0.25, 0.25))]
)
def test_cores_are_shared_like_the_gpu(cores, gpus, expected):
    measure, _ = device({1: 1.0, 2: 2.0, 4: 4.0, 8: 4.0})
    assert pack(measure, 80 * GIB).share(cores, gpus) == expected


def node(cpu, gpu=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": cpu, **({"GPU": gpu} if gpu else {})}}


@pytest.mark.parametrize(
    ("nodes", "share", "slots"),
    [
        ([node(2)], Share(), 2),
        ([node(2)], Share(0.5), 4),
        ([node(0), node(1), node(1, alive=False)], Share(), 1),
        ([node(4), node(16, 2)], Share(1, 0.25), 8),  # the head has no GPU
        ([node(3, 1)], Share(1, 0.25), 3),  # cores are scarcer
        ([node(8, 1)], Share(1, 0.1), 8),
        ([node(10, 2)], Share(0.1, 0.4), 4),  # no slot across two devices' remainders
        ([node(10, 2)], Share(1, 2.0), 1),
        ([], Share(), 0),
    ],
)
def test_slots_of_a_cluster(nodes, share, slots):
    assert count(nodes, share) == slots


def test_alone_means_a_whole_gpu_or_all_cores_of_a_node():
    assert whole_device(Share(1, 0.25), [node(8, 1)]) == Share(1, 1.0)
    assert whole_device(Share(1), [node(2), node(8), node(64, alive=False)]) == Share(8)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_real_trainings_at_once_are_measured(make_plan):
    plan = make_plan(methods=["hinton"])
    job = measuring._short(plan, plan.studies[0])
    images = measuring.data.make_training(plan.suite.dataset, plan.facts, job.split, "cpu")
    measured = measuring.measure(job, images, 2, "cpu")
    assert (measured.runs, measured.memory) == (2, 0)
    assert measured.seconds > 0
