"""Language detection: sample texts, undetected texts, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.trace_content.language import (
    READ_MAX,
    DetectedLanguage,
    Language,
    detect_language,
    is_language,
    same_language,
)

TEXTS = {
    "en": "Your flight to Oslo is booked. You will get the confirmation by mail in a few minutes.",
    "de": "Die Bestellung wurde storniert, und das Geld ist auf dem Weg zu Ihrem Konto.",
    "fr": "Votre vol pour Oslo est réservé. Vous recevrez la confirmation dans quelques minutes.",
    "es": "El pedido se ha cancelado y el dinero está en camino a su cuenta.",
    "it": "L'ordine è stato annullato e il denaro è in arrivo sul suo conto.",
    "pt": "O pedido foi cancelado e o dinheiro está a caminho da sua conta.",
    "nl": "De bestelling is geannuleerd en het geld is op weg naar uw rekening.",
    "el": "Η πτήση για Όσλο έχει κλείσει",
    "he": "הטיסה לאוסלו הוזמנה בהצלחה",
    "zh": "您飞往奥斯陆的航班已预订",
    "ja": "オスロ行きの航空便を予約しました",
    "ko": "오슬로행 항공편이 예약되었습니다",
    "th": "จองเที่ยวบินไปออสโลแล้ว",
    "cyrillic": "Рейс в Осло забронирован",
    "arabic": "تم حجز الرحلة إلى أوسلو",
    "devanagari": "ओस्लो की उड़ान बुक हो गई",
}
NEIGHBOURS = {
    "da": "Din ordre er annulleret, og pengene er på vej tilbage til din konto. Hvis der er noget "
    "andet, du har brug for, er du velkommen til at skrive til os igen.",
    "sv": "Din beställning är avbokad och pengarna är på väg tillbaka till ditt konto. Om det är "
    "något annat du behöver är det bara att skriva till oss igen.",
    "pl": "Zamówienie zostało anulowane, a pieniądze są w drodze na Państwa konto. Jeśli "
    "potrzebują Państwo czegoś jeszcze, proszę do nas napisać.",
    "ro": "Comanda dumneavoastră a fost anulată și banii sunt pe drum înapoi în contul "
    "dumneavoastră. Dacă mai aveți nevoie de ceva, ne puteți scrie din nou oricând.",
    "tr": "Siparişiniz iptal edildi ve paranız hesabınıza geri dönüyor. Başka bir şeye "
    "ihtiyacınız olursa bize her zaman tekrar yazabilirsiniz.",
}


def told(text: str) -> str | None:
    found = detect_language(text)
    return found and (found.language or found.script)


def test_every_language_has_a_sample():
    assert set(TEXTS) == set(Language)


@pytest.mark.parametrize(("language", "text"), TEXTS.items())
def test_languages_are_detected(language, text):
    assert told(text) == language
    assert told(text.upper()) == language


@pytest.mark.parametrize("text", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_unknown_latin_languages_give_only_the_script(text):
    assert told(text) == "latin"


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "OK", "12 + 30 = 42", "🎉🎉🎉🎉", "Oslo, Bergen, Lyon", "Да", "はい"),
        "```\nthe of and to in is was that for it\n```",
        "`the of and to` https://example.com/the/of/and/to/in/is",
        "Рейс в Осло забронирован, your flight is booked",  # half and half
    ],
)
def test_short_or_mixed_texts_are_undetected(text):
    assert detect_language(text) is None


@pytest.mark.parametrize(
    "text", ["Booking HAT123 SAS Oslo Gardermoen terminal gate", "lorem ipsum dolor sit amet"]
)
def test_names_give_only_the_script(text):
    assert detect_language(text) == DetectedLanguage("latin")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("iPhone 15 Proを予約しました", "ja"),
        ("Use this: ```SELECT name FROM users WHERE id = 1``` and you will have it.", "en"),
        ("Das ist die Antwort, die Sie von `the_tool` haben wollten: “of the”", "de"),
        ("Привет means hello, and that is how it is said in Russian", "en"),
    ],
)
def test_foreign_words_and_code_are_ignored(text, language):
    assert told(text) == language


@pytest.mark.parametrize(
    ("found", "language", "says"),
    [
        (DetectedLanguage("latin", Language.EN), Language.EN, True),
        (DetectedLanguage("latin", Language.EN), Language.DE, False),
        (DetectedLanguage("latin", Language.EN), Language.JA, False),
        (DetectedLanguage("latin"), Language.EN, None),
        (DetectedLanguage("latin"), Language.CYRILLIC, False),
        (DetectedLanguage("han", Language.ZH), Language.JA, False),
        (None, Language.EN, None),
    ],
)
def test_is_language(found, language, says):
    assert is_language(found, language) is says


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("en", "en", True),
        ("en", "de", False),
        ("zh", "ja", False),
        ("en", "cyrillic", False),
    ],
)
def test_same_language(one, other, says):
    assert same_language(detect_language(TEXTS[one]), detect_language(TEXTS[other])) is says


def test_same_language_is_none_if_one_is_unknown():
    english, polish = detect_language(TEXTS["en"]), detect_language(NEIGHBOURS["pl"])
    assert same_language(english, polish) is None
    assert same_language(polish, polish) is None
    assert same_language(None, english) is None
    assert same_language(polish, detect_language(TEXTS["el"])) is False


texts = st.text(max_size=60) | st.sampled_from([*TEXTS.values(), *NEIGHBOURS.values()])


@given(texts, texts)
def test_same_language_is_symmetric(one, other):
    assert same_language(detect_language(one), detect_language(other)) is same_language(
        detect_language(other), detect_language(one)
    )


@given(texts, st.sampled_from(Language))
def test_text_is_in_at_most_one_language(text, language):
    found = detect_language(text)
    if is_language(found, language):
        assert not any(is_language(found, other) for other in Language if other is not language)


@given(st.sampled_from(sorted(TEXTS)), st.integers(1, 5))
def test_repeated_text_keeps_its_language(language, times):
    assert told(" ".join([TEXTS[language]] * times)) == language


def test_only_the_beginning_of_a_long_text_is_read():
    text = f"{TEXTS['en']} " * (READ_MAX // len(TEXTS["en"]) + 1)
    assert told(text + TEXTS["cyrillic"] * 10_000) == "en"
