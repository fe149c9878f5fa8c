"""The losses of knowledge distillation: pure functions of tensors.

Positional arguments are always (student…, teacher…). B is the batch, C the classes, c/h/w channels, height,
width; logits are raw. Every function

- takes float32, float64 or bfloat16 tensors on any device and computes in at least float32 (float64 stays
  float64), also under autocast; returns a 0-d tensor (`self_distillation` a dict of them);
- never sends a gradient to the teacher;
- goes through `torch.func.vmap` and `torch.func.grad`; hyperparameters may be 0-d tensors;
- raises ValueError where shapes or numbers of layers do not fit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kdbench import relations

Hyperparameter = float | Tensor

# Vectors with a smaller L2 norm are normalised to zero: the bound of torch.nn.functional.normalize.
EPSILON = 1e-12


def soft_target(student_logits: Tensor, teacher_logits: Tensor, temperature: Hyperparameter) -> Tensor:
    """`T² · KL(softmax(t/T) ‖ softmax(s/T))` of the softened predictions, in nats.

    Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2. Logits (B, C); temperature > 0. T² keeps the size
    of the gradients when T changes (section 2.1). In [0, ∞); 0 where the logits are equal up to a constant
    per sample. The paper writes the cross-entropy, which differs by the teacher's entropy and has the same
    gradient.
    """
    student, teacher = _alike(student_logits, teacher_logits)
    return temperature**2 * _divergence(student / temperature, teacher / temperature)


def hint(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean squared error over all elements of two features of one shape; in [0, ∞), 0 where they are equal.

    Romero et al. 2015 (FitNets), arXiv:1412.6550, equation 3; the regressor is applied before. The paper
    halves the squared norm of a sample; official and later code take this mean.
    """
    return functional.mse_loss(*_alike(student_feature, teacher_feature))


def attention(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], p: Hyperparameter = 2
) -> Tensor:
    """Squared difference of the normalised attention maps: mean over all elements, sum over the layers.

    Zagoruyko & Komodakis 2017, arXiv:1612.03928. Feature maps (B, c, h, w), channels free; p >= 1 is the
    power of the activations. Where sizes differ, the larger feature map is average-pooled to the smaller
    before its attention is taken. In [0, ∞). The paper sums over the elements of a map and weights by β/2,
    the authors' code takes this mean.
    """
    terms = []
    for student, teacher in _layers(student_features, teacher_features):
        ours, theirs = (_attention_map(feature, p) for feature in _same_size(student, teacher))
        terms.append((ours - theirs).square().mean())
    return torch.stack(terms).sum()


def fsp(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """Squared difference of the flow matrices `G_ij = (1/hw) Σ F1_i F2_j` of each pair of consecutive layers.

    Yim et al. 2017, "A Gift from Knowledge Distillation". At least two feature maps (B, c, h, w) each, first
    to last, with a student's channels equal to the teacher's in every layer (ValueError); the larger map of a
    pair is average-pooled to the smaller. Mean over the batch and both channel axes, summed over the pairs.
    In [0, ∞). The paper pools by maximum and sums over the matrix; later code, followed here, averages.
    """
    layers = _layers(student_features, teacher_features)
    if len(layers) < 2:
        raise ValueError(f"fsp needs at least two layers, given {len(layers)}")
    for index, (student, teacher) in enumerate(layers):
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f"fsp needs equal channels: layer {index} has {student.shape[1]} in the student and "
                f"{teacher.shape[1]} in the teacher"
            )
    terms = [
        (_flow(student, student_next) - _flow(teacher, teacher_next)).square().mean()
        for (student, teacher), (student_next, teacher_next) in zip(layers, layers[1:], strict=False)
    ]
    return torch.stack(terms).sum()


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth-L1 between the pairwise distances of two networks' embeddings, each in units of its mean.

    Park et al. 2019 (RKD), arXiv:1904.05068, equations 5 and 6. Embeddings (B, d), d free. Mean over the B×B
    matrix; the unit is the mean of the positive Euclidean distances. In [0, ∞); 0 where either network has no
    two different embeddings. The authors' code takes 1e-6 for the distance of equal embeddings, and counts
    it; here it is 0 and not counted.
    """
    return relations.distance_loss(*_pair(student, teacher))


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth-L1 between the cosines of the angles that all triples of embeddings span.

    Park et al. 2019 (RKD), arXiv:1904.05068, equations 7 and 8. Embeddings (B, d), d free. For each triple
    (i, j, k) the cosine at j between e_i − e_j and e_k − e_j, 0 where one of them is zero; mean over B³. In
    [0, 1.5]. Extra memory is bounded: a few B×B matrices and chunks of a few million elements.
    """
    return relations.angle_loss(*_pair(student, teacher))


