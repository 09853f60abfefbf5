"""Features of the final answer that need no understanding of it, for the heuristic judge.

They compare the answer with the request, and with what tools and retrievals returned.
"""

# ruff: noqa: RUF001 - words and signs of languages in other scripts
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Final

from domain.evaluation.evidence.redaction import RedactionMode, Redactor
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.language import Language, detect_language, is_language
from domain.evaluation.trace_content.messages import decode_embedded_json, decode_json, is_blank
from domain.evaluation.trace_content.numbers import (
    asked_result,
    check_equations,
    is_derivable,
    known_values,
    named_months,
    number_values,
    numbers,
    states_number,
)
from domain.evaluation.trace_content.phrases import (
    ADMISSIONS,
    CLAIMS,
    COURTESIES,
    NEGATIONS,
    PROMISES,
    REFUSALS,
    AnswerText,
    PhraseSearch,
)
from domain.evaluation.trace_content.text import containment, has_words, shingles, to_text, words
from domain.evaluation.trace_content.tool_calls import is_cut_off
from domain.tracing.messages.json_value import child_values
from domain.tracing.span import SpanKind

ANSWER_MAX: Final = 8_000  # characters of an answer that are read
REQUEST_MAX: Final = 8_000
SOURCES_MAX: Final = 60_000  # characters of what tools and retrievals returned
ANSWER_DIGITS_MIN: Final = 2  # numbers of one digit occur everywhere
STEM_LENGTH: Final = 5  # letters of a word that are compared, so that inflections are equal
WORD_LENGTH_MIN: Final = 4
GROUNDED_WORDS_MIN: Final = 4  # of an answer; with fewer, overlap is chance
SOURCE_WORDS_MIN: Final = 12  # of a text to be summarised
NGRAM_WORDS: Final = 4
NGRAMS_MIN: Final = 8
COPIED_SHARE: Final = 0.8
NOT_SHORTER: Final = 0.85
ONE_SENTENCE_MAX: Final = 2  # where one is asked for: a second one isn't held against the answer
STATEMENT_WORDS_MIN: Final = 3
TERMS_MAX: Final = 50  # of a request
VALUES_MAX: Final = 200  # of a JSON answer
STATEMENTS_MAX: Final = 400  # of the sources
SAME_STATEMENT_SHARE: Final = 0.6

