"""Choose a few images that represent a whole set."""

import numpy as np


def choose_probe(pixels: np.ndarray, images: int) -> list[int]:
    """Choose ``images`` indices into the N of ``pixels``, int64 ``(N, C)`` by image and class, ascending.

    First a greedy set cover: the image with most classes not yet shown, until all are. Then image by image
    the one that brings the frequencies of the choice nearest (L1) to the set's; the first of equals.
    ValueError if there are fewer images, or the cover needs more.
    """
    pixels = np.asarray(pixels, np.int64)
    if pixels.ndim != 2:
        raise ValueError(f'pixels must be (images, classes), but got shape {pixels.shape}')
    if not 1 <= images <= len(pixels):
        raise ValueError(f'a probe of {images} images cannot be chosen from {len(pixels)}')
    chosen = _cover(pixels > 0)
    if len(chosen) > images:
        shown = (pixels[chosen[:images]] > 0).any(axis=0)
        missing = np.flatnonzero(pixels.any(axis=0) & ~shown).tolist()
        raise ValueError(
            f'a probe of {images} images does not show every class: classes {missing} are missing, and with '
            f'them it takes {len(chosen)} images'
        )
    wanted = _frequencies(pixels.sum(axis=0))
    while len(chosen) < images:
        distance = np.abs(_frequencies(pixels[chosen].sum(axis=0) + pixels) - wanted).sum(axis=1)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return sorted(chosen)


def _cover(present: np.ndarray) -> list[int]:
    chosen, missing = [], present.any(axis=0)
    while missing.any():
        best = int((present & missing).sum(axis=1).argmax())
        chosen.append(best)
        missing &= ~present[best]
    return chosen


def _frequencies(pixels: np.ndarray) -> np.ndarray:
    # Images without a labelled pixel have frequency 0 of every class.
    return pixels / np.maximum(pixels.sum(axis=-1, keepdims=True), 1)
