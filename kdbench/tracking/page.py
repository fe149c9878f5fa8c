"""MLflow's page on a project's store: `kdbench ui`."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from kdbench.home import Home
from kdbench.tracking.uri import artifact_root, check, is_database, masked, sqlite_path


def ui(uri: str, *, home: Home, port: int | None = None) -> int:
    """Serve MLflow's page for the store at `uri` until interrupted, on this machine only.

    Prints its address. A tracking server has its own page: that address is printed instead. Returns an exit
    code. Raises UserError where there is no such store.
    """
    check(uri)
    if not is_database(uri):
        print(f"MLflow: {masked(uri)}", flush=True)
        return 0
    chosen = port or free_port()
    print(f"MLflow: http://127.0.0.1:{chosen}  (Ctrl-C ends it)", flush=True)
    print('If it opens on prompts and traces: "Model training" is at the top left.', flush=True)
    server = subprocess.Popen(
        server_command(uri, artifact_root(uri, home), chosen),
        env={"MLFLOW_DISABLE_TELEMETRY": "true", **os.environ, "MLFLOW_BACKEND_STORE_URI": uri},
    )
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.wait()
        return 0


def server_command(uri: str, artifacts: Path | None, port: int) -> list[str]:
    """`mlflow server` on a database; its URI goes through the environment, out of sight of `ps`."""
    path = sqlite_path(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--artifacts-destination", artifacts.as_uri() if artifacts else "./mlartifacts"),
    ]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
