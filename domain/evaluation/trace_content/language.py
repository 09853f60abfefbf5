"""Guesses the language of a text: by script, then by function words and letters.

A heuristic without a model. It knows the languages of `Language`; a text in another language has
only its script, or is undetected. Closely related languages that it doesn't know may be taken for
one that it knows: Galician for Portuguese, Afrikaans for Dutch. Short or mixed texts are
undetected.
"""

# ruff: noqa: RUF001 - words of languages in other scripts
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import nlargest
from typing import Final

from domain.evaluation.trace_content.text import normalize_text, words

READ_MAX: Final = 20_000  # characters of a text that are read, from its beginning
WORDS_MIN: Final = 4  # words of the script; characters for scripts without spaces
SCRIPT_SHARE_MIN: Final = 0.6  # of the words; below it the text is mixed
KANA_SHARE_MIN: Final = 0.1  # of Han and kana together; from there on it is Japanese
HITS_MIN: Final = 2  # words that are function words of the language, or have its letters
EVIDENCE_MIN: Final = 1.0  # where a word of several languages counts in part
HITS_SHARE_MIN: Final = 0.15  # of the words: prose has 0.2 to 0.5 in its own language
FOREIGN_MIN: Final = 2  # words with letters of no known language: then it is another language
FOREIGN_SHARE_MIN: Final = 0.1  # the same as a share of the words
LEAD_MIN: Final = 1.4  # times the evidence for the second language


class Language(StrEnum):
    """A language by its ISO 639 code, or a script by its name if many languages share it."""

    EN = "en"
    DE = "de"
    FR = "fr"
    ES = "es"
    IT = "it"
    PT = "pt"
    NL = "nl"
    CA = "ca"
    RO = "ro"
    SV = "sv"
    DA = "da"
    NO = "no"
    FI = "fi"
    ET = "et"
    PL = "pl"
    CS = "cs"
    SK = "sk"
    HR = "hr"
    HU = "hu"
    TR = "tr"
    ID = "id"
    VI = "vi"
    EL = "el"
    HE = "he"
    ZH = "zh"
    JA = "ja"
    KO = "ko"
    TH = "th"
    RU = "ru"
    UK = "uk"
    BG = "bg"
    AR = "ar"
    FA = "fa"
    UR = "ur"
    HI = "hi"
    MR = "mr"
    CYRILLIC = "cyrillic"
    ARABIC = "arabic"
    DEVANAGARI = "devanagari"


LATIN: Final = "latin"
CYRILLIC: Final = "cyrillic"
ARABIC: Final = "arabic"
DEVANAGARI: Final = "devanagari"
_HAN: Final = "han"
_KANA: Final = "kana"
_SCRIPTS: Final = re.compile(
    rf"(?P<{LATIN}>[a-z\u00aa\u00ba\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff])"
    r"|(?P<el>[\u0370-\u03ff\u1f00-\u1fff])"
    rf"|(?P<{CYRILLIC}>[\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f])"
    r"|(?P<he>[\u0590-\u05ff])"
    rf"|(?P<{ARABIC}>[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff])"
    rf"|(?P<{DEVANAGARI}>[\u0900-\u097f\ua8e0-\ua8ff])"
    r"|(?P<th>[\u0e00-\u0e7f])"
    r"|(?P<ko>[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff])"
    rf"|(?P<{_KANA}>[\u3041-\u30ff\u31f0-\u31ff])"
    rf"|(?P<{_HAN}>[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_CODE_OR_URL: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\bhttps?://\S+", re.DOTALL)
"""Code and URLs, which belong to no language."""

