import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from kdbench import seeds
from kdbench.report import statistics

A, B = [0.95, 0.97, 0.96], [0.90, 0.91, 0.95, 0.92]


def test_mean_interval_is_hand_computed() -> None:
    # mean 2, s = 1, n = 3: half width 4.302653 / sqrt(3)
    low, high = statistics.mean_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    assert all(map(math.isnan, statistics.mean_interval([0.5])))
    assert statistics.mean_interval([0.5, 0.5]) == (0.5, 0.5)


def test_mean_interval_covers() -> None:
    # 4,000 samples: the standard error of a coverage of 95 % is 0.34 %, so 2 % is nearly six of them.
    generator = np.random.default_rng(seeds.derive(0, "coverage"))
    samples = generator.normal(0.9, 0.01, size=(4000, 5))
    hits = [low <= 0.9 <= high for low, high in map(statistics.mean_interval, samples)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_welch_interval_covers_with_unequal_variances_and_sizes() -> None:
    generator = np.random.default_rng(seeds.derive(0, "welch coverage"))
    pairs = zip(generator.normal(0.92, 0.01, (4000, 5)), generator.normal(0.9, 0.002, (4000, 4)), strict=True)
    hits = [low <= 0.02 <= high for low, high in (statistics.welch(a, b).interval for a, b in pairs)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_welch_agrees_with_scipy() -> None:
    ours = statistics.welch(A, B)
    theirs = stats.ttest_ind(A, B, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert ours.difference == pytest.approx(0.04)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.interval == pytest.approx((interval.low, interval.high))


def test_welch_without_enough_to_test() -> None:
    single = statistics.welch([0.9], B)
    assert single.difference == pytest.approx(0.9 - np.mean(B))
    assert math.isnan(single.p) and all(map(math.isnan, single.interval))
    equal = statistics.welch([0.9, 0.9], [0.8, 0.8])
    assert math.isnan(equal.p) and equal.interval == pytest.approx((0.1, 0.1))


def test_holm_is_hand_computed_and_leaves_out_what_was_not_tested() -> None:
    adjusted = statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": math.nan})
    # 3 x 0.01; max(that, 2 x 0.03); max(that, 0.04)
    assert [adjusted[name] for name in "abc"] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(adjusted["d"])
    assert statistics.holm({}) == {}


def test_holm_agrees_with_statsmodels() -> None:
    p = np.random.default_rng(2).uniform(0, 0.2, 12)
    ours = statistics.holm({str(index): value for index, value in enumerate(p)})
    assert list(ours.values()) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_probability_of_improvement_counts_pairs() -> None:
    assert statistics.probability_of_improvement([2, 3], [1, 2]) == pytest.approx(3.5 / 4)
    u = stats.mannwhitneyu(A, B).statistic
    assert statistics.probability_of_improvement(A, B) == pytest.approx(u / 12)
    assert math.isnan(statistics.probability_of_improvement([], B))


def test_leading_group() -> None:
    samples = {
        "far": [0.5, 0.51, 0.52],
        "best": [0.95, 0.96, 0.97],
        "near": [0.945, 0.955, 0.965],
        "two": [0.99, 0.99],
    }
    assert statistics.leading_group(samples) == ["best", "near"]
    assert statistics.leading_group({"two": [0.99, 0.99]}) == []
    # Equal scores without variance: nothing separates them, and names break the tie.
    assert statistics.leading_group({"b": [0.9] * 3, "a": [0.9] * 3}) == ["a", "b"]


def test_interquartile_mean() -> None:
    values = np.arange(1.0, 9.0)
    assert statistics.interquartile_mean(values) == pytest.approx(4.5)
    assert statistics.interquartile_mean([[0, 1, 2, 100]]) == pytest.approx(1.5)
    gain = statistics.gain_interquartile_mean([[2.0, 4.0], [3.0, 5.0]], [[1.0, 1.0], [0.0, 2.0]])
    assert gain == pytest.approx(np.mean([2.0, 3.0]))  # gains 1, 3, 2, 4


def test_bootstrap_is_seeded_and_covers_the_estimate() -> None:
    generator = np.random.default_rng(1)
    method = [generator.normal(0.93, 0.01, 5) for _ in range(4)]
    baseline = [generator.normal(0.9, 0.01, 5) for _ in range(4)]
    first = statistics.bootstrap_interquartile_gain(method, baseline, seed=3)
    assert first == statistics.bootstrap_interquartile_gain(method, baseline, seed=3)
    assert first != statistics.bootstrap_interquartile_gain(method, baseline, seed=4)
    assert first[0] < statistics.gain_interquartile_mean(method, baseline) < first[1]
    # A shift of the baseline shifts the gain: the baseline is resampled in its own block.
    moved = statistics.bootstrap_interquartile_gain(method, [b - 0.1 for b in baseline], seed=3)
    assert moved == pytest.approx((first[0] + 0.1, first[1] + 0.1))
    assert all(map(math.isnan, statistics.bootstrap_interquartile_gain([[0.9]], [[0.8, 0.9]], seed=0)))


@pytest.mark.parametrize(("blocks", "count"), [(2, 3), (5, 3), (5, 5)])
def test_bootstrap_interval_covers(blocks: int, count: int) -> None:
    # 2,000 samples: the standard error of the coverage is 0.5 %.
    generator = np.random.default_rng(seeds.derive(0, "bootstrap coverage", blocks, count))
    hits = []
    for number in range(2000):
        method, baseline = (
            generator.normal(0.02, 0.01, (blocks, count)),
            generator.normal(0, 0.01, (blocks, count)),
        )
        low, high = statistics.bootstrap_interquartile_gain(method, baseline, number, repetitions=400)
        hits.append(low <= 0.02 <= high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_equal_accuracies_are_a_tie() -> None:
    a, b = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert np.mean(a) != np.mean(b)  # the noise of adding floats
    assert statistics.mean(a) == statistics.mean(b) == 0.2
    assert math.isnan(statistics.mean([]))


@pytest.mark.parametrize("values", [[0.7], [0.3, 0.9, 0.0, 0.0, 0.5], [0.2, 0.2, 0.8, 0.1, 0.6, 0.0]])
def test_expected_best_is_the_mean_over_all_draws(values: list[float]) -> None:
    expected = [
        np.mean([max(draw) for draw in itertools.combinations(values, k)]) for k in range(1, len(values) + 1)
    ]
    assert statistics.expected_best(values) == pytest.approx(expected)
    assert statistics.expected_best([]).shape == (0,)


def test_expected_best_is_unbiased_for_independent_draws() -> None:
    # The expected maximum of k uniform draws is k / (k + 1). 2,000 repetitions: standard errors below 0.005.
    generator = np.random.default_rng(seeds.derive(0, "expected best"))
    means = np.mean([statistics.expected_best(generator.uniform(size=6)) for _ in range(2000)], axis=0)
    assert means == pytest.approx([k / (k + 1) for k in range(1, 7)], abs=0.02)


def test_crossings() -> None:
    assert statistics.crossings([1, 2, 5, 6], [2, 3, 4, 7]) == [3, 4]
    assert statistics.crossings([1, 2, 2], [1, 2, 3]) == []  # equal, then behind: nothing was crossed
    assert statistics.crossings([1, 1, 3], [2, 1, 1]) == [3]


def test_area_under_curve() -> None:
    assert statistics.area_under_curve([1.0, 0.2, 0.6], [0.9, 0.5, 0.8]) == pytest.approx(
        (0.4 * 0.65 + 0.4 * 0.85) / 0.8
    )
    assert math.isnan(statistics.area_under_curve([1.0], [0.9]))


def test_kendall_tau() -> None:
    assert statistics.kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert statistics.kendall_tau([1, 2, 3, math.nan], [3, 2, 1, 5]) == pytest.approx(-1)
    assert math.isnan(statistics.kendall_tau([1, 1, 1], [1, 2, 3]))


def test_pareto_front() -> None:
    cost, value = [3, 1, 2, 2, 4, math.nan], [0.9, 0.5, 0.8, 0.7, 0.9, 1.0]
    assert statistics.pareto_front(cost, value) == [1, 2, 0]


def matrix(blocks: int, methods: int) -> pd.DataFrame:
    generator = np.random.default_rng(5)
    values = generator.normal(0.9, 0.01, (blocks, methods)) + np.linspace(0, 0.03, methods)
    return pd.DataFrame(values, columns=[f"m{i}" for i in range(methods)])


def test_friedman_needs_five_blocks_and_three_methods() -> None:
    assert statistics.friedman_nemenyi(matrix(4, 3)) is None
    assert statistics.friedman_nemenyi(matrix(5, 2)) is None
    scores = matrix(6, 4)
    found = statistics.friedman_nemenyi(scores)
    assert found is not None
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.to_numpy().T).pvalue)
    assert found.ranks.to_dict() == pytest.approx(scores.rank(axis=1, ascending=False).mean().to_dict())
    assert statistics.friedman_nemenyi(scores * 0 + 0.9).p == 1.0


@pytest.mark.slow
def test_ranks_agree_with_autorank() -> None:
    from autorank import autorank  # imports for half a minute

    scores = matrix(8, 5)
    theirs = autorank(scores, alpha=0.05, verbose=False, force_mode="nonparametric", order="descending")
    ours = statistics.friedman_nemenyi(scores)
    assert ours is not None
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.ranks[theirs.rankdf.index].tolist() == pytest.approx(theirs.rankdf["meanrank"].tolist())
    apart = (theirs.rankdf["meanrank"].to_numpy()[:, None] - theirs.rankdf["meanrank"].to_numpy()) > theirs.cd
    pairwise = ours.pairwise.loc[theirs.rankdf.index, theirs.rankdf.index].to_numpy() < 0.05
    assert np.array_equal(apart | apart.T, pairwise)
