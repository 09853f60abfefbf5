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
    "ca": "La comanda s'ha cancel·lat i els diners ja són en camí cap al seu compte.",
    "ro": "Comanda a fost anulată și banii sunt pe drum înapoi în contul dumneavoastră.",
    "sv": "Din beställning är avbokad och pengarna är på väg tillbaka till ditt konto.",
    "da": "Jeg kan ikke finde ordren, men pengene er på vej tilbage til dig efter afbestillingen.",
    "no": "Jeg fant ikke ordren, men pengene er på vei tilbake til deg etter avbestillingen nå.",
    "fi": "Tilaus on peruttu, ja rahat ovat matkalla tilillesi niin kuin pyysit.",
    "pl": "Zamówienie zostało anulowane, a pieniądze są w drodze na Państwa konto.",
    "cs": "Objednávka byla zrušena a peníze jsou na cestě zpět na váš účet.",
    "hu": "A rendelést töröltük, és a pénz már úton van az Ön számlájára.",
    "sk": "Objednávka bola zrušená a peniaze sú na ceste späť na váš účet.",
    "hr": "Vaša narudžba je otkazana, a novac se vraća na vaš račun.",
    "et": "Teie tellimus on tühistatud ja raha on teel tagasi teie kontole.",
    "tr": "Siparişiniz iptal edildi ve paranız hesabınıza geri dönüyor.",
    "id": "Pesanan Anda sudah dibatalkan dan uang akan dikembalikan ke rekening Anda.",
    "vi": "Đơn hàng của bạn đã được hủy và tiền đang được chuyển về tài khoản.",
    "el": "Η πτήση για Όσλο έχει κλείσει",
    "he": "הטיסה לאוסלו הוזמנה בהצלחה",
    "zh": "您飞往奥斯陆的航班已预订",
    "ja": "オスロ行きの航空便を予約しました",
    "ko": "오슬로행 항공편이 예약되었습니다",
    "th": "จองเที่ยวบินไปออสโลแล้ว",
    "ru": "Рейс в Осло забронирован, подтверждение вы получите по почте.",
    "uk": "Рейс до Осло заброньовано, підтвердження ви отримаєте поштою.",
    "bg": "Полетът до Осло е резервиран и ще получите потвърждение по пощата.",
    "ar": "تم حجز الرحلة إلى أوسلو وستصلك رسالة التأكيد في دقائق",
    "fa": "پرواز شما به اسلو رزرو شد و تأیید آن را با ایمیل می‌گیرید",
    "ur": "اوسلو کے لیے آپ کی پرواز بک ہو گئی ہے",
    "hi": "ओस्लो की उड़ान बुक हो गई है और पुष्टि आप को मिल जाएगी",
    "mr": "ओस्लोची विमानसेवा आरक्षित झाली आहे आणि तुम्ही ती पाहू शकता",
}
SCRIPTS = {
    "cyrillic": "Резервација лета за Осло успешна",
    "arabic": "ئوسلو فرۆکە کراوە باشە",
    "devanagari": "ओस्लो उडान बुक भयो",
}
NEIGHBOURS = {
    "lt": "Jūsų užsakymas atšauktas, o pinigai grąžinami į jūsų sąskaitą. Jei reikia dar ko nors, "
    "parašykite mums dar kartą.",
    "sw": "Agizo lako limeghairiwa na pesa zinarudi kwenye akaunti yako. Ukihitaji kitu kingine, "
    "tafadhali tuandikie tena wakati wowote.",
    "cy": "Mae eich archeb wedi ei chanslo ac mae'r arian ar ei ffordd yn ôl i'ch cyfrif. Os oes "
    "angen rhywbeth arall arnoch, ysgrifennwch atom eto.",
    "eu": "Zure eskaera bertan behera geratu da, eta dirua zure kontura itzultzen ari da. Beste "
    "zerbait behar baduzu, idatzi berriro.",
    "tl": "Kinansela na ang iyong order at pabalik na ang pera sa iyong account. Kung may "
    "kailangan ka pa, sumulat ka lang ulit sa amin.",
    "sq": "Porosia juaj u anulua dhe paratë po kthehen në llogarinë tuaj. Nëse keni nevojë për "
    "diçka tjetër, na shkruani përsëri.",
    "is": "Pöntunin þín hefur verið afturkölluð og peningarnir eru á leiðinni aftur inn á "
    "reikninginn þinn. Ef þig vantar eitthvað annað skaltu skrifa okkur aftur.",
}


