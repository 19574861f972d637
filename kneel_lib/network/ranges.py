"""Ranges of the random transforms (section 3.3, "Data Augmentation"), as data: what `augmentation.augment`
draws from."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from. `*_p` are probabilities; lengths are shares of the ROI's side unless a unit is
    named.

    With probability geometry_p a knee is: mirrored (flip_p); with homography_p rotated, scaled, sheared and
    tilted by the projective terms v = uniform(tilt) in both directions; with zoom_p scaled once more; shifted
    always. Then edges are enhanced by up to `sharpen` (sharpen_p), then one texture of `TEXTURES`
    (texture_p), then gamma (gamma_p), gain and offset; last come a border and a bar over the picture
    (clutter_p).
    """

    geometry_p: float = 1.0
    flip_p: float = 0.0
    homography_p: float = 1.0
    rotation_degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    zoom_p: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    texture_p: float = 0.0
    noise: float = 0.05
    salt_pepper: float = 0.02
    blur_px: tuple[float, float] = (0.4, 1.2)
    gamma_p: float = 0.0
    gamma: tuple[float, float] = (1.0, 1.0)
    gain: float = 0.0
    sharpen_p: float = 0.0
    sharpen: float = 0.0
    clutter_p: float = 0.0


NONE = Augmentation()

RELEASED = Augmentation(
    geometry_p=0.7,
    flip_p=0.5,
    homography_p=0.5,
    rotation_degrees=90.0,
    scale=(0.8, 1.3),
    shear=0.1,
    tilt=(0.005, 0.93),
    zoom_p=0.5,
    zoom=(0.5, 2.5),
    shift=0.078,
    texture_p=0.8,
    gamma_p=0.5,
    gamma=(0.5, 1.5),
)
"""The ranges of the released code; the paper names the kinds only. Its tilt, 1e-5 to 2e-3 for each of 466 px,
is given here for the ROI's side; its random crop (450 of 520 px) is the shift."""

MILD = Augmentation(
    rotation_degrees=12.0,
    scale=(0.85, 1.15),
    shear=0.05,
    tilt=(-0.08, 0.08),
    shift=0.1,
    texture_p=0.4,
    noise=0.04,
    gamma_p=0.8,
    gamma=(0.6, 1.6),
    gain=0.15,
)
"""Ranges near to what radiographs of knees show."""

STRANGERS = replace(
    MILD,
    rotation_degrees=15.0,
    blur_px=(0.4, 1.5),
    gamma=(0.6, 1.7),
    sharpen_p=0.25,
    sharpen=2.0,
    clutter_p=0.2,
)
"""For networks that are to meet any hospital's pictures: wider than MILD, with edge enhancement, collimation
borders and bars of text."""

ANYWHERE = replace(STRANGERS, flip_p=0.5, rotation_degrees=20.0, shift=0.05)
"""The same for the search, which is to find either side's knee, numbered by anatomy."""
