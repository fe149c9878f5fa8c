"""What the numbers allow to be said, in words: verdicts, and warnings where a conclusion has no support."""

from collections.abc import Iterator

from kdbench.report.leaderboard import ALPHA, BASELINES, MINIMUM, Leaderboard
from kdbench.report.plans import Plans
from kdbench.report.tables import percent

COVERS = (
    "Intervals and tests cover initialisation and the order of the data (the seeds). They do not cover other splits,"
    " other subsets of the data, other teachers or another search: there was one of each."
)


def verdict(board: Leaderboard) -> str:
    """Two sentences: who leads and whom the tests separate from it; who is better than the baseline."""
    if not len(board.table) or board.table["n"].sum() == 0:
        return "No final run has a result yet. Nothing can be said."
    return f"{_leaders(board)} {_against_baseline(board)}"


def _leaders(board: Leaderboard) -> str:
    tested = board.tested
    if not board.leading:
        first = board.table.iloc[0]
        return (
            f"{first['method']} has the highest mean test accuracy ({percent(first['test_accuracy_mean'])} %), but no"
            f" method has all its planned final runs and at least {MINIMUM} of them, so no one leads."
        )
    leader, *others = board.leading
    row = tested[tested["method"] == leader].iloc[0]
    begin = f"{leader} has the highest mean test accuracy ({percent(row['test_accuracy_mean'])} %, n = {row['n']})"
    if len(tested) == 1:
        return f"{begin}; there is no other method to test it against."
    if not others:
        return (
            f"{begin} and leads alone: Welch's test separates it from each of the {len(tested) - 1} others."
        )
    if len(board.leading) == len(tested):
        return f"{begin}, but the tests separate it from none of the {len(others)} others: all of them lead."
    rest = f"the leading group is these {len(board.leading)} of {len(tested)}"
    return f"{begin}, but the tests do not separate it from {listed(others)}: {rest}."


def _against_baseline(board: Leaderboard) -> str:
    baseline = BASELINES[0]
    compared = board.table.dropna(subset="p_adjusted")
    if compared.empty:
        why = (
            "is not among the methods"
            if baseline not in set(board.table["label"])
            else "could not be tested against"
        )
        return f"Nothing is said of gains: {baseline} {why}."
    better = compared[(compared["p_adjusted"] < ALPHA) & (compared["gain_original"] > 0)]["method"]
    worse = compared[(compared["p_adjusted"] < ALPHA) & (compared["gain_original"] < 0)]["method"]
    if not len(better) and not len(worse):
        return (
            f"No difference from the tuned {baseline} is significant at {ALPHA:.0%} (Welch, Holm over"
            f" {len(compared)}); that is no evidence of equality."
        )
    parts = [
        f"{listed(list(names))} {verb}"
        for names, verb in ((better, "better"), (worse, "worse"))
        if len(names)
    ]
    return f"Against the tuned {baseline}, {' and '.join(parts)} at {ALPHA:.0%} (Welch, Holm over {len(compared)})."


def listed(names: list[str], most: int = 6) -> str:
    """`a, b and c`; long lists end in `and 5 more`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def warnings(board: Leaderboard, plans: Plans) -> Iterator[str]:
    """Why a reader should be careful with this leaderboard."""
    table = board.table
    partial = table[table["partial"]]["method"].tolist()
    if partial:
        yield f"Partial: the search of {listed(partial)} is still running or unfinished."
    missing = table[table["n"] < table["planned"]]
    if len(missing):
        words = [f"{row.method} ({row.n}/{row.planned})" for row in missing.itertuples()]
        yield f"Final runs are missing: {listed(words)}. These rows are not tested and cannot lead."
    few = table[(table["n"] < MINIMUM) & (table["n"] >= table["planned"]) & (table["n"] > 0)][
        "method"
    ].tolist()
    if few:
        yield f"Fewer than {MINIMUM} seeds: {listed(few)}. Not tested; an interval over two seeds says little."
    failed = table[table["trials_failed"] > 0]
    if len(failed):
        words = [f"{row.method} {row.trials_failed}/{row.trials}" for row in failed.itertuples()]
        yield f"Trials diverged or failed: {listed(words)}. They count as spent budget."
    broken = table[table["finals_failed"] > 0]
    if len(broken):
        words = [f"{row.method} ({row.finals_failed})" for row in broken.itertuples()]
        yield f"Final runs diverged or failed: {listed(words)}."
    budgets = table.loc[~table["partial"], "trials"]
    if budgets.nunique() > 1:
        yield f"Unequal budgets: between {budgets.min()} and {budgets.max()} trials per method."
    yield from _provenance(board, plans)
    if len(board.leading) > 1:
        yield "The order within the leading group is not supported by the tests."


def _provenance(board: Leaderboard, plans: Plans) -> Iterator[str]:
    table = board.table
    commits = sorted({commit for text in table["commit"] for commit in text.split()})
    if len(commits) > 1:
        yield f"Results come from {len(commits)} commits of kdbench: {listed(commits)}."
    if any(commit.endswith("-dirty") for commit in commits):
        yield "Some results come from a checkout with uncommitted changes."
    devices = sorted({device for devices in table["devices"] for device in devices})
    if len(devices) > 1:
        yield f"Results come from different devices ({listed(devices)}): times are not comparable."
    unknown = sorted(set(table["suite"]) & set(plans.missing))
    if unknown:
        yield (
            f"The plan of {listed(unknown)} could not be read: planned numbers are taken from the method with the most"
            " runs."
        )