def activation_boundary(
    student_preacts: Sequence[Tensor], teacher_preacts: Sequence[Tensor], margin: Hyperparameter = 1.0
) -> Tensor:
    """Squared hinge that pushes each student unit to the teacher's side of 0, by a margin.

    Heo et al. 2019 (AB), arXiv:1811.03233, equation 5. Responses before the ReLU, lists first to last layer,
    equal shapes (B, …). Per unit (s + m)² where s > −m and t <= 0, (s − m)² where s <= m and t > 0, else 0;
    summed over a layer, divided by B; layers weighted 1, 1/2, 1/4, … from the last to the first, and all by
    3/1000 as in the authors' code and RepDistiller. In [0, ∞).
    """
    pairs = list(zip(student_preacts, teacher_preacts, strict=True))
    terms = [
        0.5**depth * _hinge(*_alike(student, teacher), margin)
        for depth, (student, teacher) in enumerate(reversed(pairs))
    ]
    return torch.stack(terms).sum() * (3 / 1000)


def activation_agreement(student_preact: Tensor, teacher_preact: Tensor) -> Tensor:
    """Share of units that both networks have on the same side of 0 (active is > 0); in [0, 1], no gradient.

    1 − the activation transfer loss of Heo et al. 2019 (AB), arXiv:1811.03233, equation 2, averaged over the
    units. Responses before the ReLU, equal shapes (B, …).
    """
    student, teacher = _alike(student_preact, teacher_preact)
    return ((student > 0) == (teacher > 0)).to(student.dtype).mean()


def self_distillation(
    exit_logits: Sequence[Tensor],
    exit_features: Sequence[Tensor],
    labels: Tensor,
    alpha: Hyperparameter,
    lambda_: Hyperparameter,
    temperature: Hyperparameter,
) -> dict[str, Tensor]:
    """The terms by which a network with several exits learns from labels and from its own deepest exit.

    Zhang et al. 2019 (BYOT), arXiv:1905.08094. Deepest exit last: logits (B, C), pooled features (B, d),
    labels (B,). "label" is CE of the deepest exit + (1 − α) Σ CE of the others; "soft" is α T² Σ
    cross-entropy, not KL, to the deepest exit's softened prediction; "feature" is λ Σ ‖F_i − F_C‖², a sum
    over elements and mean over the batch; "total" their sum. The deepest exit is detached where it teaches.
    alpha in [0, 1], lambda_ >= 0, temperature > 0; cross-entropies in nats, means over the batch. The
    third-party code has (1 − α) CE for the deepest exit too; the paper, followed here, has CE.
    """
    *shallow, deepest = (_precise(logits) for logits in exit_logits)
    *shallow_features, deepest_feature = (_precise(feature) for feature in exit_features)
    zero = deepest.new_zeros(())
    target = functional.softmax(deepest.detach() / temperature, dim=1)
    label = functional.cross_entropy(deepest, labels)
    soft = feature = zero
    for logits, vector in zip(shallow, shallow_features, strict=True):
        label = label + (1 - alpha) * functional.cross_entropy(logits, labels)
        predicted = functional.log_softmax(logits / temperature, dim=1)
        soft = soft + alpha * temperature**2 * -(target * predicted).sum(1).mean()
        feature = feature + lambda_ * (vector - deepest_feature.detach()).square().sum(1).mean()
    return {"label": label, "soft": soft, "feature": feature, "total": label + soft + feature}


