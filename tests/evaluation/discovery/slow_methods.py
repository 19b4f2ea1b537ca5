"""LOST, TokenCut and MaskCut written slowly from the papers and the authors' descriptions, patch by patch."""

import numpy as np
from scipy.linalg import eigh


def component(foreground, seed):
    """Patches that are reached from the seed over shared edges, found by a walk."""
    found, waiting = np.zeros_like(foreground), [seed]
    while waiting:
        row, column = waiting.pop()
        inside = 0 <= row < foreground.shape[0] and 0 <= column < foreground.shape[1]
        if inside and foreground[row, column] and not found[row, column]:
            found[row, column] = True
            waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return found


def slow_lost(patches, num_candidates):
    rows, columns, _ = patches.shape
    features = [patches[row, column] for row in range(rows) for column in range(columns)]
    number = len(features)
    degrees = [sum(features[i] @ features[j] > 0 for j in range(number) if j != i) for i in range(number)]
    by_degree = sorted(range(number), key=lambda i: (degrees[i], i))
    seed = by_degree[0]
    similar = [j for j in by_degree[:num_candidates] if features[seed] @ features[j] > 0]
    scores = [sum(features[i] @ features[j] for j in similar) for i in range(number)]
    place = divmod(seed, columns)
    return component((np.array(scores) > 0).reshape(rows, columns), place), place


def slow_second_vector(features, threshold):
    """scipy's dense generalised solver, as the authors call it; the sign makes the largest value positive."""
    lengths = [np.sqrt(feature @ feature) or 1.0 for feature in features]
    weights = np.full((len(features), len(features)), 1e-5)
    for i, one in enumerate(features):
        for j, other in enumerate(features):
            if one @ other / (lengths[i] * lengths[j]) > threshold:
                weights[i, j] = 1.0
    degrees = np.diag(weights.sum(axis=1))
    vector = eigh(degrees - weights, degrees, subset_by_index=[1, 2])[1][:, 0]
    return vector if vector[largest(np.abs(vector))] > 0 else -vector


def largest(values):
    """The first place within rounding: patches that are alike to the same others have the same value."""
    return next(i for i, value in enumerate(values) if value >= max(values) - 1e-8 * max(np.abs(values)))


def slow_token_cut(patches, threshold):
    rows, columns, dim = patches.shape
    vector = slow_second_vector(patches.reshape(-1, dim), threshold)
    side = vector > vector.mean()
    seed = largest(np.abs(vector))
    side = side if side[seed] else ~side
    place = divmod(seed, columns)
    return component(side.reshape(rows, columns), place), place


def slow_mask_cut(patches, threshold, num_objects):
    """The masks of all rounds, as the authors' loop makes them: zeros where a round's object was dropped."""
    rows, columns, dim = patches.shape
    painted = np.zeros((rows, columns), bool)
    masks, current = [], None
    for number in range(num_objects):
        if current is not None:
            painted = painted | current
        features = patches * ~painted[..., None]
        vector = slow_second_vector(features.reshape(-1, dim), threshold)
        side = (vector > vector.mean()).reshape(rows, columns)
        corners = sum(bool(side[row, column]) for row in (0, -1) for column in (0, -1))
        if corners >= 3:
            side, seed = ~side, largest(-vector)
        else:
            seed = largest(vector)
        mask = component(side, divmod(seed, columns))
        if number > 0:
            union = np.count_nonzero(mask | current)
            overlap = np.count_nonzero(mask & current) / union
            if overlap > 0.5 or mask.sum() / (rows * columns) <= 0.01:
                mask = np.zeros_like(mask)
        current = mask
        earlier = np.any(masks, axis=0) if masks else np.zeros_like(mask)
        masks.append(mask & ~earlier)
    return masks
