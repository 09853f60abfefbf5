"""Values of attributes that both wire types make in the same way."""

import base64
import math


def text_from_bytes(data: bytes) -> str:
    """The text if the bytes are UTF-8, else base64."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()


def from_double(number: float) -> float | str:
    """A number that JSON has, or the name of one that it doesn't have."""
    if math.isfinite(number):
        return number
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
