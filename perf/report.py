"""How long a report of 5,000 runs x 10 epochs takes, and how much memory.

    python perf/report.py [--runs 5000] [--keep FOLDER]

Fills a SQLite store with synthetic runs (16 methods, 2 pairs, 5 fractions, 5 seeds, the rest trials) and
makes the report in a fresh process, so that imports and memory count. Prints time, memory, what was written.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHILD = """
import sys
from pathlib import Path
from kdbench import report
report.make(["synthetic"], uri=sys.argv[1], out=Path(sys.argv[2]))
"""


def fill(folder: Path, runs: int) -> tuple[str, int]:
    sys.path.insert(0, str(ROOT / "tests" / "report"))
    import report_store

    methods = ("original", "hinton", *(f"method-{index}" for index in range(14)))
    setting = report_store.Setting(
        pairs=("resnet14->resnet8w4", "resnet26->resnet8"),
        methods=methods,
        fractions=(1.0, 0.8, 0.6, 0.4, 0.2),
        trials=round(runs / 32) - 30,
        seeds=5,
        epochs=10,
        extras=True,
    )
    made = report_store.runs(setting)
    (folder / "empty").mkdir()
    empty = report_store.new_database(folder / "empty")
    plans = {"synthetic": report_store.plan(setting)}
    return report_store.insert(made, empty, folder, plans), len(made)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument(
        "--keep", type=Path, help="folder for the store and the report; default: a temporary one"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "store").mkdir()
        uri, count = fill(folder / "store", arguments.runs)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", CHILD, uri, str(folder / "report")], check=True)
        seconds = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "report" / "index.html").stat().st_size
        figures = len(list((folder / "report" / "figures").glob("*.svg")))
    print(f"runs {count}, epochs 10, figures {figures}, page {page / 1e6:.1f} MB")
    print(f"wall {seconds:.1f} s, CPU {usage.ru_utime + usage.ru_stime:.1f} s (target 20 s)")
    print(f"peak memory {usage.ru_maxrss / 1024**2:.2f} GiB (target 1 GiB)")


if __name__ == "__main__":
    main()
