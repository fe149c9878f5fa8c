"""The report's statistics: small pure functions of plain arrays, axes stated.

Samples are 1-d arrays over seeds. A score matrix is a list with one 1-d array (over seeds) per block; a
block is one (dataset, protocol, pair). Intervals are (low, high), NaN where the sample does not allow one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, nan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Interval = tuple[float, float]
Samples = NDArray[np.float64]
NONE: Interval = (nan, nan)


def mean_interval(sample: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean; NaN for fewer than two values."""
    values = np.asarray(sample, dtype=float)
    if values.size < 2:
        return NONE
    half = stats.t.ppf((1 + confidence) / 2, values.size - 1) * sqrt(_variance(values) / values.size)
    return float(values.mean() - half), float(values.mean() + half)


@dataclass(frozen=True)
class Welch:
    """Difference of two means without the assumption of equal variances."""

    difference: float  # mean(a) - mean(b)
    interval: Interval  # 95 %; NaN where either side has fewer than two values
    p: float  # two-sided; NaN where a side has fewer than two values or both variances are zero


def welch(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Welch:
    """Welch's interval and test of mean(a) - mean(b) (Welch 1947)."""
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    difference = float(first.mean() - second.mean()) if first.size and second.size else nan
    if min(first.size, second.size) < 2:
        return Welch(difference, NONE, nan)
    errors = _variance(first) / first.size, _variance(second) / second.size
    if sum(errors) == 0:
        return Welch(difference, (difference, difference), nan)
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (first.size - 1) + errors[1] ** 2 / (second.size - 1))
    error = sqrt(sum(errors))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom) * error)
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Welch(difference, (difference - half, difference + half), p)


def _variance(values: Samples) -> float:
    """Sample variance; exactly 0 for equal values, which rounding of their mean would hide."""
    return float(values.var(ddof=1)) if np.ptp(values) else 0.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment over the finite p-values; a NaN stays NaN and is not of the family."""
    adjusted = dict.fromkeys(p_values, nan)
    ordered = sorted((name for name, p in p_values.items() if np.isfinite(p)), key=p_values.__getitem__)
    highest = 0.0  # an adjusted p-value is never below that of a smaller one
    for index, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - index) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """P(a > b) over all pairs of values, ties counted one half (the Mann-Whitney U over its maximum)."""
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not first.size or not second.size:
        return nan
    return float((np.sign(first[:, None] - second[None, :]) + 1).mean() / 2)


def mean(sample: ArrayLike) -> float:
    """The mean without the noise of adding floats, so that equal accuracies are a tie; nan of nothing."""
    values = np.asarray(sample, dtype=float)
    return round(float(values.mean()), 12) if values.size else nan


def leading_group(samples: Mapping[str, ArrayLike], alpha: float = 0.05, minimum: int = 3) -> list[str]:
    """The highest mean and all that Welch's test against it (Holm) does not separate; highest mean first.

    Only samples of at least `minimum` values take part. A comparison that cannot be tested (both variances
    zero) separates nothing.
    """
    means = {name: mean(s) for name, s in samples.items() if np.size(s) >= minimum}
    ordered = sorted(means, key=lambda name: (-means[name], name))
    if not ordered:
        return []
    leader, *others = ordered
    adjusted = holm({name: welch(samples[leader], samples[name]).p for name in others})
    return [leader, *(name for name in others if not adjusted[name] < alpha)]


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all values, whatever their axes (25 % cut off at both ends)."""
    return float(stats.trim_mean(np.ravel(np.asarray(scores, dtype=float)), 0.25))


def gain_interquartile_mean(method: Sequence[ArrayLike], baseline: Sequence[ArrayLike]) -> float:
    """Interquartile mean, over all seeds of all blocks, of value - mean of the baseline in the same block."""
    gains = [
        np.asarray(a, float) - np.asarray(b, float).mean() for a, b in zip(method, baseline, strict=True)
    ]
    return interquartile_mean(np.concatenate(gains))


