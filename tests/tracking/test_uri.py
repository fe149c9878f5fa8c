"""Which store is meant, whether it answers, and that no secret is shown."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.home import Home
from kdbench.tracking import check, masked, resolve
from kdbench.tracking.uri import artifact_root


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://localhost:5000", "http://localhost:5000"),
        ("https://me:s3cret@mlflow.example.org/x", "https://***@mlflow.example.org/x"),
        ("postgresql+psycopg://u:p%40ss@db:5432/mlflow", "postgresql+psycopg://***@db:5432/mlflow"),
        (
            "postgresql://db/mlflow?user=u&password=hunter2&x=1",
            "postgresql://db/mlflow?user=u&password=***&x=1",
        ),
        ("failed: http://u:p@h/a then http://v:q@h/b", "failed: http://***@h/a then http://***@h/b"),
        ('{"tracking":"http://host","mail":"a@b"}', '{"tracking":"http://host","mail":"a@b"}'),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/a@b/mlflow.db"),
    ],
)
def test_credentials_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_the_command_line_comes_before_the_suite_and_that_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve(None, None, home) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert resolve(None, None, home) == "http://environment"
    assert resolve(None, "http://suite", home) == "http://suite"
    assert resolve("http://option", "http://suite", home) == "http://option"


def test_artifacts_lie_beside_the_database_that_kdbench_opens_itself(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert artifact_root(home.mlflow_uri, home) == home.artifacts
    assert artifact_root("sqlite:////data/other.db", home) == Path("/data/mlartifacts")
    assert artifact_root("postgresql://db/mlflow", home) == home.artifacts
    assert artifact_root("http://server", home) is None


def refusal(uri: str, **arguments: float) -> str:
    with pytest.raises(UserError) as caught:
        check(uri, **arguments)
    assert len(caught.value.mistakes) == 1 and caught.value.mistakes[0].key == "tracking"
    return str(caught.value)


def test_a_database_that_can_be_made_or_written_is_right(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert not (tmp_path / "new").exists(), "asking makes nothing"
    (tmp_path / "mlflow.db").touch()
    check(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("This is a text about databases, and a long one at that. " * 20)
    assert "cannot be opened" in refusal(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "mlruns", "ftp://host/x"])
def test_what_is_neither_server_nor_database_is_refused(uri: str) -> None:
    assert "database" in refusal(uri)


class Answers(BaseHTTPRequestHandler):
    """A server that behaves as its first path segment says."""

    def do_GET(self) -> None:
        behaviour = self.path.split("/")[1]
        if behaviour == "hang":
            time.sleep(3)
            return
        if behaviour == "secret" and self.headers.get("Authorization") != "Basic bWU6cGFzcw==":
            self.send_error(401)
            return
        if behaviour.isdigit():
            self.send_error(int(behaviour))
            return
        kind = "text/html" if behaviour == "other" else "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>" if behaviour == "other" else b'{"experiments": []}')

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{found.server_address[1]}"
    found.shutdown()
    found.server_close()


def test_a_server_that_answers_is_right(server: str) -> None:
    check(f"http://{server}/fine")


def test_credentials_of_the_address_are_sent_and_never_shown(server: str) -> None:
    check(f"http://me:pass@{server}/secret")
    message = refusal(f"http://me:wrong@{server}/secret")
    assert "other credentials" in message and "wrong" not in message and "***" in message


def test_credentials_of_the_environment_are_sent(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass")
    check(f"http://{server}/secret")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("500", "500"), ("403", "refuses"), ("hang", "did not answer within"), ("other", "no MLflow server")],
)
def test_a_server_that_does_not_behave_is_refused(server: str, behaviour: str, words: str) -> None:
    assert words in refusal(f"http://{server}/{behaviour}", timeout=0.5)


def test_nobody_listening_is_refused(server: str) -> None:
    assert "does not answer" in refusal("http://127.0.0.1:9")


def test_a_folder_where_nothing_can_be_made_is_refused_to_root_too() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    with pytest.raises(UserError, match="cannot be written"):
        check("sqlite:////proc/nowhere/mlflow.db")
