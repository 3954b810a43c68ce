"""Student's t: how far the mean of a few numbers may lie from what they were drawn around, in standard errors."""

import math
from functools import cache

import numpy as np

from neural_plasticity.errors import SettingNotUsable

CONFIDENCE = 0.95


@cache
def student_t(freedom: int) -> float:
    """How far t lies from 0 at most in 95 % of cases; n numbers around their own mean have n − 1 degrees of freedom.

    With t = √ν tan θ its density is in proportion to cosᵛ⁻¹ θ, which is smooth and within bounds. The logarithm of the
    cosine is taken by way of the tangent, which loses nothing where ν is large and all angles are small. Right to 1e-7 of itself.
    """
    if not freedom >= 1:
        raise SettingNotUsable(f"Student's t with freedom={freedom} has no spread; give two numbers or more, or a freedom of 1.")
    angles = np.linspace(0, min(math.pi / 2, 12 / math.sqrt(freedom)), 20001)
    density = np.exp((1 - freedom) / 2 * np.log1p(np.tan(angles) ** 2))
    shares = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(float(np.interp(CONFIDENCE * shares[-1], shares, angles)))
