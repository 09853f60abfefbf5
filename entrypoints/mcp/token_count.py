"""Counts tokens from above, without a tokenizer: what clients measure is not more.

Clients refuse large results by their own tokenizer. These differ, some aren't published, and the
others need a download. So each run of characters counts as many tokens as known tokenizers take at
most for usual text: words of any language, JSON, code, ids, Base64. docs/mcp.md has the measured
ratios.
"""

import re
from typing import Final

LETTERS_PER_TOKEN: Final = 4  # of a word in ASCII; shorter words are one token
LONG_WORD: Final = 9  # letters; longer words are rare, and cut more often
LETTERS_PER_TOKEN_OF_LONG: Final = 3
CAPITALS_PER_TOKEN: Final = 2
BLANKS_PER_TOKEN: Final = 8
# Scripts whose characters have two bytes in UTF-8: Latin, Greek, Cyrillic, Hebrew, Arabic.
_TWO_BYTES: Final = "\u0080-\u07ff"
# Characters of three bytes that tokenizers know well: punctuation, kana, Han, Hangul, full width.
_COMMON: Final = "\u2000-\u206f\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff00-\uffef"
# Words and capitals contain the blank before them.
_RUNS: Final = re.compile(
    r"((?=[A-Za-z+/=_-]{0,24}[0-9])[A-Za-z0-9+/=_-]{16,})"
    r"|([ ]?[A-Z]?[a-z]+)|([ ]?[A-Z]+)|([ ]+|\t+)"
)
_NOT_ASCII: Final = re.compile(
    rf"([{_TWO_BYTES}]+)|([{_COMMON}]+)|([\u0800-\uffff]+)|([\U00010000-\U0010ffff]+)"
)


def count_tokens(text: str) -> int:
    """An upper bound of the tokens of usual text.

    One token for each digit, sign and line break, each character of an id or of Base64, each four
    letters of a word (three of a long one), and each character of two bytes; two for Han, kana and
    Hangul; three or four, its bytes, for any other character. A blank before a word counts with the
    word. A text of random letters can take up to twice as many.
    """
    count = 0
    if not text.isascii():
        others = _NOT_ASCII.findall(text)
        for two, common, three, four in others:
            count += len(two) + 2 * len(common) + 3 * len(three) + 4 * len(four)
        text = _NOT_ASCII.sub("\n", text)
        count -= len(others)
    count += len(text)  # a token for each character that isn't part of a run
    for _, word, capitals, blanks in _RUNS.findall(text):
        if word:
            letters = len(word) - (word[0] == " ")
            each = LETTERS_PER_TOKEN if letters < LONG_WORD else LETTERS_PER_TOKEN_OF_LONG
            count -= len(word) + -letters // each
        elif capitals:
            letters = len(capitals) - (capitals[0] == " ")
            count -= len(capitals) + -letters // CAPITALS_PER_TOKEN
        elif blanks:
            count -= len(blanks) + -len(blanks) // BLANKS_PER_TOKEN
    return count
