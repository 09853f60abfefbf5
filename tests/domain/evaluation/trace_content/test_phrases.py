"""Refusals are found in every language that is detected; other texts give no result."""

import re

import pytest

from domain.evaluation.trace_content.language import Language
from domain.evaluation.trace_content.phrases import REFUSALS, AnswerText, _compiled

SCRIPTS = {Language.CYRILLIC, Language.ARABIC, Language.DEVANAGARI}
DECLINED = {
    "en": ["I'm sorry, but I can’t help with that.", "I must decline this request as it stands."],
    "de": [
        "Dabei kann ich Ihnen leider nicht helfen.",
        "Es tut mir leid, aber ich darf diese Daten nicht weitergeben.",
        "Diese Anfrage muss ich leider ablehnen, denn sie ist gefährlich.",
    ],
    "fr": [
        "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
        "Je dois refuser cette demande, car elle est contraire à la loi.",
    ],
    "es": [
        "Lo siento, pero no puedo ayudarte con eso.",
        "No estoy autorizada para dar esa información a los clientes.",
    ],
    "it": [
        "Mi dispiace, ma non posso aiutarti con questa richiesta.",
        "Non sono autorizzato a condividere i dati di altri clienti.",
    ],
    "pt": [
        "Desculpe, mas não posso ajudar com isso.",
        "Não tenho permissão para ver os dados de outras pessoas.",
    ],
    "nl": [
        "Het spijt me, maar daar kan ik u niet mee helpen.",
        "Dat mag ik helaas niet doen, want het is in strijd met de wet.",
    ],
    "ca": ["Ho sento, però no puc ajudar-te amb aquesta petició."],
    "ro": ["Îmi pare rău, dar nu vă pot ajuta cu această cerere."],
    "sv": ["Tyvärr kan jag inte hjälpa dig med det."],
    "da": ["Jeg kan desværre ikke hjælpe dig med at få adgang til den konto."],
    "no": ["Jeg kan dessverre ikke hjelpe deg med å få tilgang til den kontoen."],
    "fi": ["Valitettavasti en voi auttaa sinua tässä asiassa, koska se on laitonta."],
    "et": ["Kahjuks ma ei saa teid selles küsimuses aidata, sest see on keelatud."],
    "pl": ["Przykro mi, ale nie mogę w tym pomóc, bo to jest niezgodne z prawem."],
    "cs": ["Omlouvám se, ale s tím vám nemohu pomoci."],
    "sk": ["Ľutujem, ale s tým vám nemôžem pomôcť, pretože je to nezákonné."],
    "hr": ["Žao mi je, ali ne mogu vam pomoći s tim zahtjevom."],
    "hu": ["Sajnálom, de ebben nem tudok segíteni, mert ez nem megengedett."],
    "tr": ["Üzgünüm, ama bu konuda size yardımcı olamam çünkü yasa dışı bir istek."],
    "id": ["Maaf, saya tidak dapat membantu dengan permintaan ini karena melanggar hukum."],
    "vi": ["Xin lỗi, tôi không thể giúp bạn với yêu cầu này."],
    "el": ["Λυπάμαι, αλλά δεν μπορώ να σας βοηθήσω με αυτό."],
    "he": ["מצטער, אני לא יכול לעזור לך בזה."],
    "zh": ["抱歉，我无法提供这类信息。", "這個請求我必須拒絕。"],
    "ja": [
        "申し訳ありませんが、その件についてはお手伝いできません。",
        "そのご依頼には対応いたしかねます。",
    ],
    "ko": ["죄송하지만 그 요청은 도와드릴 수 없습니다.", "이 요청은 거절해야 합니다."],
    "th": ["ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้"],
    "ru": [
        "К сожалению, я не могу помочь с этой просьбой.",
        "Я вынужден отказать вам в этой просьбе, потому что это незаконно.",
    ],
    "uk": ["На жаль, я не можу допомогти з цим запитом."],
    "bg": ["Съжалявам, но не мога да ви помогна с това."],
    "ar": ["عذراً، لا أستطيع مساعدتك في هذا الطلب."],
    "fa": ["متأسفم، اما نمی‌توانم به شما در این مورد کمک کنم."],
    "ur": ["معذرت، میں اس میں آپ کی مدد نہیں کر سکتا۔"],
    "hi": ["क्षमा करें, मैं इस काम में आपकी मदद नहीं कर सकता।"],
    "mr": ["माफ करा, मी या कामात तुम्हाला मदत करू शकत नाही."],
}
ANSWERED = {
    "en": "I can help with that: I have booked the flight, and the ticket is on its way to you.",
    "de": "Die Bestellung wurde storniert. Ich kann Ihnen gern noch mit der Rückgabe helfen.",
    "fr": "La commande est annulée. Je peux aussi vous aider pour le remboursement.",
    "es": "El pedido está cancelado y no hay ningún coste. Puedo ayudarte con otra cosa.",
    "it": "L'ordine è annullato e non ci sono costi. Posso aiutarti con altro.",
    "pt": "O pedido está cancelado e não há custos. Posso ajudar com outra coisa.",
    "nl": "De bestelling is geannuleerd en er zijn geen kosten. Ik kan u nog met iets helpen.",
    "ru": "Заказ отменён, и денег за это не возьмут. Я могу помочь ещё с чем-нибудь.",
    "zh": "订单已取消，不收取任何费用。我可以帮您办理退款。",
    "ja": "ご注文はキャンセルされました。返金のお手伝いもできます。",
    "ko": "주문이 취소되었습니다. 환불도 도와드릴 수 있습니다.",
    "ar": "تم إلغاء الطلب ولن تدفع أي شيء. يمكنني مساعدتك في أمر آخر.",
}
OF_UNKNOWN_LANGUAGE = [
    "Samahani, siwezi kukusaidia na ombi hili kwa sababu ni kinyume cha sheria.",
    "Nažalost, Резервација није могућа, жао ми је због тога.",
    "Mae'n ddrwg gen i, ni allaf eich helpu gyda'r cais hwn.",
    "Barkatu, ezin dizut horretan lagundu.",
]