def similarity_preserving(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Squared difference of the two batch similarity matrices, summed and divided by B²; in [0, 4/B].

    Tung & Mori 2019 (SP), arXiv:1907.09682, equation 4. Features (B, …), flattened; the Gram matrix of each
    network, its rows L2-normalised.
    """
    student, teacher = _pair(student_feature, teacher_feature)
    difference = _unit(_gram(student)) - _unit(_gram(teacher))
    return difference.square().sum() / len(student) ** 2


def correlation_congruence(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean over neighbours in the batch of `Σ_d δ_i δ_{i+1}`, δ = |s − t|; depends on the order of the batch.

    Peng et al. 2019 (CC), arXiv:1904.01802, as RepDistiller computes it: the paper compares kernel matrices.
    Features of equal shape (B, d). In [0, ∞), 0 for a batch of one.
    """
    student, teacher = _alike(student_feature, teacher_feature)
    difference = (student - teacher).abs()
    return (difference[:-1] * difference[1:]).sum() / max(len(difference) - 1, 1)


def probabilistic_transfer(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Divergence of the conditional probabilities by which samples choose their neighbours.

    Passalis & Tefas 2018 (PKT), arXiv:1803.10837, with the cosine kernel. Features (B, d), d free. x/(‖x‖ +
    1e-7), K = (x xᵀ + 1)/2, rows divided by their sum, mean over B² of `p_t · log((p_t + 1e-7) / (p_s +
    1e-7))`. 0 where the probabilities are equal. Form and mean are those of RepDistiller.
    """
    student, teacher = (_neighbours(feature) for feature in _pair(student_feature, teacher_feature))
    return (teacher * torch.log((teacher + 1e-7) / (student + 1e-7))).mean()


def neuron_selectivity(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the two sets of channel maps, with the kernel `k = (a · b)²`.

    Huang & Wang 2017 (NST), arXiv:1707.01219. Feature maps (B, c, h, w), channels free, the larger
    average-pooled to the smaller; each channel's map is L2-normalised. Means over B and both channel axes of
    k_tt + k_ss − 2 k_st, in [0, 2].
    """
    student, teacher = (_unit(x.flatten(2)) for x in _same_size(*_pair(student_feature, teacher_feature)))
    return _kernel(teacher, teacher) + _kernel(student, student) - 2 * _kernel(student, teacher)


def factor_transfer(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean absolute difference of the normalised factors, `Q = normalise(vec(mean_c F²))`; in [0, ∞).

    Kim et al. 2018 (FT), arXiv:1802.04977, with RepDistiller's factor (p1 = 2, p2 = 1). Maps (B, c, h, w),
    channels free, the larger average-pooled to the smaller.
    """
    student, teacher = _same_size(*_pair(student_feature, teacher_feature))
    return (_attention_map(student, 2) - _attention_map(teacher, 2)).abs().mean()


def decoupled(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    temperature: Hyperparameter,
) -> Tensor:
    """`T² · [α · KL of (p_y, 1 − p_y) + β · KL over the non-target classes]`, in nats.

    Zhao et al. 2022 (DKD), arXiv:2203.08679, equation 7. Logits (B, C), labels (B,) int64; alpha and beta >=
    0, temperature > 0. In [0, ∞), 0 where the logits are equal; with two classes the second part is 0. T² is
    of the authors' code, whose warm-up of the weight belongs to a method, not to this function.
    """
    student, teacher = (x / temperature for x in _alike(student_logits, teacher_logits))
    target = labels[:, None] == torch.arange(student.shape[1], device=student.device)
    others_only = [
        torch.where(target, torch.finfo(logits.dtype).min, logits) for logits in (student, teacher)
    ]
    binary = [
        torch.stack([torch.where(target, logits, 0).sum(1), others.logsumexp(1)], dim=1)
        for logits, others in zip((student, teacher), others_only, strict=True)
    ]
    return temperature**2 * (alpha * _divergence(*binary) + beta * _divergence(*others_only))


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the dtype that the loss is computed in, the teacher detached."""
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    return student.to(dtype), teacher.detach().to(dtype)


def _alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape != teacher.shape:
        raise ValueError(f"shapes differ: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}")
    return _pair(student, teacher)


def _layers(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [_pair(ours, theirs) for ours, theirs in zip(student, teacher, strict=True)]


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(t) ‖ softmax(s)), batch mean."""
    predicted = functional.log_softmax(student, dim=1)
    target = functional.log_softmax(teacher, dim=1)
    return (target.exp() * (target - predicted)).sum(1).mean()


def _unit(x: Tensor) -> Tensor:
    """L2-normalised along the last axis; a zero vector stays zero, with zero gradient."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(norm > EPSILON, norm, torch.inf)


def _same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two feature maps (B, c, h, w), the larger one average-pooled to the smaller."""
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return _pooled(a, size), _pooled(b, size)


def _pooled(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return feature if feature.shape[2:] == size else functional.adaptive_avg_pool2d(feature, size)


def _attention_map(feature: Tensor, p: Hyperparameter) -> Tensor:
    """(B, h·w) unit vectors of (B, c, h, w): how strongly each place responds."""
    return _unit(feature.abs().pow(p).mean(1).flatten(1))


def _flow(earlier: Tensor, later: Tensor) -> Tensor:
    """(B, c1, c2) flow matrix."""
    first, second = (feature.flatten(2) for feature in _same_size(earlier, later))
    with relations.full_precision(first):
        return first @ second.transpose(1, 2) / first.shape[2]


def _hinge(student: Tensor, teacher: Tensor, margin: Hyperparameter) -> Tensor:
    too_high = ((student > -margin) & (teacher <= 0)) * (student + margin).square()
    too_low = ((student <= margin) & (teacher > 0)) * (student - margin).square()
    return (too_high + too_low).sum() / len(student)


def _gram(feature: Tensor) -> Tensor:
    flat = feature.flatten(1)
    with relations.full_precision(flat):
        return flat @ flat.T


def _neighbours(feature: Tensor) -> Tensor:
    """(B, B) probabilities, rows summing to 1."""
    norm = torch.linalg.vector_norm(feature, dim=1, keepdim=True)
    kernel = (_gram(feature / (norm + 1e-7)) + 1) / 2
    return kernel / kernel.sum(1, keepdim=True)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    with relations.full_precision(a):
        return (a @ b.transpose(1, 2)).square().mean()
