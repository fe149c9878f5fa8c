"""Where MLflow is: which store is meant, whether it answers, how its address is shown without its secrets."""

import base64
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from kdbench.errors import Mistake, UserError
from kdbench.home import Home, unusable

_USER_INFO = re.compile(r"""(?<=://)[^/@\s\"']+(?=@)""")
_SECRET_QUERY = re.compile(r"""(?i)((?:password|passwd|token|secret)=)[^&\s\"']+""")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def masked(text: str) -> str:
    """`text` with the credentials of every address in it replaced by `***`."""
    return _SECRET_QUERY.sub(r"\1***", _USER_INFO.sub("***", text))


def resolve(option: str | None, suite: str | None, home: Home) -> str:
    """The URI in force: the command line's, the suite's, `$MLFLOW_TRACKING_URI`, else SQLite in `home`."""
    return option or suite or os.environ.get("MLFLOW_TRACKING_URI") or home.mlflow_uri


def is_database(uri: str) -> bool:
    """Whether kdbench itself opens the store, without a server in between."""
    return urllib.parse.urlsplit(uri).scheme.split("+")[0] in DATABASES


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite store; None for another store."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def artifact_root(uri: str, home: Home) -> Path | None:
    """Where artifacts go when kdbench opens the database itself; None where a server decides."""
    if not is_database(uri):
        return None
    database = sqlite_path(uri)
    return home.artifacts if database is None else database.parent / home.artifacts.name


def check(uri: str, *, timeout: float = 5.0) -> None:
    """Raise UserError where nothing could be tracked at `uri`: a launch asks this before anything runs.

    MLflow itself is not imported (that takes seconds); `timeout` is in seconds.
    """
    scheme = urllib.parse.urlsplit(uri).scheme
    if scheme in ("http", "https"):
        trouble = _server_trouble(uri, timeout)
    elif is_database(uri):
        trouble = _database_trouble(uri, timeout)
    elif scheme.startswith("databricks") or uri == "databricks":
        trouble = ""  # asking needs Databricks' own client; the writer spools if it does not answer
    else:
        trouble = "MLflow keeps its runs in a database or behind a server"
    if trouble:
        allowed = (
            f"an MLflow server that answers (http://host:port) or a database (sqlite:///FILE); {trouble}"
        )
        raise UserError([Mistake(key="tracking", given=masked(uri), allowed=masked(allowed))])


def _server_trouble(uri: str, timeout: float) -> str:
    query = urllib.parse.urlencode({"max_results": 1})
    parts = urllib.parse.urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    address = parts._replace(netloc=host, path=parts.path.rstrip("/") + "/api/2.0/mlflow/experiments/search")
    request = urllib.request.Request(f"{address.geturl()}?{query}", headers=_authorization(parts))  # noqa: S310 - http only
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            answered = (
                b"experiments" in answer.read(1 << 20)
                or answer.headers.get_content_type() == "application/json"
            )
            return "" if answered else "what answers there is no MLflow server"
    except urllib.error.HTTPError as error:
        reason = {401: "it wants other credentials", 403: "it refuses these credentials or this host"}
        return f"it answered {error.code}: {reason.get(error.code, error.reason)}"
    except TimeoutError:
        return f"it did not answer within {timeout:g} s"
    except (OSError, ValueError, http.client.HTTPException) as error:  # refused, unknown host, broken answer
        return f"it does not answer: {getattr(error, 'reason', error)}"


def _authorization(parts: urllib.parse.SplitResult) -> dict[str, str]:
    """The credentials MLflow's own client would send: of the environment, else of the address."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or urllib.parse.unquote(parts.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or urllib.parse.unquote(parts.password or "")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _database_trouble(uri: str, timeout: float) -> str:
    import sqlalchemy

    path = sqlite_path(uri)
    if path is not None:
        folder = next(parent for parent in path.parents if parent.exists())
        if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
            return f"{path} cannot be written"
        if not path.exists():
            return f"{path} cannot be written" if unusable({"tracking": path.parent}) else ""
    arguments: dict[str, float] = {"timeout": timeout} if path else {"connect_timeout": int(timeout)}
    try:
        engine = sqlalchemy.create_engine(uri, connect_args=arguments)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1 FROM sqlite_master" if path else "SELECT 1"))
    except ModuleNotFoundError as error:
        return f"its driver is missing: pip install {error.name}"
    except sqlalchemy.exc.SQLAlchemyError as error:
        return f"it cannot be opened: {str(error).splitlines()[0]}"
    return ""
