import stat

import pytest

from kdbench.home import Home
from kdbench.search import doctor
from kdbench.search.doctor import Check, examine


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "runs")


def checks(home, **more):
    return {check.what: check for check in examine(home=home, uri=home.mlflow_uri, **more)}


def test_a_good_machine_passes_and_nothing_is_written(home):
    found = checks(home)
    assert {check.state for check in found.values()} <= {"ok", "warn"}
    assert set(found) == {"versions", "devices", "state", "data", "MLflow"}
    assert not home.root.exists()


def test_a_requirement_that_does_not_hold_is_named(monkeypatch):
    wanted = ["numpy>=99", "nosuchpackage>=1", "pytest; extra == 'dev'", "torch>=1"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: wanted)
    check = doctor._versions()
    assert check.state == "fail"
    assert "numpy" in check.found and ">=99" in check.found
    assert "nosuchpackage: nothing instead of >=1" in check.found
    assert "pytest" not in check.found


@pytest.mark.parametrize(("free", "state"), [(1e8, "fail"), (1e9, "warn"), (1e11, "ok")])
def test_little_room_is_warned_of(free, state):
    assert doctor._disk("state", "folder", free).state == state


def test_a_folder_that_cannot_be_written_fails(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = doctor._folder("state", tmp_path / "not" / "there")
    assert check == Check(
        "state", "fail", f"{tmp_path / 'not' / 'there'} cannot be written: Permission denied"
    )
    assert stat.S_ISDIR(tmp_path.stat().st_mode)


def test_an_object_store_is_written_and_read(home):
    assert checks(home, storage="memory://bucket/kdbench")["storage"].state == "ok"
    assert checks(home, storage="nosuch://bucket")["storage"].state == "fail"


def test_a_tracking_server_that_is_away_fails(home):
    found = {check.what: check for check in examine(home=home, uri="http://127.0.0.1:9")}
    assert found["MLflow"].state == "fail"


def test_an_address_where_nothing_listens_fails_soon(home):
    found = checks(home, address="127.0.0.1:9")
    assert found["Ray"].state == "fail"
    assert "127.0.0.1:9" in found["Ray"].found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_node_of_a_cluster_is_asked(home):
    from kdbench.search import cluster

    cluster.prepare()
    import ray
    from ray.cluster_utils import Cluster

    home.root.mkdir()
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        machines.add_node(num_cpus=1)
        machines.wait_for_nodes()
        found = list(examine(home=home, uri=home.mlflow_uri, address=machines.address))
        nodes = [check for check in found if check.what.startswith("node")]
        assert len(nodes) == 2
        assert {check.state for check in nodes} <= {"ok", "warn"}
        assert not ray.is_initialized()
        assert list(home.root.iterdir()) == []
    finally:
        ray.shutdown()
        machines.shutdown()


SEEN = {"installed": doctor._installed(), "devices": "8 CPU cores, no GPU", "fault": "", "free": 1e11}


@pytest.mark.parametrize(
    ("seen", "skew", "state", "found"),
    [
        ({}, 0.2, "ok", "clock off by 0.2 s"),
        ({}, 60.0, "fail", "its clock is off by 60.0 s"),
        ({"installed": "kdbench 0.0.1, Python 3.9"}, 0.0, "fail", "it has kdbench 0.0.1, Python 3.9"),
        ({"fault": "/shared cannot be written"}, 0.0, "fail", "/shared cannot be written"),
        ({"free": 1e9}, 0.0, "warn", "1.0 GB free"),
    ],
)
def test_what_a_node_answers_is_judged(seen, skew, state, found):
    check = doctor._judge("node 7", {**SEEN, **seen}, skew)
    assert (check.what, check.state) == ("node 7", state)
    assert found in check.found


def test_a_node_that_does_not_share_the_folder_is_named(tmp_path):
    assert "is another folder here" in doctor._reach(str(tmp_path), str(tmp_path / "never"))
    assert doctor._reach(str(tmp_path), str(tmp_path)) == ""
    assert doctor._reach("memory://bucket/kdbench", "") == ""
