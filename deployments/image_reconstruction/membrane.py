"""A predicted patch fitted into a picture, so that no seam is seen. Imported only where numpy is wanted."""

import numpy as np

ROUNDS = 80  # of conjugate gradients; pictures here have 64 pixels a side, or a few times that


def fitted(picture: np.ndarray, predicted: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """`predicted` put where `pixels` (bool [h, w]) says, shifted smoothly so that it meets `picture` at the rim.

    All pictures are float [h, w, c]. The shift is the membrane of Perez, Gangnet and Blake, "Poisson image editing"
    (2003): zero Laplacian inside, the difference outside; solved by conjugate gradients.
    """
    inside = pixels[:, :, None].astype(predicted.dtype)
    near = np.stack([_moved(np.ones_like(inside), d) for d in range(4)]).sum(0)  # neighbours within the picture

    def laplacian(field: np.ndarray) -> np.ndarray:
        return near * field - sum(_moved(field, d) for d in range(4))

    outside = (picture - predicted) * (1 - inside)
    shift = np.zeros_like(predicted)
    residual = -laplacian(outside) * inside
    step, power = residual.copy(), np.square(residual).sum((0, 1))
    for _ in range(ROUNDS):
        if power.max() < 1e-6:
            break
        image = laplacian(step) * inside
        length = power / np.maximum((step * image).sum((0, 1)), 1e-12)
        shift, residual = shift + length * step, residual - length * image
        power, old = np.square(residual).sum((0, 1)), power
        step = residual + power / np.maximum(old, 1e-12) * step
    return np.where(inside > 0, predicted + shift, picture)


def _moved(field: np.ndarray, direction: int) -> np.ndarray:
    """Each pixel's neighbour in one of four directions, 0 beyond the edge."""
    moved = np.zeros_like(field)
    if direction == 0:
        moved[1:] = field[:-1]
    elif direction == 1:
        moved[:-1] = field[1:]
    elif direction == 2:
        moved[:, 1:] = field[:, :-1]
    else:
        moved[:, :-1] = field[:, 1:]
    return moved
