"""Guesses the language of a text: by script, and for Latin script by function words.

A heuristic without a model. It knows seven languages in Latin script, and takes Afrikaans for Dutch
and Galician for Portuguese. It doesn't distinguish languages that share another script. For short
or mixed texts it gives no result.
"""

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from heapq import nlargest
from typing import Final

from domain.evaluation.trace_content.text import words

READ_MAX: Final = 20_000  # characters of a text that are read, from its beginning
WORDS_MIN: Final = 4  # words of the script; characters for scripts without spaces
SCRIPT_SHARE_MIN: Final = 0.6  # of the words; below it the text is mixed
KANA_SHARE_MIN: Final = 0.1  # of Han and kana together; from there on it is Japanese
HITS_MIN: Final = 2.0  # function words; a word of several languages counts in part
HITS_SHARE_MIN: Final = 0.15  # of the words: prose has 0.2 to 0.5 in its own language
LEAD_MIN: Final = 1.4  # times the hits of the second language


class Language(StrEnum):
    """A language by its ISO 639 code, or a script by its name if many languages share it."""

    EN = "en"
    DE = "de"
    FR = "fr"
    ES = "es"
    IT = "it"
    PT = "pt"
    NL = "nl"
    EL = "el"
    HE = "he"
    ZH = "zh"
    JA = "ja"
    KO = "ko"
    TH = "th"
    CYRILLIC = "cyrillic"
    ARABIC = "arabic"
    DEVANAGARI = "devanagari"


LATIN: Final = "latin"
_HAN: Final = "han"
_KANA: Final = "kana"
_SCRIPTS: Final = re.compile(
    rf"(?P<{LATIN}>[a-z\u00aa\u00ba\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff])"
    r"|(?P<el>[\u0370-\u03ff\u1f00-\u1fff])"
    r"|(?P<cyrillic>[\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f])"
    r"|(?P<he>[\u0590-\u05ff])"
    r"|(?P<arabic>[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff])"
    r"|(?P<devanagari>[\u0900-\u097f\ua8e0-\ua8ff])"
    r"|(?P<th>[\u0e00-\u0e7f])"
    r"|(?P<ko>[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff])"
    rf"|(?P<{_KANA}>[\u3041-\u30ff\u31f0-\u31ff])"
    rf"|(?P<{_HAN}>[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_CODE_OR_URL: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\bhttps?://\S+", re.DOTALL)
"""Code and URLs, which belong to no language."""

_FUNCTION_WORDS: Final = {
    Language.EN: (
        "the of and to in is was that for it with as on be at by this had not are but from or have "
        "an they which you were her all she there would their we him been has when who will more "
        "if no out so said what its about than into them can only other do your my how could i he"
    ),
    Language.DE: (
        "der die das und in zu den ist von mit sich auf für ein eine nicht im dem des es auch als "
        "an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so "
        "zum haben nur oder aber vor zur bis mehr durch man sein wurde wenn kann ich wir ihr ihre "
        "sie können bitte"
    ),
    Language.FR: (
        "de la le et les des en un une du que est dans qui pour pas au sur se il ne plus par ce "
        "avec sont ou son mais nous vous je elle cette aux ont été être fait comme on sa ses leur "
        "même si tout bien sans peut y deux l d c qu n s j votre avez"
    ),
    Language.ES: (
        "de la que el en y a los del se las por un para con no una su al lo como más pero sus le "
        "ya o este sí porque esta entre cuando muy sin sobre también me hasta hay donde quien "
        "desde todo nos durante uno ni ha es son está puede usted tiene"
    ),
    Language.IT: (
        "di e il la che in a per un è del non sono una le si con da i come dei nel alla anche al "
        "delle più della ha lo ma gli se o su questo essere stato ci dal tra suo sua nella dalla "
        "mi ho quando molto cui sul può loro l d c un degli"
    ),
    Language.PT: (
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao "
        "ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso "
        "ela entre era depois sem mesmo aos ter seus quem você pode são"
    ),
    Language.NL: (
        "de het een en van in is dat op te zijn met voor niet aan er om ook als maar dan bij nog "
        "uit door over naar heeft hij ze wordt hebben deze kan wel tot was worden werd of geen die "
        "ik je u wij uw wat meer moet mijn hun dit zo"
    ),
}


def _weights() -> dict[str, dict[Language, float]]:
    """Function word → its languages, each with weight 1 / number of languages."""
    having: dict[str, list[Language]] = {}
    for language, listed in _FUNCTION_WORDS.items():
        for word in dict.fromkeys(listed.split()):
            having.setdefault(word, []).append(language)
    return {word: dict.fromkeys(some, 1 / len(some)) for word, some in having.items()}


_WEIGHTS: Final = _weights()


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """The result of detection. For Latin script `language` may be unknown (None)."""

    script: str
    language: Language | None = None


def detect_language(text: str) -> DetectedLanguage | None:
    """Detects the language of a text, ignoring code and URLs. None if it is too short or mixed."""
    found = words(_CODE_OR_URL.sub(" ", text[:READ_MAX]))
    scripts = Counter(script for word in found if (script := _script_of(word)))
    written = sum(scripts.values())
    kana = scripts.pop(_KANA, 0)
    if kana:  # Japanese uses both
        scripts[_HAN] += kana
    script, count = max(scripts.items(), key=lambda one: one[1], default=("", 0))
    if count < WORDS_MIN or count < SCRIPT_SHARE_MIN * written:
        return None
    if script == LATIN:
        return DetectedLanguage(LATIN, _latin(found, count))
    if script == _HAN:
        return DetectedLanguage(
            _HAN, Language.JA if kana >= KANA_SHARE_MIN * count else Language.ZH
        )
    return DetectedLanguage(script, Language(script))


def is_language(found: DetectedLanguage | None, language: Language) -> bool | None:
    """Whether a text is in `language`; None if that is unknown."""
    if found is None:
        return None
    if found.language is not None:
        return found.language is language
    return None if language in _FUNCTION_WORDS else False  # a different script decides it


def same_language(one: DetectedLanguage | None, other: DetectedLanguage | None) -> bool | None:
    """Whether two texts are in the same language; None if that is unknown."""
    if one is None or other is None:
        return None
    if one.script != other.script:
        return False
    if one.language is None or other.language is None:
        return None
    return one.language is other.language


def _script_of(word: str) -> str | None:
    """The script of the first letter with a known script."""
    found = _SCRIPTS.search(word)
    return found.lastgroup if found else None


def _latin(found: list[str], count: int) -> Language | None:
    hits = dict.fromkeys(_FUNCTION_WORDS, 0.0)
    for word in found:
        for language, weight in _WEIGHTS.get(word, {}).items():
            hits[language] += weight
    first, second = nlargest(2, hits, key=hits.__getitem__)
    if hits[first] < max(HITS_MIN, HITS_SHARE_MIN * count, LEAD_MIN * hits[second]):
        return None
    return first
