"""Regression forests on Haar-like features that vote for a displacement, as plain arrays (Lindner et al.
2015).

A feature is the difference between the mean grey of two boxes in a patch, read from an integral image in
eight look-ups. A node keeps its boxes and a threshold, a leaf the mean displacement (x, y) in pixels of its
samples. Features are drawn at every node and never written to a matrix; numba walks and grows the trees.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numba import njit

from kneel_lib.errors import KneelError

BINS = 16
"""Thresholds tried for a feature: the inner edges of this many equal bins over its range of values."""

Tree = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(boxes, threshold, left, vote) of one tree's nodes, the root first: `Forest` says what they are."""


@dataclass(frozen=True)
class Forest:
    """The trees of all landmarks in one table of nodes.

    boxes: (nodes, 8) int16, rows and columns (top, left, bottom, right) of two boxes from the patch's centre,
    ends excluded. threshold: (nodes,) float32 grey values. left: (nodes,) int32, the node for values of the
    threshold or less; the other is the next one; -1 at a leaf. vote: (nodes, 2) float32 pixels (x, y). roots:
    (landmarks, trees) int32.
    """

    boxes: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    vote: np.ndarray
    roots: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """{field: array}: what is written to a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def integral(image: np.ndarray) -> np.ndarray:
    """(h + 1, w + 1) int32 sums of the uint8 `image` (h, w) over all pixels above and to the left."""
    return cv2.integral(image, sdepth=cv2.CV_32S)


@njit(cache=True, nogil=True)
def box_sum(sums: np.ndarray, top: int, left: int, bottom: int, right: int) -> int:
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]


@njit(cache=True, nogil=True)
def feature_value(sums: np.ndarray, row: int, column: int, boxes: np.ndarray) -> float:
    """Mean grey of the first box minus that of the second, around the patch centre (row, column)."""
    first = box_sum(sums, row + boxes[0], column + boxes[1], row + boxes[2], column + boxes[3])
    second = box_sum(sums, row + boxes[4], column + boxes[5], row + boxes[6], column + boxes[7])
    return first / ((boxes[2] - boxes[0]) * (boxes[3] - boxes[1])) - second / (
        (boxes[6] - boxes[4]) * (boxes[7] - boxes[5])
    )


@njit(cache=True, nogil=True)
def draw_boxes(half: int, boxes: np.ndarray) -> None:
    """A random Haar-like feature in a patch of side 2 half + 1: two or three bars, or two boxes anywhere.

    One in three lies in the whole patch, one in its inner half and one in its inner quarter: detail near the
    landmark is dense.
    """
    half = max(half >> np.random.randint(0, 3), 1)
    side = 2 * half + 1
    kind = np.random.randint(0, 4)
    if kind == 3:
        for start in (0, 4):
            height, width = np.random.randint(1, half + 1), np.random.randint(1, half + 1)
            boxes[start] = np.random.randint(0, side - height + 1) - half
            boxes[start + 1] = np.random.randint(0, side - width + 1) - half
            boxes[start + 2], boxes[start + 3] = boxes[start] + height, boxes[start + 1] + width
        return
    bars = 3 if kind == 2 else 2
    along = np.random.randint(0, 2)
    across = 1 - along
    thick, long = np.random.randint(1, side // bars + 1), np.random.randint(1, side + 1)
    start = np.random.randint(0, side - bars * thick + 1) - half
    beside = np.random.randint(0, side - long + 1) - half
    boxes[across] = boxes[4 + across] = beside
    boxes[2 + across] = boxes[6 + across] = beside + long
    if bars == 2:
        boxes[along], boxes[2 + along] = start, start + thick
        boxes[4 + along], boxes[6 + along] = start + thick, start + 2 * thick
    else:
        boxes[along], boxes[2 + along] = start + thick, start + 2 * thick
        boxes[4 + along], boxes[6 + along] = start, start + 3 * thick


@njit(cache=True, nogil=True)
def best_threshold(
    values: np.ndarray, targets: np.ndarray, counts: np.ndarray, sums: np.ndarray
) -> tuple[float, float]:
    """(gain, threshold) of one feature: the bin edge that lowers the targets' summed squares most; gain 0
    where all are equal."""
    least, greatest = values.min(), values.max()
    if greatest <= least:
        return 0.0, 0.0
    counts[:] = 0
    sums[:] = 0
    scale = BINS / (greatest - least)
    for k in range(len(values)):
        place = min(int((values[k] - least) * scale), BINS - 1)
        counts[place] += 1
        sums[place, 0] += targets[k, 0]
        sums[place, 1] += targets[k, 1]
    whole_x, whole_y, whole = sums[:, 0].sum(), sums[:, 1].sum(), len(values)
    base = (whole_x**2 + whole_y**2) / whole
    best, edge, x, y, n = 0.0, 0, 0.0, 0.0, 0
    for place in range(BINS - 1):
        n += counts[place]
        x += sums[place, 0]
        y += sums[place, 1]
        if 0 < n < whole:
            gain = (x * x + y * y) / n + ((whole_x - x) ** 2 + (whole_y - y) ** 2) / (whole - n) - base
            if gain > best:
                best, edge = gain, place
    return best, least + (edge + 1) / scale


@njit(cache=True, nogil=True)
def grow_tree(
    sums: np.ndarray,
    image: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    target: np.ndarray,
    half: int,
    candidates: int,
    least_leaf: int,
    looked_at: int,
    seed: int,
) -> Tree:
    """One tree: (boxes, threshold, left, vote) of its nodes, the root first.

    sums: (m, h, w) integral images; sample k is the patch around (row[k], column[k]) of image[k] and has the
    displacement target[k]. A node tries `candidates` features on at most `looked_at` of its samples; leaves
    hold `least_leaf` or more.
    """
    np.random.seed(seed)
    count = len(image)
    room = 2 * (count // least_leaf) + 3
    boxes, threshold, left = (
        np.zeros((room, 8), np.int16),
        np.zeros(room, np.float32),
        np.full(room, -1, np.int32),
    )
    vote = np.zeros((room, 2), np.float32)
    start, stop = np.zeros(room, np.int64), np.zeros(room, np.int64)
    order = np.random.permutation(count)
    values, seen = (
        np.empty(min(looked_at, count), np.float64),
        np.empty((min(looked_at, count), 2), np.float64),
    )
    counts, totals = np.zeros(BINS, np.int64), np.zeros((BINS, 2), np.float64)
    drawn, chosen = np.zeros(8, np.int64), np.zeros(8, np.int64)
    stop[0], nodes, node = count, 1, 0
    while node < nodes:
        first, last = start[node], stop[node]
        size = last - first
        mean_x = mean_y = square = 0.0
        for k in range(first, last):
            mean_x += target[order[k], 0] / size
            mean_y += target[order[k], 1] / size
        for k in range(first, last):
            square += ((target[order[k], 0] - mean_x) ** 2 + (target[order[k], 1] - mean_y) ** 2) / size
        vote[node] = mean_x, mean_y
        if size >= 2 * least_leaf and square > 0:
            used = min(size, looked_at)
            for k in range(used):
                other = np.random.randint(first + k, last)
                order[first + k], order[other] = order[other], order[first + k]
                seen[k, 0], seen[k, 1] = (
                    target[order[first + k], 0] - mean_x,
                    target[order[first + k], 1] - mean_y,
                )
            best, edge = 0.0, 0.0
            for _ in range(candidates):
                draw_boxes(half, drawn)
                for k in range(used):
                    sample = order[first + k]
                    values[k] = feature_value(sums[image[sample]], row[sample], column[sample], drawn)
                gain, cut = best_threshold(values[:used], seen[:used], counts, totals)
                if gain > best:
                    best, edge = gain, cut
                    chosen[:] = drawn
            edge = np.float32(edge)  # type: ignore[assignment]
            low, high = first, last - 1
            while best > 0 and low <= high:
                sample = order[low]
                if feature_value(sums[image[sample]], row[sample], column[sample], chosen) <= edge:
                    low += 1
                else:
                    order[low], order[high] = order[high], sample
                    high -= 1
            if best > 0 and low - first >= least_leaf and last - low >= least_leaf:
                boxes[node], threshold[node], left[node] = chosen, edge, nodes
                start[nodes], stop[nodes], start[nodes + 1], stop[nodes + 1] = first, low, low, last
                nodes += 2
        node += 1
    return boxes[:nodes].copy(), threshold[:nodes].copy(), left[:nodes].copy(), vote[:nodes].copy()


@njit(cache=True, nogil=True)
def find_leaf(
    sums: np.ndarray,
    row: int,
    column: int,
    boxes: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    node: int,
) -> int:
    """The leaf that the patch around (row, column) falls into, from the root `node` down."""
    while left[node] >= 0:
        value = feature_value(sums, row, column, boxes[node])
        node = left[node] if value <= threshold[node] else left[node] + 1
    return node


@njit(cache=True, nogil=True)
def cast_votes(
    sums: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    boxes: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    vote: np.ndarray,
    roots: np.ndarray,
    x0: int,
    y0: int,
    response: np.ndarray,
) -> None:
    """Add the votes of the patches around (rows, columns) to `response`, whose pixel (0, 0) lies at (x0, y0).

    Every tree casts one vote of weight 1 for each patch, shared by the four nearest pixels.
    """
    for k in range(len(rows)):
        for root in roots:
            leaf = find_leaf(sums, rows[k], columns[k], boxes, threshold, left, root)
            x, y = columns[k] + vote[leaf, 0] - x0, rows[k] + vote[leaf, 1] - y0
            j, i = int(np.floor(x)), int(np.floor(y))
            if i >= 0 and j >= 0 and i + 1 < response.shape[0] and j + 1 < response.shape[1]:
                dx, dy = x - j, y - i
                response[i, j] += (1 - dx) * (1 - dy)
                response[i, j + 1] += dx * (1 - dy)
                response[i + 1, j] += (1 - dx) * dy
                response[i + 1, j + 1] += dx * dy


def join(landmark_trees: list[list[Tree]]) -> Forest:
    """One `Forest` of a list over landmarks of lists of trees, as `grow_tree` gives them; `KneelError` where
    they are uneven."""
    if not landmark_trees or len({len(trees) for trees in landmark_trees}) != 1 or not landmark_trees[0]:
        raise KneelError("every landmark needs the same number of trees, one or more")
    trees = [tree for trees in landmark_trees for tree in trees]
    roots = np.cumsum([0] + [len(tree[0]) for tree in trees[:-1]])
    left = np.concatenate(
        [np.where(tree[2] < 0, -1, tree[2] + root) for tree, root in zip(trees, roots)]
    ).astype(np.int32)
    boxes, threshold, vote = (np.concatenate([tree[column] for tree in trees]) for column in (0, 1, 3))
    return Forest(boxes, threshold, left, vote, roots.reshape(len(landmark_trees), -1).astype(np.int32))