def reported(text: str) -> str | None:
    found = detect_language(text)
    return found and (found.language or found.script)


def test_every_language_has_a_sample():
    assert {*TEXTS, *SCRIPTS} == set(Language)


@pytest.mark.parametrize(("language", "text"), TEXTS.items())
def test_languages_are_detected(language, text):
    assert reported(text) == language
    assert reported(text.upper()) == language


@pytest.mark.parametrize("text", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_unknown_latin_languages_give_only_the_script(text):
    assert reported(text) == "latin"


@pytest.mark.parametrize(("script", "text"), SCRIPTS.items())
def test_unknown_languages_of_other_scripts_give_only_the_script(script, text):
    assert detect_language(text) == DetectedLanguage(script)


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
    assert reported(text) == language


@pytest.mark.parametrize(
    ("found", "language", "says"),
    [
        (DetectedLanguage("latin", Language.EN), Language.EN, True),
        (DetectedLanguage("latin", Language.EN), Language.DE, False),
        (DetectedLanguage("latin", Language.EN), Language.JA, False),
        (DetectedLanguage("latin"), Language.EN, None),
        (DetectedLanguage("latin"), Language.CYRILLIC, False),
        (DetectedLanguage("han", Language.ZH), Language.JA, False),
        (DetectedLanguage("el", Language.EL), Language.RU, False),
        (DetectedLanguage("cyrillic", Language.RU), Language.RU, True),
        (DetectedLanguage("cyrillic", Language.RU), Language.UK, False),
        (DetectedLanguage("cyrillic", Language.RU), Language.CYRILLIC, True),
        (DetectedLanguage("cyrillic"), Language.CYRILLIC, True),
        (DetectedLanguage("cyrillic"), Language.RU, None),
        (DetectedLanguage("cyrillic"), Language.AR, False),
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
        ("en", "ru", False),
        ("ru", "uk", False),
        ("ar", "fa", False),
        ("hi", "hi", True),
    ],
)
def test_same_language(one, other, says):
    assert same_language(detect_language(TEXTS[one]), detect_language(TEXTS[other])) is says


def test_same_language_is_none_if_one_is_unknown():
    english, unknown = detect_language(TEXTS["en"]), detect_language(NEIGHBOURS["lt"])
    assert same_language(english, unknown) is None
    assert same_language(unknown, unknown) is None
    assert same_language(None, english) is None
    assert same_language(unknown, detect_language(TEXTS["el"])) is False
    assert same_language(detect_language(SCRIPTS["cyrillic"]), detect_language(TEXTS["ru"])) is None


texts = st.text(max_size=60) | st.sampled_from(
    [*TEXTS.values(), *SCRIPTS.values(), *NEIGHBOURS.values()]
)


@given(texts, texts)
def test_same_language_is_symmetric(one, other):
    assert same_language(detect_language(one), detect_language(other)) is same_language(
        detect_language(other), detect_language(one)
    )


@given(texts, st.sampled_from(Language))
def test_text_is_in_at_most_one_language(text, language):
    found = detect_language(text)
    if is_language(found, language):
        same_script = {language, found.language, found.script}
        assert not any(is_language(found, other) for other in Language if other not in same_script)


@given(st.sampled_from(sorted(TEXTS)), st.integers(1, 5))
def test_repeated_text_keeps_its_language(language, times):
    assert reported(" ".join([TEXTS[language]] * times)) == language


def test_only_the_beginning_of_a_long_text_is_read():
    text = f"{TEXTS['en']} " * (READ_MAX // len(TEXTS["en"]) + 1)
    assert reported(text + TEXTS["ru"] * 10_000) == "en"
