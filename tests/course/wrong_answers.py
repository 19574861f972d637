"""Wrong but plausible answers to the labs' tasks, and what the check must say of each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wrong:
    """One wrong answer: the task's name, the cell that a student would write, words of the message."""

    task: str
    answer: str
    said: str


LAB1 = (
    Wrong(
        "grey_at",
        "def grey_at(image, points_px):\n"
        "    x, y = np.round(points_px).astype(int).T\n"
        "    return image[x, y]",
        "x and y are swapped",
    ),
    Wrong(
        "grey_at",
        "def grey_at(image, points_px):\n    x, y = points_px.astype(int).T\n    return image[y, x]",
        "take the nearest pixel",
    ),
    Wrong(
        "to_pixels",
        "def to_pixels(points_mm, mm_per_px):\n    return points_mm * mm_per_px[:, None, None]",
        "mm and pixels are mixed up",
    ),
    Wrong(
        "to_pixels",
        "def to_pixels(points_mm, mm_per_px):\n    return points_mm / mm_per_px[0]",
        "every picture has its own",
    ),
    Wrong(
        "look_right",
        "def look_right(points_px, sides, width):\n    return points_px",
        "mirrored side forgotten",
    ),
    Wrong(
        "look_right",
        "def look_right(points_px, sides, width):\n    return landmarks.mirrored(points_px, width - 1)",
        "right knees were mirrored too",
    ),
    Wrong(
        "look_right",
        "def look_right(points_px, sides, width):\n"
        "    left = (sides == 'L')[:, None, None]\n"
        "    return np.where(left, landmarks.mirrored(points_px, width), points_px)",
        "off by one",
    ),
    Wrong(
        "to_picture_mm",
        "def to_picture_mm(points_px, origin_mm, margin_px, mm_per_px):\n"
        "    return origin_mm + points_px * mm_per_px",
        "ROI margin forgotten",
    ),
    Wrong(
        "to_picture_mm",
        "def to_picture_mm(points_px, origin_mm, margin_px, mm_per_px):\n"
        "    return (origin_mm + points_px + margin_px) * mm_per_px",
        "the origin is in mm already",
    ),
    Wrong(
        "suspicious",
        "def suspicious(points_mm):\n    return (np.diff(points_mm[..., 0], axis=1) < 0).any(axis=1)",
        "take the bones apart",
    ),
    Wrong(
        "suspicious",
        "def suspicious(points_mm):\n    return (np.diff(points_mm[:, :9, 0], axis=1) < 0).any(axis=1)",
        "only the tibia was looked at",
    ),
)

LAB2 = (
    Wrong(
        "errors_mm",
        "def errors_mm(predicted_px, truth_px, mm_per_px):\n"
        "    return np.linalg.norm(predicted_px - truth_px, axis=-1)",
        "mm and pixels are mixed up",
    ),
    Wrong(
        "errors_mm",
        "def errors_mm(predicted_px, truth_px, mm_per_px):\n"
        "    return np.abs(predicted_px - truth_px).sum(axis=-1) * mm_per_px[:, None]",
        "the way around the corner",
    ),
    Wrong(
        "pck",
        "def pck(errors, radius):\n    return 100 * np.mean(errors[~np.isnan(errors)] < radius)",
        "< for <=",
    ),
    Wrong(
        "pck",
        "def pck(errors, radius):\n    return 100 * np.mean(errors[~np.isnan(errors)] >= radius)",
        ">= for <=",
    ),
    Wrong("pck", "def pck(errors, radius):\n    return 100 * np.sum(errors <= radius)", "a sum for a mean"),
    Wrong("pck", "def pck(errors, radius):\n    return 100 * np.mean(errors <= radius)", "counted as a miss"),
    Wrong(
        "pck_by_bone",
        "def pck_by_bone(errors, radius):\n    return 100 * np.mean(errors[:, [0, 8, 9, 15]] <= radius)",
        "the threshold came before the mean",
    ),
    Wrong(
        "pck_by_bone",
        "def pck_by_bone(errors, radius):\n"
        "    return 100 * np.mean([errors[:, list(bone)].mean(axis=0) <= radius for bone in "
        "landmarks.TABLE1])",
        "mean over knees and landmarks confused",
    ),
    Wrong(
        "pck_by_bone",
        "def pck_by_bone(errors, radius):\n"
        "    return 100 * np.mean([errors[:, list(bone)].mean(axis=1) < radius for bone in "
        "landmarks.TABLE1])",
        "< for <=: a mean of exactly 2 mm",
    ),
    Wrong(
        "outliers", "def outliers(errors):\n    return 100 * np.mean((errors > 10).any(axis=1))", "> for >="
    ),
    Wrong(
        "outliers",
        "def outliers(errors):\n    return 100 * np.mean(errors >= 10)",
        "landmarks were counted, not knees",
    ),
    Wrong(
        "two_bones",
        "def two_bones(mean, deviation):\n    return mean - deviation, mean + deviation",
        "n in the denominator",
    ),
    Wrong(
        "mean_shape_error",
        "def mean_shape_error(shapes_mm, train, held_out):\n"
        "    mean = shapes_mm[train].mean(axis=0)\n"
        "    return np.linalg.norm(shapes_mm[train] - mean, axis=-1).mean()",
        "evaluated on the training knees",
    ),
    Wrong(
        "mean_shape_error",
        "def mean_shape_error(shapes_mm, train, held_out):\n"
        "    mean = shapes_mm.mean(axis=0)\n"
        "    return np.linalg.norm(shapes_mm[held_out] - mean, axis=-1).mean()",
        "leakage: the mean shape is that of all knees",
    ),
)