def bootstrap_interquartile_gain(
    method: Sequence[ArrayLike],
    baseline: Sequence[ArrayLike],
    seed: int,
    *,
    repetitions: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of `gain_interquartile_mean` under a stratified bootstrap.

    Within every block the seeds of the method and of the baseline are drawn again, independently (rliable
    resamples runs within tasks; here the baseline is uncertain too). The variance that a bootstrap of n
    values finds is too small by a factor of (n - 1) / n, two thirds for three seeds: deviations are stretched
    by sqrt(n / (n - 1)).
    NaN where any block has fewer than two seeds on a side.
    """
    if min(np.size(sample) for sample in (*method, *baseline)) < 2:
        return NONE
    generator = np.random.default_rng(seed)
    gains = [
        _resample(a, generator, repetitions)
        - _resample(b, generator, repetitions).mean(axis=1, keepdims=True)
        for a, b in zip(method, baseline, strict=True)
    ]
    values = stats.trim_mean(np.concatenate(gains, axis=1), 0.25, axis=1)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _resample(sample: ArrayLike, generator: np.random.Generator, repetitions: int) -> Samples:
    values: Samples = np.asarray(sample, dtype=float)
    values = values.mean() + (values - values.mean()) * sqrt(values.size / (values.size - 1))
    return values[generator.integers(values.size, size=(repetitions, values.size))]


def expected_best(values: ArrayLike) -> Samples:
    """Expected maximum of k of the N values drawn without replacement, for k = 1 … N (axis 0: k - 1).

    The U-statistic sum_i v_(i) C(i-1, k-1) / C(N, k) over the sorted values: unbiased for the expected best
    of k
    independent draws from what made the values, which holds for random search without early stopping only.
    Pass 0 for a trial that gave no student (pruned, diverged, failed): lower than any complete one.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    count = ordered.size
    weights = [[comb(i, k - 1) / comb(count, k) for i in range(count)] for k in range(1, count + 1)]
    expected: Samples = np.asarray(weights, dtype=float).reshape(count, count) @ ordered
    return expected


def crossings(a: ArrayLike, b: ArrayLike) -> list[int]:
    """Numbers of trials k (from 1) at which curve `a` is first on the other side of `b` than before."""
    length = min(np.size(a), np.size(b))
    signs = np.sign(np.round(np.asarray(a, dtype=float)[:length] - np.asarray(b, dtype=float)[:length], 12))
    crossed, side = [], 0.0
    for k, sign in enumerate(signs, start=1):
        if sign and side and sign != side:
            crossed.append(k)
        side = sign or side
    return crossed


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """Trapezoid area over the fractions divided by their span: a mean accuracy; NaN below two points."""
    x, y = np.asarray(fractions, dtype=float), np.asarray(values, dtype=float)
    if x.size < 2:
        return nan
    order = np.argsort(x)
    return float(np.trapezoid(y[order], x[order]) / (x.max() - x.min()))


def kendall_tau(early: ArrayLike, final: ArrayLike) -> float:
    """Kendall's tau-b of two orders of the same trials; NaN below three trials or for constant values."""
    a, b = np.asarray(early, dtype=float), np.asarray(final, dtype=float)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return nan
    return float(stats.kendalltau(a, b).statistic)


def pareto_front(cost: ArrayLike, value: ArrayLike) -> list[int]:
    """Indices of the points that no other beats (cost not higher, value not lower, one of them better)."""
    costs, values = np.asarray(cost, dtype=float), np.asarray(value, dtype=float)
    finite = np.flatnonzero(np.isfinite(costs) & np.isfinite(values))
    front = [
        int(i)
        for i in finite
        if not np.any(
            (costs[finite] <= costs[i])
            & (values[finite] >= values[i])
            & ((costs[finite] < costs[i]) | (values[finite] > values[i]))
        )
    ]
    return sorted(front, key=lambda i: (costs[i], values[i]))


@dataclass(frozen=True)
class RankTest:
    """Friedman's test over blocks and Nemenyi's comparison of all pairs of methods."""

    p: float  # Friedman's
    ranks: pd.Series  # mean rank of each method, 1 = highest
    pairwise: pd.DataFrame  # Nemenyi's p, methods x methods
    blocks: int


def friedman_nemenyi(scores: pd.DataFrame) -> RankTest | None:
    """Ranks over a (blocks x methods) frame of means; None below 5 blocks or 3 methods (Demsar 2006)."""
    if scores.shape[0] < 5 or scores.shape[1] < 3:
        return None
    from scikit_posthocs import posthoc_nemenyi_friedman  # a second, with statsmodels

    ranks = scores.rank(axis=1, ascending=False).mean()
    differ = bool(np.ptp(scores.to_numpy(), axis=1).any())
    p = float(stats.friedmanchisquare(*scores.to_numpy().T).pvalue) if differ else 1.0
    pairwise = posthoc_nemenyi_friedman(scores.to_numpy())
    pairwise = pairwise.set_axis(scores.columns, axis=0).set_axis(scores.columns, axis=1)
    return RankTest(p, ranks, pairwise, len(scores))