# Words that are frequent in prose, in the form that `words` gives.
_FUNCTION_WORDS: Final[Mapping[str, Mapping[Language, str]]] = {
    LATIN: {
        Language.EN: (
            "the a of and to in is was that for it with as on be at by this had not are but from "
            "or have an they which you were her all she there would their we him been has when "
            "who will more if no out so said what its about than into them can only other do "
            "your my how could i he"
        ),
        Language.DE: (
            "der die das und in zu den ist von mit sich auf für ein eine nicht im dem des es "
            "auch als an werden aus er hat dass sie nach wird bei einer um am sind noch wie "
            "einem über einen so zum haben nur oder aber vor zur bis mehr durch man sein wurde "
            "wenn kann ich wir ihr ihre können bitte"
        ),
        Language.FR: (
            "de la le et les des en un une du que est dans qui pour pas au sur se il ne plus par "
            "ce avec sont ou son mais nous vous je elle cette aux ont été être fait comme on sa "
            "ses leur même si tout bien sans peut y deux l d c qu n s j votre avez"
        ),
        Language.ES: (
            "de la que el en y a los del se las por un para con no una su al lo como más pero "
            "sus le ya o este sí porque esta entre cuando muy sin sobre también me hasta hay "
            "donde quien desde todo nos durante uno ni ha es son está puede usted tiene"
        ),
        Language.IT: (
            "di e il la che in a per un è del non sono una le si con da i come dei nel alla "
            "anche al delle più della ha lo ma gli se o su questo essere stato ci dal tra suo "
            "sua nella dalla mi ho quando molto cui sul può loro l d c degli"
        ),
        Language.PT: (
            "de a o que e do da em um para é com não uma os no se na por mais as dos como mas "
            "foi ao ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo "
            "pela até isso ela entre era depois sem mesmo aos ter seus quem você pode são"
        ),
        Language.NL: (
            "de het een en van in is dat op te zijn met voor niet aan er om ook als maar dan bij "
            "nog uit door over naar heeft hij ze wordt hebben deze kan wel tot was worden werd "
            "of geen die ik je u wij uw wat meer moet mijn hun dit zo"
        ),
        Language.CA: (
            "de la el i a que en els les per un una amb no és del al més com ha va dels aquest "
            "aquesta però o si són seva seu hi ho també molt ser quan sobre l d us vostè pot"
        ),
        Language.RO: (
            "de și în a la cu pe o un nu că este din pentru care mai au fost se sau dar ce fi "
            "sunt am ar prin după această acest lui să le dumneavoastră vă poate dacă te ai"
        ),
        Language.SV: (
            "och i att det som en på är av för med till den har de inte om ett han men var jag "
            "sig från vi så kan när du eller ska din ditt vill nu blir dig också finns skulle "
            "detta"
        ),
        Language.DA: (
            "og i at det er en til på som de med af for ikke den har der et han var jeg men sig "
            "fra vi kan om så når du eller skal din dit vil nu bliver dig også blev hvad noget "
            "efter"
        ),
        Language.NO: (
            "og i å det er en til på som de med av for ikke den har et han var jeg men seg fra "
            "vi kan om så når du eller skal din ditt vil nå blir deg også ble hva noe etter at"
        ),
        Language.FI: (
            "ja on ei että se oli ovat hän mutta myös kun joka niin tai kuin jos voi ole sen "
            "minä en nyt vain siitä tämä olen tämän voin sitä mitä ne jotka sekä kanssa sinun "
            "voit olet"
        ),
        Language.ET: (
            "ja on ei et see ta kui mis oli ka või aga nagu oma kes siis teie saab selle kas "
            "veel palun ning mida ma te me olen ole välja seda võib ära pole kus sest"
        ),
        Language.PL: (
            "i w na z się nie do to że jest o jak a po od za co dla przez ale czy tak są tym był "
            "oraz może już ich jego tylko ten które który być można mogę proszę pan państwa "
            "twoje"
        ),
        Language.CS: (
            "a v na se je že to s z do o i ve pro jako za by ale po od jsou jsem které který při "
            "podle byl nebo není tak už může jeho mohu bylo vás vám si než ani aby této tento"
        ),
        Language.SK: (
            "a v na sa je že to s z do o aj pre ako za by ale po od sú som ktorý ktoré pri podľa "
            "bol alebo nie tak už môže môžem vám váš vás si čo ešte bolo prosím ho jeho tento "
            "táto"
        ),
        Language.HR: (
            "i u na je se da za od su s koji kao ne ili ali što bi iz po vas vaš vam nije ako će "
            "bio to o do sa koje samo može mogu još ste sam smo nam bez te ovaj molim prema"
        ),
        Language.HU: (
            "a az és hogy nem is egy ez van meg de csak már volt mint ha el vagy még azt be ki "
            "ezt lehet kell után lesz nincs minden sem önnek ön számára amely vannak tudok"
        ),
        Language.TR: (
            "ve bir bu da de için ile çok daha olarak ne o gibi kadar en ben değil var olan "
            "sonra mi her ama ya siz size olduğu şey ki veya yok olur lütfen bunu tüm ancak"
        ),
        Language.ID: (
            "yang dan di itu dengan untuk ini dari dalam tidak akan pada ke anda saya ada adalah "
            "atau juga bisa karena oleh sudah telah dapat kami lebih seperti tersebut sebagai "
            "agar"
        ),
        Language.VI: (
            "và là của có trong được cho không một với các này đã những để bạn tôi người thì đó "
            "từ khi về như nhưng cũng ra đến sẽ rất vào phải theo nếu bị thể xin"
        ),
    },
    CYRILLIC: {
        Language.RU: (
            "и в не на что это с как я по но для от из у же вы за так было быть был все ваш "
            "можно к он она они мы если или вам уже при также его есть бы то ваша ваше"
        ),
        Language.UK: (
            "і в не на що це з як я по але для від із у ж ви за так було бути був все ваш можна "
            "та до він вона вони ми якщо або вам вже при також його є б й ваша ваше"
        ),
        Language.BG: (
            "и в не на че това с как аз по но за от из у ви са се да е ще беше може към той тя "
            "те ние ако или вече при също го има би си вашата вашия ли до"
        ),
    },
    ARABIC: {
        Language.AR: (
            "في من على إلى أن التي الذي هذا هذه ما لا عن مع كان هو هي تم قد أو لم ذلك كل بعد إذا "
            "يمكن كما لقد ثم حتى أي يمكنني لك"
        ),
        Language.FA: (
            "در به از که این را با است برای آن یک می و های شما شد هم تا بر یا اگر شده نیست من ما "
            "باید خود هر شود کرد"
        ),
        Language.UR: (
            "کے میں کی ہے کا سے اور کو نے پر یہ ہیں کہ آپ نہیں وہ تھا اس کر گیا ایک بھی تو ہو "
            "کیا ہم اپنے لیے مجھے"
        ),
    },
    DEVANAGARI: {
        Language.HI: (
            "है हैं का की के में को से और यह आप नहीं कि पर ने था थी एक भी तो हो कर गया गई लिए वह "
            "इस मैं कृपया हूँ सकता"
        ),
        Language.MR: (
            "आहे आहेत आणि या च्या मध्ये नाही तुम्ही हे ते साठी होते केला केली झाला झाली मी तर पण "
            "असे हा ही त्या आपण आपली"
        ),
    },
}
# Letters that only these of the known languages use. A word with one of them is evidence.
_LETTERS: Final[Mapping[str, Mapping[Language, str]]] = {
    LATIN: {
        Language.DE: "ß",
        Language.ES: "ñ",
        Language.PT: "ãõ",
        Language.RO: "șțăţ",
        Language.SV: "å",
        Language.DA: "åæø",
        Language.NO: "åæø",
        Language.PL: "łżźśęą",
        Language.CS: "řůě",
        Language.SK: "ľĺŕ",
        Language.HU: "őű",
        Language.TR: "ığş",
        Language.VI: "ơưđạảấầẩậắằặẹẻẽếềểễệịỉọỏốồổỗộớờởợụủứừửựỳỷ",
    },
    CYRILLIC: {Language.RU: "ыэё", Language.UK: "іїєґ", Language.BG: "ъ"},
    ARABIC: {Language.AR: "ةىيكأإ", Language.FA: "پچژگیک", Language.UR: "ٹڈڑںےھہ"},
}
# Letters that none of the known languages use: Baltic, Icelandic, Welsh, Azerbaijani, Albanian;
# Serbian, Macedonian, Belarusian, Kazakh; Kurdish, Pashto, Sindhi, Uyghur.
_FOREIGN_LETTERS: Final[Mapping[str, frozenset[str]]] = {
    LATIN: frozenset("ėųįūķļņģāēīðþŵŷəë"),
    CYRILLIC: frozenset("јљњћђџѓќѕўәғқңөұүһ"),
    ARABIC: frozenset("ەۆێڵڕښځڅږړۍېڻڪۇۈۋ"),
}
_DEVANAGARI_WORD: Final = re.compile(r"[\u0900-\u0963\u0970-\u097f]+")
"""A word with its vowel signs, which `words` leaves out."""