LAB3 = (
    Wrong(
        "spatial_softmax",
        "def spatial_softmax(maps, beta=1.0):\n    return torch.softmax(beta * maps, dim=-1)",
        "softmax over the wrong axis: over the width only",
    ),
    Wrong(
        "spatial_softmax",
        "def spatial_softmax(maps, beta=1.0):\n    return torch.softmax(beta * maps, dim=1)",
        "softmax over the wrong axis: over the landmarks",
    ),
    Wrong(
        "spatial_softmax",
        "def spatial_softmax(maps, beta=1.0):\n"
        "    e = (beta * maps).exp()\n"
        "    return e / e.sum(dim=(2, 3), keepdim=True)",
        "overflows",
    ),
    Wrong(
        "spatial_softmax",
        "def spatial_softmax(maps, beta=1.0):\n"
        "    return torch.softmax(maps.flatten(2), dim=2).view(maps.shape)",
        "beta was forgotten",
    ),
    Wrong(
        "expected_position",
        "def expected_position(probability):\n"
        "    h, w = probability.shape[2:]\n"
        "    x = probability.sum(dim=2) @ (torch.arange(w) / w)\n"
        "    y = probability.sum(dim=3) @ (torch.arange(h) / h)\n"
        "    return torch.stack([y, x], dim=2)",
        "x and y are swapped",
    ),
    Wrong(
        "expected_position",
        "def expected_position(probability):\n"
        "    h, w = probability.shape[2:]\n"
        "    best = probability.flatten(2).argmax(dim=2)\n"
        "    return torch.stack([best % w / w, best // w / h], dim=2)",
        "argmax for soft-argmax",
    ),
    Wrong(
        "expected_position",
        "def expected_position(probability):\n"
        "    h, w = probability.shape[2:]\n"
        "    x = probability.sum(dim=2) @ torch.linspace(0, 1, w)\n"
        "    y = probability.sum(dim=3) @ torch.linspace(0, 1, h)\n"
        "    return torch.stack([x, y], dim=2)",
        "divided by W - 1",
    ),
    Wrong(
        "wing",
        "def wing(errors, w=15.0, epsilon=3.0):\n"
        "    size = errors.abs()\n"
        "    return torch.where(size < w, w * torch.log(1 + size / epsilon), size)",
        "C forgotten",
    ),
    Wrong(
        "wing",
        "def wing(errors, w=15.0, epsilon=3.0):\n"
        "    size = errors.abs()\n"
        "    return torch.where(size < w, w * torch.log(1 + size / epsilon), size - 3)",
        "that is epsilon",
    ),
    Wrong(
        "mean_of_known",
        "def mean_of_known(loss, predicted, truth):\n"
        "    return loss((predicted - truth)[~torch.isnan(truth)]).sum()",
        "a sum for a mean",
    ),
    Wrong(
        "mean_of_known",
        "def mean_of_known(loss, predicted, truth):\n"
        "    return torch.where(torch.isnan(truth), torch.zeros(()), loss(predicted - truth)).mean()",
        "divide by how many are known",
    ),
    Wrong(
        "mean_of_known",
        "def mean_of_known(loss, predicted, truth):\n"
        "    return loss(predicted - truth)[~torch.isnan(truth)].mean()",
        "its gradient has NaN: take the known errors first",
    ),
    Wrong(
        "pull",
        "def pull(loss, error):\n    return float(loss(torch.tensor(error)))",
        "this is the loss, not its slope",
    ),
)