_QUOTED: Final = re.compile(
    r"\"[^\"]*\"|„[^„“”]*[“”]|«[^«»]*»|“[^“”]*”|「[^「」]*」|:\s.{40,}\Z", re.DOTALL
)
_FENCED_JSON: Final = re.compile(r"\s*```\w*\n(.*?)\n?```\s*", re.DOTALL)
_MARKUP: Final = re.compile(r"</?tool_call|<function=|\A\s*\{\"(?:name|tool)\": ?\"\w+\", ?\"arg")
_PLACEHOLDER: Final = re.compile(r"\[[A-Z][A-Z _]{2,}\]|\{\{ ?\w+ ?\}\}|lorem ipsum|<[A-Z_]{4,}>")
_RAW_ERROR: Final = re.compile(r"\A\W*(?:(?:\w+)?error\b|traceback\b|exception\b)", re.IGNORECASE)
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|\Z)|[。！？]")
_STATEMENT: Final = re.compile(r"(?<=[.!?。！？;])\s*|\n+")
_IDENTIFIER: Final = re.compile(
    r"\b(?=[A-Z\d-]{0,40}\d)(?=\d{0,40}[A-Z-])[A-Z\d]+(?:-[A-Z\d]+){0,8}\b", re.IGNORECASE
)
_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_NAME: Final = re.compile(r"(?<=[^\W\d_] )[A-ZÀ-Þ][^\W\d_]{2,}|(?<=, )[A-ZÀ-Þ][^\W\d_]{2,}")
_KEYS: Final = re.compile(
    r"(?:keys?|schlüssel|claves?|clés?|chaves?|chiav[ei]|sleutels?|キーは|键为|ключ\w{0,20})\W+"
    r"([^:.)“„「\"«']{1,120})",
    re.IGNORECASE,
)
_KEY: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_JOINTS: Final = frozenset({"and", "und", "y", "et", "e", "en", "i", "o", "from", "aus", "de", "a"})
_TRANSLATE: Final = re.compile(
    r"translat|übersetz|tradu|vertaal|perewed|перевед|翻译|翻譯|訳|번역|översätt|przetłumacz",
    re.IGNORECASE,
)
_SUMMARISE: Final = re.compile(
    r"summar|fass\w{0,4}\b.{1,300}\bzusammen|zusammenfass|résum|resum|riassum|要約|概括|总结|總結|요약|переска",
    re.IGNORECASE,
)
_ONE_SENTENCE: Final = re.compile(
    r"(?:in|into) one (?:\w+ )?sentence|in einem (?:\w+ )?satz|en une (?:\w+ )?phrase"
    r"|en una (?:\w+ )?frase|in una (?:\w+ )?frase|numa (?:\w+ )?frase|in één zin"
    r"|одним предложением|一文で|一句话|한 문장",
    re.IGNORECASE,
)
_LANGUAGE_NAMES: Final[Mapping[Language, str]] = {
    Language.EN: (
        "english|englisch|anglais|inglés|inglese|inglês|engels|английск|英[文语語]|영어|angielsk"
    ),
    Language.DE: (
        "german|deutsch|allemand|alemán|tedesco|alemão|duits|немецк|德[文语語]|ドイツ語|독일어"
    ),
    Language.FR: (
        "french|französisch|français|francés|francese|francês|frans|французск|法[文语語]|フランス語"
    ),
    Language.ES: (
        "spanish|spanisch|espagnol|español|spagnolo|espanhol|spaans|испанск|西班牙[文语語]"
        "|スペイン語"
    ),
    Language.IT: (
        "italian|italienisch|italien|italiano|italiaans|итальянск|意大利[文语語]|イタリア語"
    ),
    Language.PT: "portuguese|portugiesisch|portugais|portugués|portoghese|português|португальск",
    Language.NL: "dutch|niederländisch|néerlandais|holandés|olandese|holandês|nederlands",
    Language.PL: "polish|polnisch|polonais|polaco|polacco|polonês|polsk",
    Language.RU: "russian|russisch|russe|ruso|russo|русск|俄[文语語]|ロシア語|러시아어",
    Language.JA: (
        "japanese|japanisch|japonais|japonés|giapponese|japonês|японск|日[文语語]|日本語|일본어"
    ),
    Language.ZH: "chinese|chinesisch|chinois|chino|cinese|chinês|китайск|中[文语語]|中国語|중국어",
    Language.KO: "korean|koreanisch|coréen|coreano|корейск|韩[文语語]|韓国語|한국어",
}
_NAMED_LANGUAGES: Final = tuple(
    (language, re.compile(rf"(?<![^\W\d_])(?:{names})", re.IGNORECASE))
    for language, names in _LANGUAGE_NAMES.items()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFeatures:
    """Features of the final answer. None is unknown: there was nothing to compare with.

    `declines`, `admits_failure`, `announces_work` and `claims_action` are about usual phrases in
    the language of the answer, `asks_back` about a question at its end. `is_wrong_language` tells
    whether the answer is in another language than the request, or than the one it asks for.
    `is_expected_translation` tells whether a translation is in the language that was asked for.

    `grounded_numbers` and `grounded_words` are the shares of the numbers and of the words of the
    answer that occur in the sources. `missing_terms` counts numbers, ids and names of the request
    that occur neither in a call nor in the answer; `unhandled_terms` counts those that the answer
    repeats, but that no call contains. `negates_otherwise` tells whether the answer repeats a
    statement of a source, but only one of them negates it.
    """

    declines: bool = False
    admits_failure: bool = False
    announces_work: bool = False
    claims_action: bool = False
    asks_back: bool = False
    is_wrong_language: bool = False
    is_expected_translation: bool = False
    is_cut: bool = False
    is_raw: bool = False  # an error message, a tool call, or a text with placeholders
    leaks_secret: bool = False
    repeated_share: float = 0.0
    right_equations: int = 0
    wrong_equations: int = 0
    has_asked_result: bool | None = None
    is_asked_json: bool | None = None  # whether it is JSON; None if JSON wasn't asked for
    missing_keys: int = 0  # of those that the request names
    grounded_values: float | None = None  # the share of the values of the JSON
    grounded_numbers: float | None = None
    grounded_words: float | None = None
    is_copied: bool = False  # a summary that isn't shorter than the text
    missing_terms: int = 0
    unhandled_terms: int = 0
    known_terms: int = 0  # terms of the request that a call or the answer contains
    negates_otherwise: bool = False


def extract_answer_features(subject: EvaluatedTrace) -> AnswerFeatures:
    """The features of the final answer of a trace."""
    return _Reader(subject).features()


class _Reader:
    def __init__(self, subject: EvaluatedTrace) -> None:
        self._subject = subject
        self._request = subject.request.text[:REQUEST_MAX]
        self._answer = subject.answer.text[:ANSWER_MAX]
        self._text = AnswerText(self._answer, self._request)

    def features(self) -> AnswerFeatures:
        if not has_words(self._answer):
            return AnswerFeatures(is_cut=self._is_cut)
        equations = check_equations(self._answer)
        result = asked_result(self._request)
        missing, unhandled, known = self._terms()
        is_json = self._is_asked_json
        return AnswerFeatures(
            declines=self._says(REFUSALS),
            admits_failure=self._says(ADMISSIONS, about_itself=True),
            announces_work=self._says(PROMISES),
            claims_action=self._says(CLAIMS, about_itself=True),
            asks_back=self._asks_back,
            is_wrong_language=self._expected is False,
            is_expected_translation=self._is_translation and self._expected is True,
            is_cut=self._is_cut,
            is_raw=self._is_raw,
            leaks_secret=self._leaks_secret,
            repeated_share=self._repeated_share,
            right_equations=equations.right,
            wrong_equations=equations.wrong,
            has_asked_result=states_number(self._answer, result) if result else None,
            is_asked_json=is_json,
            missing_keys=self._missing_keys if is_json else 0,
            grounded_values=self._grounded_values if is_json else None,
            grounded_numbers=None if is_json else self._grounded_numbers,
            grounded_words=None if is_json else self._grounded_words,
            is_copied=self._is_copied,
            missing_terms=missing,
            unhandled_terms=unhandled,
            known_terms=known,
            negates_otherwise=self._negates_otherwise,
        )

    # --- what the answer says ----------------------------------------------------------------

    @cached_property
    def _is_translation(self) -> bool:
        return _TRANSLATE.search(self._instruction) is not None

    @cached_property
    def _is_summary(self) -> bool:
        return _SUMMARISE.search(self._request) is not None

    @cached_property
    def _instruction(self) -> str:
        """The request without quotations, and without a long text after a colon."""
        return _QUOTED.sub(" ", self._request)

    @cached_property
    def _is_rendering(self) -> bool:
        """Whether the answer is a translation, which may say anything."""
        return self._is_translation and self._expected is not False

    def _says(self, search: PhraseSearch, *, about_itself: bool = False) -> bool:
        """Whether a phrase occurs. What a summary reports isn't what the answer says of itself."""
        is_quoted = self._is_rendering or (about_itself and self._is_summary)
        return not is_quoted and search.occurs_in(self._text) is True

    @property
    def _asks_back(self) -> bool:
        if self._is_rendering:
            return False
        end = self._answer.rstrip(" \t\r\n\"'`*_)]}»\u201d\u2019")
        if not end.endswith(("?", "\uff1f", "\u061f")):
            return False
        last = [one for one in _STATEMENT.split(end) if has_words(one)][-1]
        asked = AnswerText(last, self._answer)
        return not COURTESIES.occurs_in(asked)

    @cached_property
    def _expected(self) -> bool | None:
        """Whether the answer is in an expected language; None if that can't be decided."""
        found = self._text.detected
        if found is None or decode_embedded_json(self._answer) is not self._answer:
            return None
        named = [one for one, names in _NAMED_LANGUAGES if names.search(self._instruction)]
        asked = detect_language(self._instruction) or detect_language(self._request)
        if not self._is_translation and asked is not None:
            if asked.script != found.script and not named:
                return False
            named += [asked.language] if asked.language else []
        if not named:
            return None
        known = [is_language(found, one) for one in named]
        return True if True in known else None if None in known else False

    @property
    def _is_raw(self) -> bool:
        if _MARKUP.search(self._answer) or _RAW_ERROR.match(self._answer):
            return True
        return bool(_PLACEHOLDER.search(self._answer) and not _PLACEHOLDER.search(self._request))

    @property
    def _is_cut(self) -> bool:
        known = (
            cut for one in self._subject.model_calls[::-1] if (cut := is_cut_off(one)) is not None
        )
        return next(known, False) or self._answer.count("```") % 2 == 1

    @property
    def _leaks_secret(self) -> bool:
        redactor = Redactor(RedactionMode.SECRETS)
        redactor.redact(self._answer)
        return bool(redactor.counts)

    @property
    def _repeated_share(self) -> float:
        found = self._text.words
        grams = [tuple(found[at : at + NGRAM_WORDS]) for at in range(len(found) - NGRAM_WORDS + 1)]
        return round(1 - len(set(grams)) / len(grams), 4) if len(grams) >= NGRAMS_MIN else 0.0

    @property
    def _is_copied(self) -> bool:
        if not self._is_summary:
            return False
        ends = len(_SENTENCE_END.findall(self._answer))
        if ends > ONE_SENTENCE_MAX and _ONE_SENTENCE.search(self._request):
            return True
        return (
            len(self._answer) >= NOT_SHORTER * len(self._request) * COPIED_SHARE
            and containment(shingles(self._answer), shingles(self._request)) >= COPIED_SHARE
        )

    # --- JSON ----------------------------------------------------------------------------------

    @cached_property
    def _json(self) -> object:
        fenced = _FENCED_JSON.fullmatch(self._answer)
        text = fenced[1] if fenced else self._answer
        value = decode_embedded_json(text)
        return None if value is text else value

    @cached_property
    def _is_asked_json(self) -> bool | None:
        return (
            self._json is not None
            if re.search(r"\bjson\b", self._request, re.IGNORECASE | re.ASCII)
            else None
        )

    @property
    def _missing_keys(self) -> int:
        named = _KEYS.search(self._request)
        keys = {one for one in _KEY.findall(named[1]) if one not in _JOINTS} if named else set()
        values = self._json if isinstance(self._json, list) else [self._json]
        objects = [one for one in values if isinstance(one, Mapping)]
        if not objects:
            return 0
        return sum(any(key not in one for one in objects) for key in keys)

    @property
    def _grounded_values(self) -> float | None:
        if is_blank(self._json):
            return 0.0
        found = [value for value in _leaves(self._json) if value is not None]
        return _share([self._is_grounded_value(one) for one in found[:VALUES_MAX]])

    def _is_grounded_value(self, value: object) -> bool:
        if isinstance(value, bool):
            return True
        text = to_text(value).casefold()
        if text in self._source:
            return True
        stated = [values for _, values in numbers(text)]
        if not stated:
            return False
        return all(not values.isdisjoint(self._known_with_months) for values in stated)

    @cached_property
    def _source(self) -> str:
        return f"{self._request}\n{self._returned}".casefold()

    @cached_property
    def _known_with_months(self) -> set[float]:
        """Found once: the text is searched for the names of twelve months."""
        return self._known | named_months(self._source)

    # --- sources -------------------------------------------------------------------------------

    @cached_property
    def _returned(self) -> str:
        """The results of tools and retrievals, and the arguments of calls that didn't fail."""
        texts: list[str] = []
        room = SOURCES_MAX
        for call in self._subject.tool_calls:
            if room > 0 and not call.has_failed:
                texts += [to_text(call.output)[:room], to_text(call.arguments)[:room]]
                room -= len(texts[-1]) + len(texts[-2])
        for span in self._subject.spans:
            if span.kind is SpanKind.RETRIEVER and room > 0:
                texts.append(to_text(decode_json(span.output))[:room])
                room -= len(texts[-1])
        return "\n".join(texts)

    @cached_property
    def _known(self) -> set[float]:
        asked = to_text(decode_json(self._subject.trace.input))[:SOURCES_MAX]
        return known_values(f"{asked}\n{self._request}") | self._returned_values

    @cached_property
    def _returned_values(self) -> set[float]:
        return known_values(self._returned)

    @property
    def _grounded_numbers(self) -> float | None:
        stated = [
            values
            for token, values in numbers(self._answer)
            if sum(map(str.isdigit, token)) >= ANSWER_DIGITS_MIN
        ]
        if not stated or not (self._returned or self._is_translation or self._is_summary):
            return None
        derived = frozenset() if self._is_translation or self._is_summary else self._known
        return _share(
            [
                not values.isdisjoint(self._known) or is_derivable(values, derived)
                for values in stated
            ]
        )

    @property
    def _grounded_words(self) -> float | None:
        """The share of the answer's words that occur in its sources, if they are prose."""
        docs = [
            to_text(decode_json(span.output))
            for span in self._subject.spans
            if span.kind is SpanKind.RETRIEVER
        ]
        if docs:
            source = "\n".join(docs)[:SOURCES_MAX]
        elif self._is_summary:
            source = self._returned or self._request
            if len(words(source)) < SOURCE_WORDS_MIN and not self._returned:
                return None
        else:
            return None
        own, known = _stems(self._answer), _stems(source + "\n" + self._request)
        if len(own) < GROUNDED_WORDS_MIN:
            return None
        return round(len(own & known) / len(own), 4)

    @property
    def _is_negated(self) -> bool:
        return NEGATIONS.occurs_in(self._text) is True

    @property
    def _negates_otherwise(self) -> bool:
        """Whether a source makes the statement of the answer, but only one of them negates it."""
        if self._is_rendering:
            quoted = [one[0] for one in _QUOTED.finditer(self._request)]
            if len(quoted) != 1:
                return False
            negated = NEGATIONS.occurs_in(AnswerText(quoted[0])), NEGATIONS.occurs_in(self._text)
            return None not in negated and negated[0] is not negated[1]
        if self._subject.tool_calls:  # only prose is compared
            return False
        own = _stems(self._answer)
        if len(own) < STATEMENT_WORDS_MIN or len(_SENTENCE_END.findall(self._answer)) > 1:
            return False
        for one in islice(_STATEMENT.split(self._returned), STATEMENTS_MAX):
            stems = _stems(one)
            if len(own & stems) >= SAME_STATEMENT_SHARE * max(len(own), len(stems)):
                # In the same language, an unknown one is as good as a known one.
                return bool(NEGATIONS.occurs_in(AnswerText(one))) is not self._is_negated
        return False

    # --- terms of the request ------------------------------------------------------------------

    def _terms(self) -> tuple[int, int, int]:
        """How many terms of the request are missing, not handled by a call, and known."""
        calls = self._subject.tool_calls
        if not calls or any(call.arguments is None for call in calls):  # unknown, not missing
            return 0, 0, 0
        done = self._returned.casefold()
        said = f"{done}\n{self._answer.casefold()}"
        done_values = self._returned_values
        said_values = done_values | known_values(self._answer)
        missing = unhandled = known = 0
        for term in self._asked_terms():
            values = _term_values(term)
            in_call = term.casefold() in done or bool(values and values & done_values)
            if in_call:
                known += 1
            elif term.casefold() in said or bool(values and values & said_values):
                unhandled += 1
            else:
                missing += 1
        return missing, unhandled, known

    def _asked_terms(self) -> Sequence[str]:
        text = self._request
        found = [*_EMAIL.findall(text), *_IDENTIFIER.findall(text)]
        found += [
            one for one, _ in numbers(text) if sum(map(str.isdigit, one)) >= ANSWER_DIGITS_MIN
        ]
        if self._text.language is not Language.DE:  # in German, every noun has a capital letter
            found += _NAME.findall(text)
        return list(dict.fromkeys(found))[:TERMS_MAX]


def _term_values(term: str) -> frozenset[float]:
    """The values of a term that is a number."""
    is_number = term[:1].isdigit() and "-" not in term and not any(map(str.isalpha, term))
    return number_values(term) if is_number else frozenset()


def _leaves(value: object) -> Sequence[object]:
    left: list[object] = [value]
    found: list[object] = []
    while left:
        one = left.pop()
        if isinstance(one, Mapping | list):
            left.extend(child_values(one))
        else:
            found.append(one)
    return found


def _share(claims: Sequence[bool]) -> float | None:
    return round(sum(claims) / len(claims), 4) if claims else None


def _stems(text: str) -> frozenset[str]:
    """The beginnings of long words; pairs of adjacent characters in scripts without spaces."""
    found = words(text)
    stems = {one[:STEM_LENGTH] for one in found if len(one) >= WORD_LENGTH_MIN}
    single = [one if len(one) == 1 and not one.isascii() else "" for one in found]
    pairs = {one + next_one for one, next_one in pairwise(single) if one and next_one}
    return frozenset(stems | pairs)
