"""What the numbers allow to be said, in words: verdicts, and warnings where a conclusion has no support."""

from collections.abc import Iterator, Sequence

from kdbench.report.frames import records
from kdbench.report.leaderboard import ALPHA, BASELINES, MINIMUM, Leaderboard, devices
from kdbench.report.plans import Plans
from kdbench.report.tables import percent

COVERS = (
    "Intervals and tests cover initialisation and the order of the data (the seeds). They do not cover other"
    " splits, other subsets of the data, other teachers or another search: there was one of each."
)
LEVEL = f"{100 * ALPHA:g} %"


def verdict(board: Leaderboard) -> str:
    """Two sentences: who leads and whom the tests separate from it; who is better than the baseline."""
    if board.table["n"].sum() == 0:
        return "No final run has a result yet. Nothing can be said."
    return f"{_leaders(board)} {_against_baseline(board)}"


def _leaders(board: Leaderboard) -> str:
    if not board.leading:
        first = board.table.iloc[0]
        return (
            f"{first['method']} has the highest mean test accuracy"
            f" ({percent(first['test_accuracy_mean'])} %, n = {first['n']}), but none leads: no method has"
            f" all its planned final runs and at least {MINIMUM} of them."
        )
    tested = board.tested
    leader, *others = board.leading
    row = tested[tested["method"] == leader].iloc[0]
    mean = percent(row["test_accuracy_mean"])
    best = tested.loc[tested["test_accuracy_mean"] == row["test_accuracy_mean"], "method"].tolist()
    begin = f"{listed(best)} {_have(best)} the highest mean test accuracy ({mean} %, n = {row['n']})"
    it = "it" if len(best) == 1 else leader
    if len(tested) == 1:
        which = "" if len(board.table) == 1 else " that is complete"
        return f"{begin}; there is no other{which} to test it against."
    if len(tested) < len(board.table):
        begin += f" of the {len(tested)} methods that are complete"
    if not others:
        rest = "the other" if len(tested) == 2 else f"each of the {len(tested) - 1} others"
        return f"{begin} and leads alone: Welch's test separates it from {rest}."
    if len(board.leading) == len(tested):
        return (
            f"{begin}, but the tests separate {it} from none of the others: the leading group is all of them."
        )
    group = f"the leading group is these {len(board.leading)} of {len(tested)}"
    return f"{begin}, but the tests do not separate {it} from {listed(others)}: {group}."


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "share"


def _against_baseline(board: Leaderboard) -> str:
    baseline = BASELINES[0]
    compared = board.table.dropna(subset="p_adjusted")
    if compared.empty:
        if baseline not in set(board.table["label"]):
            return f"Nothing is said of gains: {baseline} is not among the methods."
        return f"Nothing is said of gains: no method could be tested against {baseline}."
    test = f"at {LEVEL} (Welch, Holm over {len(compared)})"
    significant = compared[compared["p_adjusted"] < ALPHA]
    better = significant.loc[significant["gain_original"] > 0, "method"].tolist()
    worse = significant.loc[significant["gain_original"] < 0, "method"].tolist()
    if not better and not worse:
        return (
            f"None differs significantly from the tuned {baseline} {test}; that is no evidence of equality."
        )
    parts = [
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} {word} than the tuned {baseline}"
        for names, word in ((better, "better"), (worse, "worse"))
        if names
    ]
    return f"{'; '.join(parts)} {test}."


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; long lists end in `and 5 more`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def warnings(board: Leaderboard, plans: Plans) -> Iterator[str]:
    """Why a reader should be careful with this leaderboard."""
    table = board.table
    partial = table.loc[table["partial"], "method"].tolist()
    if partial:
        yield f"Partial: the search or the final runs of {listed(partial)} are still running or unfinished."
    missing = [
        f"{row['method']} ({row['n']}/{row['planned']})"
        for row in records(table)
        if row["n"] < row["planned"]
    ]
    if missing:
        yield f"Final runs are missing: {listed(missing)}. These rows are not tested and cannot lead."
    whole = table[table["n"].ge(table["planned"]) & table["n"].gt(0)]
    few = whole.loc[whole["n"] < MINIMUM, "method"].tolist()
    if few:
        yield f"Fewer than {MINIMUM} seeds: {listed(few)}. Not tested; intervals are wide or absent."
    failed = [
        f"{row['method']} {row['trials_failed']}/{row['trials']}"
        for row in records(table)
        if row["trials_failed"]
    ]
    if failed:
        yield f"Trials diverged or failed: {listed(failed)}. They count as spent budget."
    broken = [f"{row['method']} ({row['finals_failed']})" for row in records(table) if row["finals_failed"]]
    if broken:
        yield f"Final runs diverged or failed: {listed(broken)}."
    budgets = table.loc[~table["partial"], "trials"]
    if budgets.nunique() > 1:
        yield f"Unequal budgets: between {budgets.min()} and {budgets.max()} trials per method."
    same = table.loc[table["config"] == "tuned,default", "method"].tolist()
    if same:
        yield f"The search found nothing better than the default configuration of {listed(same)}."
    yield from _provenance(board, plans)
    if len(board.leading) > 1:
        yield "The order within the leading group is not supported: only its first was tested against others."


def _provenance(board: Leaderboard, plans: Plans) -> Iterator[str]:
    table = board.table
    commits = sorted({commit for text in table["commit"] for commit in text.split()})
    if len(commits) > 1:
        yield f"Trials and final runs come from {len(commits)} commits of kdbench: {listed(commits)}."
    if any(commit.endswith("-dirty") for commit in commits):
        yield "Some results come from a checkout with changes that were not committed."
    used = devices(device for names in table["devices"] for device in names)
    if len(used) > 1:
        yield f"Results come from different devices ({listed(used)}): times are not comparable."
    unknown = sorted(set(table["suite"]) & set(plans.missing))
    if unknown:
        yield (
            f"The plan of {listed(unknown)} could not be read: planned numbers are those of the method"
            " with the"
            " most runs."
        )