STEP = "def train_step(model, optimizer, loss, images, truth):\n"
OVERFIT = "def overfit(model, images, truth, steps):\n"

LAB4 = (
    Wrong(
        "targets",
        "def targets(points_px, size_px):\n    return points_px / (size_px - 1)",
        "the side less one",
    ),
    Wrong("targets", "def targets(points_px, size_px):\n    return points_px", "these are pixels still"),
    Wrong(
        "train_step",
        STEP + "    model.train()\n"
        "    value = loss(model(images), truth)\n"
        "    value.backward()\n"
        "    optimizer.step()\n"
        "    return value.item()",
        "zero_grad forgotten",
    ),
    Wrong(
        "train_step",
        STEP + "    model.train()\n"
        "    optimizer.zero_grad()\n"
        "    value = loss(model(images), truth)\n"
        "    value.backward()\n"
        "    return value.item()",
        "the weight has not moved",
    ),
    Wrong(
        "train_step",
        STEP + "    optimizer.zero_grad()\n"
        "    value = loss(model(images), truth)\n"
        "    value.backward()\n"
        "    optimizer.step()\n"
        "    return value.item()",
        "call model.train() first",
    ),
    Wrong(
        "overfit",
        OVERFIT + "    model = copy.deepcopy(model)\n"
        "    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)\n"
        "    return [train_step(model, optimizer, losses.wing, images, truth) for _ in range(steps)]",
        "was a copy trained",
    ),
    Wrong(
        "overfit",
        OVERFIT + "    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)\n"
        "    return [train_step(model, optimizer, losses.wing, images, truth.roll(1, 0)) for _ in "
        "range(steps)]",
        "are images and truth those of the same knees",
    ),
    Wrong(
        "overfit",
        OVERFIT + "    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)\n"
        "    for _ in range(steps):\n"
        "        value = train_step(model, optimizer, losses.wing, images, truth)\n"
        "    return value",
        "not the list of all losses",
    ),
    Wrong(
        "predict_mm",
        "def predict_mm(model, images, size_px, mm_per_px):\n"
        "    with torch.no_grad():\n"
        "        return (model(images) * size_px * mm_per_px).numpy()",
        "still in training mode",
    ),
    Wrong(
        "predict_mm",
        "def predict_mm(model, images, size_px, mm_per_px):\n"
        "    model.eval()\n"
        "    with torch.no_grad():\n"
        "        return (model(images) * size_px).numpy()",
        "mm and pixels are mixed up",
    ),
    Wrong(
        "read_curves",
        "def read_curves(train_mm, held_out_mm):\n"
        "    return np.argmin(train_mm) + 1, held_out_mm[-1] - train_mm[-1]",
        "evaluated on the training knees",
    ),
    Wrong(
        "read_curves",
        "def read_curves(train_mm, held_out_mm):\n"
        "    return np.argmin(held_out_mm), held_out_mm[-1] - train_mm[-1]",
        "epochs are counted from 1",
    ),
)

INTERVAL = "def interval(errors, subjects, draws, seed):\n    random = np.random.default_rng(seed)\n"

