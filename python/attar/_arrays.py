"""Arrays in: NumPy, torch or lists. Apart, for NumPy is loaded when a call first needs it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from ._error import usage


def _array(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """torch's bfloat16, which NumPy has not, as float32."""
    torch = sys.modules.get("torch")  # where it is not loaded nothing is a tensor
    if torch is not None and isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise usage(name, "has rows of several lengths", "one length", hint="pad them: what follows a token changes nothing before it") from None


def ids(tokens: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Token ids as int32, refused where that would change them."""
    array = _array("tokens", tokens)
    if array.size == 0:
        return np.zeros(array.shape, "int32")
    if array.dtype.kind not in "iu":
        raise usage("tokens", "are no token ids", "whole numbers", str(array.dtype))
    if array.min() < 0 or array.max() > np.iinfo("int32").max:
        outside = next(int(value) for value in array.flat if not 0 <= value <= np.iinfo("int32").max)
        raise usage("tokens", "hold an id outside the vocabulary", "", str(outside))
    return np.ascontiguousarray(array, "int32")


def rows(tokens: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """A row of token ids (n), or a batch of them (B, n)."""
    array = ids(tokens)
    if array.ndim not in (1, 2):
        raise usage("tokens", "are neither a row of token ids nor a batch of rows", "one or two dimensions", str(array.ndim))
    return array


def weights(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """A tensor's numbers as float32."""
    array = _array(name, values)
    if array.dtype.kind not in "fiub":
        raise usage(name, "holds no numbers", "floats", str(array.dtype))
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, "float32")
    if not np.isfinite(array).all():
        raise usage(name, "holds a value that is not finite in float32")
    return array
