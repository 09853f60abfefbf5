"""Texts that spreadsheets evaluate when they open a file of CSV."""

from typing import Final

# Spreadsheets pass over the control characters, and in some languages take full-width characters
# for the ASCII ones (OWASP, Testing for CSV Injection).
FORMULA_PREFIXES: Final = ("=", "+", "-", "@", *"\t\r\n\0", *"\uff1d\uff0b\uff0d\uff20")