LAB5 = (
    Wrong(
        "folds_by_subject",
        "def folds_by_subject(subjects, folds, seed):\n"
        "    return np.array_split(np.random.default_rng(seed).permutation(len(subjects)), folds)",
        "leakage",
    ),
    Wrong(
        "folds_by_subject",
        "def folds_by_subject(subjects, folds, seed):\n"
        "    return np.array_split(np.random.default_rng(seed).permutation(np.unique(subjects)), folds)",
        "these are no row numbers",
    ),
    Wrong(
        "over_seeds",
        "def over_seeds(train, seeds):\n"
        "    results = [train(seeds[0]) for _ in seeds]\n"
        "    return np.mean(results), np.std(results, ddof=1)",
        "the same seed twice",
    ),
    Wrong(
        "over_seeds",
        "def over_seeds(train, seeds):\n"
        "    results = [train(seed) for seed in seeds]\n"
        "    return np.mean(results), np.std(results)",
        "n - 1 (ddof=1)",
    ),
    Wrong(
        "interval",
        INTERVAL + "    pool = errors.ravel()\n"
        "    means = [random.choice(pool, len(pool)).mean() for _ in range(draws)]\n"
        "    return np.percentile(means, [2.5, 97.5])",
        "landmarks were drawn; draw subjects",
    ),
    Wrong(
        "interval",
        INTERVAL + "    pool = errors.mean(axis=1)\n"
        "    means = [random.choice(pool, len(pool)).mean() for _ in range(draws)]\n"
        "    return np.percentile(means, [2.5, 97.5])",
        "knees were drawn; draw subjects",
    ),
    Wrong(
        "interval",
        INTERVAL + "    _, means = statistics.resampled_means(errors, subjects, draws, seed)\n"
        "    return np.percentile(means, [5, 95])",
        "are these the percentiles 5 and 95",
    ),
    Wrong(
        "interval",
        INTERVAL + "    names = np.unique(subjects)\n"
        "    means = [errors[np.isin(subjects, random.choice(names, len(names)))].mean() for _ in "
        "range(draws)]\n"
        "    return np.percentile(means, [2.5, 97.5])",
        "a subject that is drawn twice must count twice",
    ),
    Wrong(
        "interval",
        INTERVAL + "    mean, low, high = statistics.mean_interval(errors, subjects, draws)\n"
        "    half = (high - low) / 2\n"
        "    return mean - half, mean + half",
        "symmetrical around the mean",
    ),
    Wrong(
        "paired",
        "def paired(first_mm, second_mm, subjects):\n"
        "    return statistics.mean_interval(second_mm - first_mm, subjects)",
        "the sign is turned round",
    ),
    Wrong(
        "paired",
        "def paired(first_mm, second_mm, subjects):\n"
        "    return statistics.mean_interval(first_mm - second_mm, np.arange(len(first_mm)))",
        "knees were drawn, not subjects",
    ),
    Wrong(
        "report",
        "def report(curves, pick, rest):\n"
        "    epoch = curves[:, rest].mean(axis=1).argmin()\n"
        "    return epoch, curves[epoch, rest].mean()",
        "too good to be true",
    ),
    Wrong(
        "report",
        "def report(curves, pick, rest):\n"
        "    epoch = curves[:, pick].mean(axis=1).argmin()\n"
        "    return epoch, curves[epoch, pick].mean()",
        "reported on the knees that it was chosen on",
    ),
)

TO_FILE = "def to_file_px(points_px, origin_px, step_px, side, width):\n"

LAB6 = (
    Wrong("as_shown", "def as_shown(stored, photometric, bits):\n    return stored", "not turned round"),
    Wrong(
        "as_shown",
        "def as_shown(stored, photometric, bits):\n"
        "    return 255 - stored if photometric == 'MONOCHROME1' else stored",
        "12 bits, not 8",
    ),
    Wrong("to_file_px", TO_FILE + "    return origin_px + step_px * points_px", "mirrored side forgotten"),
    Wrong(
        "to_file_px",
        TO_FILE + "    if side == 'L':\n"
        "        points_px = landmarks.mirrored(points_px, width - 1)\n"
        "    return origin_px + step_px * points_px",
        "mirrored inside of the ROI",
    ),
    Wrong(
        "gap",
        "def gap(first, second):\n    return np.linalg.norm(first[:, None] - second[None], axis=2).min()",
        "only the landmarks were compared",
    ),
    Wrong(
        "joint_space_mm",
        "def joint_space_mm(points_px, mm_per_px):\n"
        "    a = least_distance(points_px[[0, 1, 2]], points_px[[9, 10, 11]])\n"
        "    b = least_distance(points_px[[6, 7, 8]], points_px[[13, 14, 15]])\n"
        "    return a * mm_per_px, b * mm_per_px",
        "medial and lateral are swapped",
    ),
    Wrong(
        "joint_space_mm",
        "def joint_space_mm(points_px, mm_per_px):\n"
        "    a = least_distance(points_px[[6, 7, 8]], points_px[[13, 14, 15]])\n"
        "    b = least_distance(points_px[[0, 1, 2]], points_px[[9, 10, 11]])\n"
        "    return a, b",
        "mm and pixels are mixed up",
    ),
    Wrong(
        "smallest_change_mm",
        "def smallest_change_mm(first, second):\n    return 1.96 * np.std(first, ddof=1)",
        "subtract first",
    ),
    Wrong(
        "smallest_change_mm",
        "def smallest_change_mm(first, second):\n    return np.std(first - second, ddof=1)",
        "1.96 is missing",
    ),
)

WRONG = {"lab1": LAB1, "lab2": LAB2, "lab3": LAB3, "lab4": LAB4, "lab5": LAB5, "lab6": LAB6}
"""{lab: wrong answers to its tasks}."""
