"""The same augmentation through solt, the library of the paper's authors: knee by knee, on uint8 pictures.

This is the reference for `kneel_lib.network.augmentation` and the baseline of the speed benchmark. It differs
in two points that solt sets: a transform enlarges the canvas and the crop then falls anywhere on it (a wider
shift), and the projective terms act before the picture is moved into the enlarged frame.
"""

import random

import numpy as np
import solt
import solt.transforms as slt

from kneel_lib.network.ranges import Augmentation

PAD_SHARE = 520 / 450
"""The released code pads to 520 pixels before it crops 450."""


def reference_stream(ranges: Augmentation, size_px: int, source_px: int) -> solt.Stream:
    """A solt stream with these ranges (`ranges.Augmentation`) for ROIs of `source_px`, cut to `size_px`."""
    tilt = tuple(limit / source_px for limit in ranges.tilt)
    affine = solt.Stream(
        [
            slt.Rotate(angle_range=(-ranges.rotation_degrees, ranges.rotation_degrees), p=1),
            slt.Scale(range_x=ranges.scale, range_y=ranges.scale, same=True, p=1),
            slt.Shear(range_x=(-ranges.shear, ranges.shear), range_y=(0, 0), p=1),
        ]
    )
    geometry = [
        slt.Flip(p=ranges.flip_p * ranges.geometry_p),
        slt.Projection(affine_transforms=affine, v_range=tilt, p=ranges.homography_p * ranges.geometry_p),
        slt.Scale(range_x=ranges.zoom, range_y=ranges.zoom, same=True, p=ranges.zoom_p * ranges.geometry_p),
    ]
    frame = [
        slt.Pad(pad_to=max(round(PAD_SHARE * size_px), source_px)),
        slt.Crop(crop_to=size_px, crop_mode="r"),
    ]
    textures = solt.SelectiveStream(
        [
            slt.Noise(p=ranges.texture_p, gain_range=(0, ranges.noise)),
            slt.SaltAndPepper(p=ranges.texture_p, gain_range=(0, ranges.salt_pepper)),
            slt.Blur(p=ranges.texture_p, blur_type="g", k_size=7, gaussian_sigma=ranges.blur_px),
            slt.Blur(p=ranges.texture_p, blur_type="m", k_size=3),
        ]
    )
    return solt.Stream(
        [*geometry, *frame, textures, slt.GammaCorrection(p=ranges.gamma_p, gamma_range=ranges.gamma)]
    )


def augment_one(
    stream: solt.Stream, image: np.ndarray, points_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One ROI, (S, S) uint8, and its points (M, 2) in pixels through a stream;
    returns both as numpy arrays."""
    keypoints = solt.Keypoints(points_px.astype(np.float64), *image.shape)
    data = stream({"image": image[..., None].copy(), "keypoints": keypoints}, return_torch=False)
    picture, moved = data.data
    return picture[..., 0], np.asarray(moved.data, np.float32)


def seed_reference(seed: int) -> None:
    """solt draws from Python's and numpy's global generators: seed both."""
    random.seed(seed)
    np.random.seed(seed)
