"""State that lives in an object store, and what a machine has of it on its own disk."""

import logging
import posixpath
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
from pyarrow import fs

from kdbench.atomic import replacing
from kdbench.errors import UserError, mistake
from kdbench.home import Home

_log = logging.getLogger(__name__)

_PAUSES_S = (1.0, 5.0, 25.0)  # before a transfer that failed is tried again
_TRANSFERS = 16  # at once: most are small files, for which an object store takes a tenth of a second each


class Mirror:
    """Copies files between a URI and a state directory of equal layout. Hidden files are partial: left
    alone.
    """

    def __init__(self, uri: str, home: Home):
        """`uri` is anything that pyarrow or fsspec opens: s3://bucket/prefix, gs://…, abfs://…, hdfs://…"""
        self._remote, self._root = open_uri(uri)
        self.home = home

    def pull(self, folder: str, names: Iterable[str] | None = None) -> None:
        """Fetch the files of `folder`, or those of them named, that are not here or have changed there."""
        wanted = None if names is None else set(names)
        found = [info for info in self._list(folder) if wanted is None or info.base_name in wanted]
        (self.home.root / folder).mkdir(parents=True, exist_ok=True)
        _each(lambda info: self._fetch(info, self.home.root / folder / info.base_name), found)

    def push(self, folder: str, names: Iterable[str] | None = None) -> None:
        """Store the files of `folder`, or those of them named, that are here."""
        files = _files(self.home.root / folder)
        wanted = {path.name for path in files} if names is None else set(names)
        _each(lambda path: self._store(path, folder), [path for path in files if path.name in wanted])

    def push_missing(self, folder: str) -> None:
        """Store the files of `folder` that are only here."""
        there = {info.base_name for info in self._list(folder)}
        self.push(folder, [path.name for path in _files(self.home.root / folder) if path.name not in there])

    def has(self, folder: str, name: str) -> bool:
        """Whether a file is there."""
        return bool(self._remote.get_file_info(self._path(folder, name)).type == fs.FileType.File)

    def remove(self, folder: str) -> None:
        """Remove a folder there and here."""
        if self._remote.get_file_info(self._path(folder)).type == fs.FileType.Directory:
            self._remote.delete_dir(self._path(folder))
        shutil.rmtree(self.home.root / folder, ignore_errors=True)

    def _list(self, folder: str) -> list[Any]:
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        return [info for info in self._remote.get_file_info(selector) if info.type == fs.FileType.File]

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _fetch(self, info: Any, path: Path) -> None:
        if path.exists():
            here = path.stat()
            if here.st_size == info.size and here.st_mtime_ns >= (info.mtime_ns or 0):
                return
        with self._remote.open_input_stream(info.path) as source, replacing(path) as target:
            shutil.copyfileobj(source, target)

    def _store(self, path: Path, folder: str) -> None:
        self._remote.create_dir(self._path(folder), recursive=True)
        target = self._path(folder, path.name)
        with path.open("rb") as here, self._remote.open_output_stream(target) as there:
            shutil.copyfileobj(here, there)


def open_uri(uri: str) -> tuple[Any, str]:
    """The pyarrow file system and the path in it. Raises UserError for what neither pyarrow nor fsspec
    opens.
    """
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(uri)
        return found
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        pass  # not one of pyarrow's own
    except OSError as error:
        allowed = f"a bucket or folder that can be reached; {error}"
        raise UserError([mistake("storage", uri, allowed)]) from None
    try:
        system, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        allowed = f"null, a folder, or a URI that pyarrow or fsspec opens; {error}"
        raise UserError([mistake("storage", uri, allowed)]) from None
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.is_file() and not path.name.startswith(".")]


def _each(action: Callable[[Any], None], items: list[Any]) -> None:
    if len(items) == 1:
        _patiently(action, items[0])
    elif items:
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(pool.map(lambda item: _patiently(action, item), items))


def _patiently(action: Callable[[Any], None], item: Any) -> None:
    """Do it again where the store does not answer; the last failure is raised."""
    for pause in _PAUSES_S:
        try:
            return action(item)
        except OSError as problem:
            _log.warning("%s; once more in %s s", problem, pause)
            time.sleep(pause)
    return action(item)
