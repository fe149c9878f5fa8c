"""Where a boundary search starts and what it aims at: base samples and target classes.

Source: Heo et al. 2019 (BSS), arXiv:1805.05532, section 3.2.
"""

import torch
from torch import Tensor
from torch.nn import functional


def select_base_samples(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Indices (int64, at most `count`) of the samples from which the student has most to learn, best first.

    Of the samples that both networks classify right, those with the largest `Σ_{k≠c} (q_t^k − q_s^k)²`: q the
    softmax at temperature 1, c the label. Logits (B, C), labels (B,); there may be fewer than `count` such
    samples, or none. The authors' code asks only the teacher to be right; the paper, followed here, both.
    """
    right = (teacher_logits.argmax(1) == labels) & (student_logits.argmax(1) == labels)
    candidates = right.nonzero().squeeze(1)
    student, teacher = (_probabilities(logits[candidates]) for logits in (student_logits, teacher_logits))
    other = labels[candidates, None] != torch.arange(student.shape[1], device=labels.device)
    score = ((teacher - student).square() * other).sum(1)
    return candidates[score.argsort(descending=True, stable=True)[:count]]


def draw_targets(teacher_logits: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Target classes (B,) int64, drawn with `p(k) = q_t^k / (1 − q_t^c)` for k ≠ c, the label.

    Logits (B, C) with C > 1, labels (B,); the generator lives on their device. The probabilities are those of
    a softmax without the label's class, which is defined also where q_t^c rounds to 1.
    """
    if len(labels) == 0:
        return labels.clone()
    own = labels[:, None] == torch.arange(teacher_logits.shape[1], device=labels.device)
    others = _probabilities(teacher_logits.masked_fill(own, -torch.inf))
    return torch.multinomial(others, 1, generator=generator).squeeze(1)


def _probabilities(logits: Tensor) -> Tensor:
    logits = logits.detach()
    return functional.softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
