"""Losses as their papers write them: the tests' oracles.

Python loops over images, pairs and triplets.
"""

import math

import torch


def unit(features):
    return features / features.norm(dim=1, keepdim=True)


def distance(x, y):
    return (x - y).norm()


def positives(labels, i):
    return [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]


def negatives(labels, i):
    return [j for j in range(len(labels)) if labels[j] != labels[i]]


def mean(values):
    return sum(values) / len(values)


def triplet(features, labels, margin=0.3, epsilon=None):
    """All triplets, or those of the multi-similarity miner's pairs; mean of those above zero."""
    x, terms = unit(features), []
    for i in range(len(x)):
        chosen_p, chosen_n = positives(labels, i), negatives(labels, i)
        if epsilon is not None and chosen_p and chosen_n:
            nearest = max(x[i] @ x[n] for n in chosen_n)
            farthest = min(x[i] @ x[p] for p in chosen_p)
            chosen_p = [p for p in chosen_p if x[i] @ x[p] - epsilon < nearest]
            chosen_n = [n for n in chosen_n if x[i] @ x[n] + epsilon > farthest]
        for p in chosen_p:
            for n in chosen_n:
                violation = distance(x[i], x[p]) - distance(x[i], x[n]) + margin
                if violation > 0:
                    terms.append(violation)
    return mean(terms)


def triplet_of_anchors(features, labels, choose, soft, margin=0.3):
    x, terms = unit(features), []
    for i in range(len(x)):
        if positives(labels, i) and negatives(labels, i):
            to_positive = torch.stack([distance(x[i], x[p]) for p in positives(labels, i)])
            to_negative = torch.stack([distance(x[i], x[n]) for n in negatives(labels, i)])
            violation = choose(to_positive) + choose(-to_negative)
            terms.append(
                torch.log1p(violation.exp()) if soft else (violation + margin).clamp(min=0)
            )
    return mean(terms)


def triplet_hard(features, labels):
    return triplet_of_anchors(features, labels, torch.max, soft=False)


def triplet_soft(features, labels):
    return triplet_of_anchors(features, labels, torch.max, soft=True)


def triplet_weighted(features, labels):
    return triplet_of_anchors(
        features, labels, lambda d: (d.exp() / d.exp().sum() * d).sum(), soft=False
    )


def circle(features, labels, margin=0.25, gamma=32.0):
    x = unit(features)
    pull = []
    push = []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            s = x[i] @ x[j]
            if labels[i] == labels[j]:
                pull.append(torch.exp(-gamma * max(1 + margin - s.item(), 0) * (s - 1 + margin)))
            else:
                push.append(torch.exp(gamma * max(s.item() + margin, 0) * (s - margin)))
    return torch.log(1 + torch.stack(pull).sum() * torch.stack(push).sum())


def instance(features, labels, gamma=32.0):
    x = unit(features)
    return mean(
        [
            -torch.log(torch.exp(gamma * x[i] @ x[i]) / sum(torch.exp(gamma * x[i] @ y) for y in x))
            for i in range(len(x))
        ]
    )


def instance_id(features, labels, gamma=32.0):
    x = unit(features)
    return instance(
        torch.stack([x[labels == identity].mean(0) for identity in labels.unique()]), None, gamma
    )


def ranked(
    features,
    labels,
    alpha=2.0,
    margin=1.3,
    balance=0.5,
    positive_temperature=0.0,
    negative_temperature=1.0,
):
    x, terms = unit(features), []
    for i in range(len(x)):
        sides = []
        for chosen, temperature, violation in (
            (positives(labels, i), positive_temperature, lambda d: d - (alpha - margin)),
            (negatives(labels, i), negative_temperature, lambda d: alpha - d),
        ):
            violations = [violation(distance(x[i], x[j])) for j in chosen]
            violations = [v for v in violations if v > 0]
            weights = [torch.exp(temperature * v) for v in violations]
            total = sum(weights) if weights else 1.0
            sides.append(sum(w * v for w, v in zip(weights, violations, strict=True)) / total)
        terms.append((1 - balance) * sides[0] + balance * sides[1])
    return mean(terms)


def center(features, labels, centers):
    return mean([((f - centers[y]) ** 2).sum() / 2 for f, y in zip(features, labels, strict=True)])


def moved_centers(features, labels, centers, rate):
    moved = centers.clone()
    for label in set(labels.tolist()):
        own = [f for f, y in zip(features, labels, strict=True) if y == label]
        moved[label] -= rate * sum(centers[label] - f for f in own) / (1 + len(own))
    return moved


def verification(features, labels, weight, bias):
    same: list[torch.Tensor] = []
    different: list[torch.Tensor] = []
    for i in range(len(features)):
        for j in range(len(features)):
            log_p = (weight @ (features[i] * features[j]) + bias).log_softmax(0)
            if i != j:
                (same if labels[i] == labels[j] else different).append(
                    -log_p[int(labels[i] == labels[j])]
                )
    return (mean(same) + mean(different)) / 2


def cross_entropy(logits, labels, smoothing=0.1):
    classes = logits.shape[1]
    terms = []
    for scores, y in zip(logits, labels, strict=True):
        target = [smoothing / classes + (1 - smoothing) * (j == y) for j in range(classes)]
        log_p = scores - scores.exp().sum().log()
        terms.append(-sum(q * p for q, p in zip(target, log_p, strict=True)))
    return mean(terms)


def focal(logits, labels, gamma=2.0):
    p = [scores.softmax(0)[y] for scores, y in zip(logits, labels, strict=True)]
    return mean([-((1 - q) ** gamma) * q.log() for q in p])


def softmax_of(scores, y):
    return -(scores[y] - scores.exp().sum().log())


def cosine_softmax(cosines, labels, margin=0.35, scale=64.0):
    terms = []
    for row, y in zip(cosines, labels, strict=True):
        z = [cosine - margin if j == y else cosine for j, cosine in enumerate(row)]
        terms.append(softmax_of(scale * torch.stack(z), y))
    return mean(terms)


def arcface_softmax(cosines, labels, margin=20.0, scale=64.0):
    """For angles below π − margin, where the paper's formula and ours are one."""
    terms = []
    for row, y in zip(cosines, labels, strict=True):
        z = [
            (cosine.acos() + math.radians(margin)).cos() if j == y else cosine
            for j, cosine in enumerate(row)
        ]
        terms.append(softmax_of(scale * torch.stack(z), y))
    return mean(terms)


def circle_softmax(cosines, labels, margin=0.35, scale=64.0):
    """log(1 + Σₙ exp(γ αₙ (sₙ − m)) · exp(−γ αₚ (sₚ − 1 + m))) of the class weights.

    p is the right class, n are the others.
    """
    terms = []
    for row, y in zip(cosines, labels, strict=True):
        alpha_p = max(1 + margin - row[y].item(), 0)
        total = torch.zeros(())
        for j, cosine in enumerate(row):
            if j != y:
                alpha_n = max(cosine.item() + margin, 0)
                total = total + torch.exp(scale * alpha_n * (cosine - margin))
        terms.append(torch.log(1 + total * torch.exp(-scale * alpha_p * (row[y] - 1 + margin))))
    return mean(terms)


def sphere_angle(theta, margin=4):
    k = math.floor(margin * theta / math.pi)
    return (-1) ** k * math.cos(margin * theta) - 2 * k


def arc_angle(theta, degrees=28.6):
    margin = math.radians(degrees)
    return (
        math.cos(theta + margin)
        if theta <= math.pi - margin
        else math.cos(theta) - margin * math.sin(margin)
    )