def _weights(by_language: Mapping[Language, str]) -> dict[str, dict[Language, float]]:
    """Function word → its languages, each with weight 1 / number of languages."""
    having: dict[str, list[Language]] = {}
    for language, listed in by_language.items():
        for word in dict.fromkeys(normalize_text(listed).split()):
            having.setdefault(word, []).append(language)
    return {word: dict.fromkeys(some, 1 / len(some)) for word, some in having.items()}


def _letter_weights(by_language: Mapping[Language, str]) -> dict[str, dict[Language, float]]:
    """Letter → its languages, each with weight 1 / number of languages."""
    spaced = {language: " ".join(letters) for language, letters in by_language.items()}
    return _weights(spaced)


_WORD_WEIGHTS: Final = {script: _weights(known) for script, known in _FUNCTION_WORDS.items()}
_LETTER_WEIGHTS: Final = {script: _letter_weights(known) for script, known in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """The result of detection. `language` is None if the script doesn't decide it."""

    script: str
    language: Language | None = None


def detect_language(text: str) -> DetectedLanguage | None:
    """Detects the language of a text, ignoring code and URLs. None if it is too short or mixed."""
    found = Counter(words(_CODE_OR_URL.sub(" ", text[:READ_MAX])))
    scripts: Counter[str] = Counter()
    for word, times in found.items():
        if (own := _script_of(word)) is not None:
            scripts[own] += times
    written = sum(scripts.values())
    kana = scripts.pop(_KANA, 0)
    if kana:  # Japanese uses both
        scripts[_HAN] += kana
    script, count = max(scripts.items(), key=lambda one: one[1], default=("", 0))
    if count < WORDS_MIN or count < SCRIPT_SHARE_MIN * written:
        return None
    if script == _HAN:
        return DetectedLanguage(
            _HAN, Language.JA if kana >= KANA_SHARE_MIN * count else Language.ZH
        )
    if script == DEVANAGARI:
        found = Counter(_DEVANAGARI_WORD.findall(normalize_text(text[:READ_MAX])))
        count = found.total()
    if script in _FUNCTION_WORDS:
        return DetectedLanguage(script, _by_words(found, count, script))
    return DetectedLanguage(script, Language(script))


def is_language(found: DetectedLanguage | None, language: Language) -> bool | None:
    """Whether a text is in `language`; None if that is unknown."""
    if found is None:
        return None
    if found.script == language:  # a script by its name
        return True
    if found.language is not None:
        return found.language is language
    return None if language in _FUNCTION_WORDS[found.script] else False  # the script decides it


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
    if word.isascii():
        return None if word.isdigit() else LATIN
    found = _SCRIPTS.search(word)
    return found.lastgroup if found else None


def _by_words(found: Counter[str], count: int, script: str) -> Language | None:
    """The language with the most evidence; None if there is too little, or no clear lead."""
    known, letters = _WORD_WEIGHTS[script], _LETTER_WEIGHTS.get(script, {})
    foreign = _FOREIGN_LETTERS.get(script, frozenset())
    evidence = dict.fromkeys(_FUNCTION_WORDS[script], 0.0)
    hits = dict.fromkeys(_FUNCTION_WORDS[script], 0)
    unknown = 0
    for word, times in found.items():
        weights = known.get(word)
        if weights is None:
            if word.isascii():
                continue
            unknown += 0 if foreign.isdisjoint(word) else times
            letter = next((one for one in word if one in letters), None)
            weights = letters[letter] if letter else {}
        for language, weight in weights.items():
            evidence[language] += weight * times
            hits[language] += times
    if unknown >= max(FOREIGN_MIN, FOREIGN_SHARE_MIN * count):
        return None
    first, second = nlargest(2, evidence, key=evidence.__getitem__)
    if hits[first] < max(HITS_MIN, HITS_SHARE_MIN * count):
        return None
    return first if evidence[first] >= max(EVIDENCE_MIN, LEAD_MIN * evidence[second]) else None