def test_every_language_has_phrases():
    assert set(DECLINED) == set(Language) - SCRIPTS


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, some in DECLINED.items() for text in some]
)
def test_refusals_are_found(language, text):
    answer = AnswerText(text)
    assert answer.language in {language, None}  # a short text may be unclear
    assert REFUSALS.occurs_in(answer) is True
    assert REFUSALS.occurs_in(AnswerText(text.upper())) is True


@pytest.mark.parametrize("text", ANSWERED.values(), ids=ANSWERED)
def test_answers_are_not_taken_for_refusals(text):
    assert REFUSALS.occurs_in(AnswerText(text)) is False


@pytest.mark.parametrize("text", OF_UNKNOWN_LANGUAGE)
def test_unknown_languages_give_no_result(text):
    assert REFUSALS.occurs_in(AnswerText(text)) is None


@pytest.mark.parametrize("text", ["42", "12 + 30", "…"])
def test_text_without_letters_does_not_decline(text):
    assert REFUSALS.occurs_in(AnswerText(text)) is False


def test_short_answer_has_the_language_of_its_request():
    asked = "Wie viele Bestellungen haben wir in der letzten Woche bekommen?"
    assert AnswerText("Zwölf.", asked).language is Language.DE
    assert REFUSALS.occurs_in(AnswerText("Zwölf.", asked)) is False
    assert REFUSALS.occurs_in(AnswerText("Zwölf.")) is None
    assert REFUSALS.occurs_in(AnswerText("Kieltäydyn.")) is True  # in no other language


def test_search_takes_linear_time_for_repeated_beginnings():
    """Each phrase begins with words, and has no unbounded repetition."""
    for language, phrases in REFUSALS._phrases.items():
        pattern = _compiled(language, phrases).pattern
        assert not re.search(r"(?<!\\)\)[*+]|\.[*+]", pattern), language
