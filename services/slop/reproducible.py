"""Arithmetic that gives the same bits on every machine.

IEEE 754 defines the result of +, -, *, / and the square root exactly, but not that of exp or pow, which differ between
libraries and instruction sets. `numpy.sum` and BLAS add in an order that depends on the array's shape and the machine.
So these functions use the defined operations only and add from left to right. They work on each row by itself.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

# ln 2 as a sum of two numbers, as in fdlibm's e_exp.c: the first has so few bits that n times it is exact.
_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10
_EXP_TERMS: Final = tuple(1 / math.factorial(k) for k in range(13, -1, -1))  # Taylor coefficients, highest power first
_SMALLEST_EXPONENT: Final = -700.0


def ordered_sum(values: Doubles) -> Doubles:
    """Sums of the rows of (U, D) float64, as (U,) float64; each row is added from left to right."""
    running: Doubles = np.add.accumulate(values, axis=1)
    return running[:, -1]


def sigmoid(z: Doubles) -> Doubles:
    """1 / (1 + exp(-z)) of each element, without overflow."""
    positive: Doubles = 1 / (1 + exp_of_negative(-np.abs(z)))
    return np.where(z >= 0, positive, 1 - positive)


def exp_of_negative(x: Doubles) -> Doubles:
    """exp(x) of each element, with a relative error of about 1e-15; exp(-700) for any x below -700.

    With x = n ln 2 + r, n whole and |r| <= ln(2) / 2, it is 2^n times the Taylor polynomial of exp(r).

    Args:
        x: of any shape, all elements <= 0.
    """
    x = np.maximum(x, _SMALLEST_EXPONENT)
    n = np.rint(x / (_LN2_HIGH + _LN2_LOW))
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    value = np.full_like(r, _EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        value = value * r + term
    result: Doubles = np.ldexp(value, n.astype(np.int32))
    return result


def power(base: float, exponents: npt.NDArray[np.int64]) -> Doubles:
    """`base` to the power of each of (U,) whole exponents >= 0, as (U,) float64, by repeated squaring."""
    result, factor, left = np.ones(exponents.shape), base, exponents
    while left.any():
        result = np.where(left & 1, result * factor, result)
        factor, left = factor * factor, left >> 1
    return result
