"""Finds usual phrases of answers, such as those of refusals, by language.

A phrase is a regular expression over the words of a text, as `words` gives them: in lower case, one
space between words, "can't" as "can t". In languages that don't separate words by spaces, it is
matched against the words without spaces.
"""

# ruff: noqa: RUF001 - phrases of languages in other scripts
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

from domain.evaluation.trace_content.language import (
    WORDS_MIN,
    DetectedLanguage,
    Language,
    detect_language,
)
from domain.evaluation.trace_content.text import normalize_text, words

DETECTED_MAX: Final = 2_000  # characters of an answer that its language is detected by
_UNSPACED: Final = frozenset({Language.ZH, Language.JA, Language.KO, Language.TH})
_VOWEL_SIGNS: Final = frozenset({Language.HI, Language.MR, Language.TH})
"""Languages whose vowel signs `words` leaves out: their phrases are plain texts, separated by |."""

type Phrases = Mapping[Language, str]


@dataclass(frozen=True)  # no slots: `cached_property` needs an instance dict
class AnswerText:
    """An answer prepared for the search of phrases.

    `language` is the language of the answer. An answer that is too short to tell is taken to be in
    the language of the request. It is None if neither is known.
    """

    text: str
    request: str = ""

    @cached_property
    def words(self) -> list[str]:
        return words(self.text)

    @cached_property
    def spaced(self) -> str:
        return f" {' '.join(self.words)} "

    @cached_property
    def unspaced(self) -> str:
        return "".join(self.words)

    @cached_property
    def detected(self) -> DetectedLanguage | None:
        return detect_language(self.text[:DETECTED_MAX])

    @cached_property
    def language(self) -> Language | None:
        if self.detected is not None:
            return self.detected.language
        if len(self.words) < WORDS_MIN:
            asked = detect_language(self.request)
            return asked.language if asked else None
        return None


class PhraseSearch:
    """Searches texts for the phrases of some languages."""

    def __init__(self, phrases: Phrases) -> None:
        self._phrases = phrases

    def occurs_in(self, answer: AnswerText) -> bool | None:
        """Whether one of the phrases occurs; None if the language of the answer isn't known.

        If the language is unknown, a phrase of any language is found nevertheless.
        """
        language = answer.language
        if language is not None:
            return self._is_found(language, answer) if language in self._phrases else None
        if any(self._is_found(one, answer) for one in self._phrases):
            return True
        return None if any(map(str.isalpha, answer.spaced)) else False

    def _is_found(self, language: Language, answer: AnswerText) -> bool:
        text = answer.unspaced if language in _UNSPACED else answer.spaced
        return _compiled(language, self._phrases[language]).search(text) is not None


@cache  # when it is first searched for: to compile all of them would delay each start
def _compiled(language: Language, phrases: str) -> re.Pattern[str]:
    is_spaced = language not in _UNSPACED
    if language in _VOWEL_SIGNS:
        joint = " " if is_spaced else ""
        phrases = "|".join(joint.join(words(one)) for one in phrases.split("|"))
    pattern = normalize_text(phrases)
    return re.compile(f" (?:{pattern}) " if is_spaced else pattern)


# --- refusals ------------------------------------------------------------------------------------

REFUSALS: Final = PhraseSearch(
    {
        Language.EN: (
            r"i (?:can t|cannot|can not) (?:help|assist) (?:you )?with|i (?:can t|cannot"
            r"|can not) (?:assist|do that|provide|comply|fulfill?|share that)|i (?:m|am) (?:unable"
            r"|not able) to (?:help|assist|provide|comply|fulfill?|share)|i (?:won t"
            r"|will not) (?:be able to|help|assist|provide|share)|i (?:must|have to) decline"
            r"|i must refuse|i refuse to|i decline to|i (?:m|am) not (?:allowed|permitted"
            r"|authori[sz]ed) to|against my guidelines|as an ai language model i (?:can t|cannot)"
            r"|sorry (?:but )?(?:i )?(?:can t|cannot)|i m afraid i (?:can t|cannot)"
        ),
        Language.DE: (
            r"(?:dabei|damit|hierbei|da|das|dies) (?:kann|darf|werde) ich (?:\w+ ){0,2}nicht"
            r"|(?:kann|darf) ich (?:\w+ ){0,4}nicht (?:weiter)?(?:helfen|geben|teilen|nachkommen"
            r"|herausgeben|bereitstellen|erfüllen|durchführen|beantworten|unterstützen)|ich (?:kann"
            r"|darf|werde) (?:\w+ ){0,5}nicht (?:weiter)?(?:helfen|geben|teilen|nachkommen"
            r"|herausgeben|bereitstellen|erfüllen|durchführen|unterstützen)"
            r"|ich darf (?:\w+ ){0,4}nicht|muss ich (?:\w+ ){0,3}ablehnen"
            r"|ich muss (?:\w+ ){0,5}ablehnen|ich lehne (?:\w+ ){0,4}ab|ich weigere mich"
            r"|ist mir nicht (?:gestattet|erlaubt|möglich)|ich bin (?:dazu )?nicht (?:befugt"
            r"|berechtigt)|gegen (?:meine|unsere) richtlinien"
        ),
        Language.FR: (
            r"je ne (?:peux|puis|pourrai) pas (?:vous |t |te |y )?(?:aider|assister|fournir"
            r"|répondre à|donner|partager|faire|accéder à|satisfaire|communiquer|divulguer)"
            r"|je ne suis pas (?:en mesure|autorisée?|habilitée?)|je suis dans l incapacité"
            r"|je (?:dois|suis obligée? de) (?:refuser|décliner)|je refuse|il m est interdit"
            r"|il m est impossible|ne m est pas (?:possible|permis)|(?:à|contre) (?:mes"
            r"|nos) (?:règles|directives|consignes)"
        ),
        Language.ES: (
            r"no (?:puedo|podré|podemos) (?:ayudar\w*|asistir\w*|proporcionar\w*|facilitar\w*"
            r"|compartir\w*|hacer(?:lo| eso)?|cumplir|atender|responder|dar\w*|revelar\w*)"
            r"|no (?:estoy|estamos) autorizad[oa]s?|no me (?:es posible|está permitido)"
            r"|no tengo (?:permitido|permiso|autorización)|me niego a|rechazo (?:esta|tu|su)"
            r"|(?:debo|tengo que) (?:rechazar|negarme|declinar)|contra (?:de )?(?:mis"
            r"|nuestras) (?:normas|directrices|políticas)"
        ),
        Language.IT: (
            r"non (?:posso|potrò|possiamo) (?:aiutar\w*|assister\w*|fornir\w*|condivider\w*|farlo"
            r"|soddisfare|rispondere|dar\w*|rivelar\w*|accontentar\w*|procedere)"
            r"|non sono (?:autorizzat|abilitat)\w|non sono in grado di (?:aiutar|fornir)\w*"
            r"|non mi è (?:possibile|permesso|consentito)|mi rifiuto|devo (?:rifiutare|declinare)"
            r"|contro le mie (?:linee guida|regole)"
        ),
        Language.PT: (
            r"não (?:posso|poderei|podemos|consigo) (?:te |o |a |lhe )?(?:ajud\w*|auxiliar|fornecer"
            r"|compartilhar|partilhar|fazer isso|atender|cumprir|responder|dar|revelar|divulgar)"
            r"|não (?:estou|estamos|fui) autorizad[oa]s?|não me é (?:possível|permitido)"
            r"|não tenho (?:permissão|autorização)|me recuso|recuso me|recuso este|(?:devo"
            r"|tenho (?:de|que)|preciso) (?:recusar|declinar)|contra (?:as )?minhas (?:diretrizes"
            r"|políticas|regras)"
        ),
        Language.NL: (
            r"kan ik (?:\w+ ){0,4}niet (?:mee |bij )?(?:helpen|verstrekken|delen|geven|uitvoeren)"
            r"|ik kan (?:\w+ ){0,5}niet (?:mee |bij )?(?:helpen|verstrekken|delen|geven|uitvoeren)"
            r"|(?:dat|dit) (?:kan|mag) ik (?:\w+ ){0,2}niet|ik mag (?:\w+ ){0,4}niet"
            r"|ik ben niet (?:bevoegd|gemachtigd)|moet ik (?:\w+ ){0,3}(?:weigeren|afwijzen)"
            r"|ik moet (?:\w+ ){0,4}(?:weigeren|afwijzen)|ik weiger|tegen mijn richtlijnen"
        ),
        Language.CA: (
            r"no (?:puc|podem) (?:ajudar\w*|proporcionar|compartir|fer ho|atendre|facilitar|donar)"
            r"|no estic autoritza\w*|em nego a|he de (?:rebutjar|declinar)"
        ),
        Language.RO: (
            r"nu (?:vă |te |îți )?(?:pot|putem) (?:să )?(?:vă |te )?(?:ajut\w*|ofer\w*|furniz\w*"
            r"|face asta|divulg\w*|îndeplin\w*|comunic\w*)|nu sunt autorizat\w?|nu (?:îmi"
            r"|mi) este permis|trebuie să refuz|refuz să"
        ),
        Language.SV: (
            r"kan (?:jag )?(?:\w+ ){0,2}inte (?:hjälpa|dela|lämna ut|göra det|uppfylla|ge)"
            r"|det (?:kan|får) jag (?:\w+ )?inte|jag får inte|jag är inte behörig|jag vägrar"
            r"|måste (?:jag )?(?:\w+ ){0,2}(?:avböja|neka|tacka nej|avslå)|mot mina riktlinjer"
        ),
        Language.DA: (
            r"kan (?:jeg )?(?:\w+ ){0,2}ikke (?:hjælpe|dele|udlevere|gøre det|give|opfylde|oplyse)"
            r"|det (?:kan|må) jeg (?:\w+ )?ikke|jeg må ikke|jeg nægter|jeg har ikke (?:lov|ret)"
            r"|må (?:jeg )?(?:\w+ ){0,2}(?:afvise|afslå|takke nej)|mod mine retningslinjer"
        ),
        Language.NO: (
            r"kan (?:jeg )?(?:\w+ ){0,2}ikke (?:hjelpe|dele|utlevere|gjøre det|gi|oppfylle|oppgi)"
            r"|det (?:kan|får) jeg (?:\w+ )?ikke|jeg får ikke lov|jeg nekter|jeg har ikke (?:lov"
            r"|rett)|må (?:jeg )?(?:\w+ ){0,2}(?:avvise|avslå|takke nei)|mot mine retningslinjer"
        ),
        Language.FI: (
            r"en (?:\w+ )?(?:voi|pysty) (?:\w+ ){0,3}(?:auttaa|auttamaan|antaa|luovuttaa|tehdä"
            r"|kertoa|jakaa|toteuttaa|täyttää)|minulla ei ole (?:lupaa|oikeutta)|kieltäydyn"
            r"|joudun kieltäytymään|on kieltäydyttävä|en saa (?:antaa|kertoa|luovuttaa|jakaa)"
        ),
        Language.ET: (
            r"(?:ma |ei )(?:ei )?saa (?:\w+ ){0,3}(?:aidata|anda|jagada|teha|täita)"
            r"|mul ei ole (?:luba|õigust)|pean keelduma|keeldun"
        ),
        Language.PL: (
            r"nie (?:mogę|możemy) (?:\w+ ){0,3}(?:pomóc|udostępnić|podać|spełnić|zrobić|udzielić"
            r"|wykonać|przekazać)|nie jestem (?:upoważnion|uprawnion)\w|nie wolno mi"
            r"|muszę (?:\w+ )?odmówić|odmawiam"
        ),
        Language.CS: (
            r"nemohu (?:\w+ ){0,3}(?:pomoci|pomoct|poskytnout|sdělit|splnit|udělat|vyhovět|provést)"
            r"|nejsem oprávněn\w?|nesmím|musím (?:\w+ )?odmítnout|odmítám"
        ),
        Language.SK: (
            r"nemôžem (?:\w+ ){0,3}(?:pomôcť|poskytnúť|splniť|urobiť|vyhovieť|zdieľať)"
            r"|nie som oprávnen\w|nesmiem|musím (?:\w+ )?odmietnuť|odmietam"
        ),
        Language.HR: (
            r"ne mogu (?:\w+ ){0,3}(?:pomoći|pružiti|dati|ispuniti|učiniti|otkriti|podijeliti)"
            r"|nisam ovlašten\w?|moram (?:\w+ )?odbiti|odbijam"
        ),
        Language.HU: (
            r"nem (?:tudok|tudom) (?:\w+ ){0,3}(?:segíteni|kiadni|megadni|teljesíteni|megosztani)"
            r"|nem (?:áll módomban|segíthetek|adhatom ki|adhatok ki|oszthatok meg|vagyok jogosult)"
            r"|vissza kell utasítanom|el kell utasítanom|elutasítom"
        ),
        Language.TR: (
            r"yard[ıi]m(?:c[ıi])? (?:olamam|edemem|olamıyorum|edemiyorum|olamayız)|bunu yapamam"
            r"|(?:paylaşamam|veremem|sağlayamam|yerine getiremem)|iznim yok|yetkim yok"
            r"|reddetmek zorundayım|reddediyorum"
        ),
        Language.ID: (
            r"tidak (?:bisa|dapat) (?:membantu|memberikan|menyediakan|memenuhi|membagikan)"
            r"|tidak (?:diizinkan|diperbolehkan|berwenang)|harus menolak|saya menolak"
        ),
        Language.VI: (
            r"không thể (?:giúp|hỗ trợ|cung cấp|thực hiện|chia sẻ|đáp ứng|tiết lộ)|không được phép"
            r"|(?:phải|xin phép|xin|tôi) từ chối"
        ),
        Language.RU: (
            r"не (?:могу|можем|смогу) (?:\w+ ){0,3}(?:помочь|предоставить|выполнить|сделать"
            r"|поделиться|раскрыть|сообщить|дать|ответить)|помочь (?:\w+ ){0,3}не (?:могу|смогу)"
            r"|не имею права|не уполномочен\w?|мне (?:не (?:разрешено|позволено)|запрещено)"
            r"|отказываюсь|(?:вынужден\w?|должен|должна) (?:\w+ )?отказ\w+"
        ),
        Language.UK: (
            r"не (?:можу|можемо|зможу) (?:\w+ ){0,3}(?:допомогти|надати|виконати|зробити|поділитися"
            r"|розкрити|повідомити|дати)|не маю права|не уповноважен\w+|мені (?:не дозволено"
            r"|заборонено)|(?:змушен\w+|мушу) (?:\w+ )?відмовити\w*|відмовляюся"
        ),
        Language.BG: (
            r"не мога да (?:ви |ти )?(?:помогна|предоставя|изпълня|направя|споделя|дам|разкрия)"
            r"|нямам право|не съм упълномощен\w?|не ми е (?:разрешено|позволено)|трябва да откажа"
            r"|отказвам"
        ),
        Language.EL: (
            r"δεν μπορώ να (?:\w+ )?(?:βοηθήσω|παρέχω|δώσω|κάνω|εξυπηρετήσω|μοιραστώ|αποκαλύψω)"
            r"|δεν μου επιτρέπεται|δεν έχω (?:άδεια|δικαίωμα)|πρέπει να αρνηθώ|αρνούμαι"
        ),
        Language.HE: (
            r"לא (?:יכול|יכולה|אוכל|מסוגל|רשאי|רשאית) (?:לעזור|לסייע|לספק|לבצע|לשתף|למסור|לעשות)"
            r"|(?:נאלץ|נאלצת|חייב|חייבת) (?:לסרב|לדחות)|אני (?:מסרב|מסרבת)|אסור לי"
        ),
        Language.AR: (
            r"لا (?:أستطيع|يمكنني|أقدر) (?:مساعدتك|المساعدة|أن أساعدك|تقديم|مشاركة|تنفيذ|تلبية"
            r"|القيام|إعطاء|الإفصاح)|(?:غير مصرح|لا يسمح|غير مسموح) لي|يجب أن أرفض|أرفض"
        ),
        Language.FA: (
            r"نمی توانم (?:\w+ ){0,6}(?:کمک|ارائه|انجام|پاسخ|اختیار)|اجازه ندارم|مجاز نیستم"
            r"|باید رد کنم"
        ),
        Language.UR: r"(?:مدد|فراہم) نہیں کر سکت[ای]|اجازت نہیں|انکار کرنا",
        Language.HI: "मदद नहीं कर सकता|सहायता नहीं कर सकता|अनुमति नहीं है|मना करना पड़ेगा",
        Language.MR: "मदत करू शकत नाही|परवानगी नाही|नकार द्यावा लागेल",
        Language.ZH: (
            r"我?(?:无法|不能|没办法|無法)(?:帮|幫|为您|为你|為您|协助|協助|提供|满足|滿足|透露|回答|处理这)|(?:恕|很抱歉|抱歉|对不起"
            r"|對不起)我?(?:无法|不能|無法)(?!找到|查到)|(?:必须|只能|不得不|必須)拒[绝絕]|我拒[绝絕]|无权|無權|没有权限|不被允许"
        ),
        Language.JA: (
            r"(?:でき|いたし|致し|し)かねます|お断り(?:し|いた|させ)|権限がありません|(?:お手伝い|対応|提供|お答え|ご案内|開示|共有"
            r"|協力)(?:する)?(?:こと)?(?:は|が)?できません|許可されて(?:い|お)りません|許可されていません|ご遠慮させて"
        ),
        Language.KO: (
            r"(?:도와드릴|도와줄|도움을드릴|제공할|제공해드릴|알려드릴|공유할|응할|처리해드릴|답변할|수행할)수없|권한이없|거절(?:하겠|해야|할수밖에|합니다)"
            r"|허용되지않"
        ),
        Language.TH: "ไม่สามารถช่วย|ไม่สามารถให้|ไม่สามารถเปิดเผย|ขอปฏิเสธ|ไม่ได้รับอนุญาต",
    }
)
"""Phrases by which an answer declines a request, in every language that is detected."""

# --- what an answer says of its own work -------------------------------------------------------

ADMISSIONS: Final = PhraseSearch(
    {
        Language.EN: (
            r"(?:could not|couldn t|cannot|can t|did not|didn t) (?:\w+ )?(?:find|open|reach|access"
            r"|complete|book|send|load|read|connect|fix|verify|finish|get|do that)|(?:was|were|am"
            r"|is) (?:not able|unable) to|i (?:do not|don t) (?:know|have (?:any )?(?:information"
            r"|access))|no (?:information|results?) (?:\w+ )?(?:found|available)|(?:is|are"
            r"|was) (?:currently )?(?:unavailable|not available)|still fails?|(?:has|have) failed"
            r"|please try again"
        ),
        Language.DE: (
            r"(?:konnte|kann|konnten|können) (?:\w+ ){0,6}nicht|nicht (?:gefunden|möglich|verfügbar"
            r"|erreichbar|abschließen|öffnen)|fehlgeschlagen|schlug fehl|keine (?:informationen"
            r"|angaben|treffer|ergebnisse)|weiß (?:ich )?nicht"
        ),
        Language.FR: (
            r"(?:n ai|n a|n avons) pas (?:pu|réussi|trouvé)|(?:ne )?(?:peux|peut|pouvons) pas"
            r"|impossible de|aucune (?:information|donnée)|aucun résultat|(?:je )?ne sais pas"
            r"|a échoué"
        ),
        Language.ES: (
            r"no (?:he|ha|hemos) (?:podido|logrado|encontrado)|no (?:pude|encuentro|encontré"
            r"|fue posible|sé|tengo información|hay información|se pudo|puedo)|ha fallado|falló"
        ),
        Language.IT: (
            r"non (?:ho|sono|abbiamo|è stato) (?:potuto|riuscit\w|trovato|possibile)|non (?:riesco"
            r"|so|trovo|posso|ci sono informazioni)|è fallit\w|non disponibile"
        ),
        Language.PT: (
            r"não (?:consegui|consigo|foi possível|encontrei|pude|sei|tenho informaç\w+"
            r"|há informaç\w+|é possível)|falhou|falharam"
        ),
        Language.NL: (
            r"(?:kon|kan|konden) (?:\w+ ){0,6}niet|niet (?:gevonden|gelukt|mogelijk|beschikbaar)"
            r"|mislukt|geen (?:informatie|resultaten)|weet (?:ik )?niet"
        ),
        Language.PL: (r"nie (?:udało|mogłem|mogłam|znalazłem|znalazłam|wiem|mogę)|nie powiodł\w+"),
        Language.SV: (r"kunde (?:jag )?inte|kan (?:jag )?inte|hittade inte|vet inte|misslyckades"),
        Language.TR: (
            r"(?:bulamadım|yapamadım|açamadım|ulaşamadım|bilmiyorum|başarısız oldu|mümkün olmadı)"
        ),
        Language.RU: (
            r"не (?:удалось|смог|смогла|нашёл|нашел|нашла|найден\w?|знаю|получилось|могу)"
            r"|нет (?:информации|данных)|завершил\w+ ошибкой"
        ),
        Language.UK: r"не (?:вдалося|зміг|змогла|знайшов|знайшла|знаю|можу)",
        Language.AR: r"لم (?:أتمكن|أجد|أستطع|يتم العثور)|لا (?:أعرف|تتوفر|توجد)|تعذر",
        Language.ZH: (
            r"(?:没有|未能|没能|无法)(?:在.{0,10})?(?:找到|查到|打开|完成|获取|连接|访问|确认)|不知道|失败|(?:没有|暂无)(?:相关)?(?:信息"
            r"|资料|结果)"
        ),
        Language.JA: (
            r"(?:見つかり|見つけられ|確認でき|開け|でき|取得でき|わかり|アクセスでき)ませんでした|失敗しました|わかりません|見つかりません"
        ),
        Language.KO: r"(?:찾을수없|찾지못했|할수없었|하지못했|열수없|실패했|실패하였|알수없)",
    }
)
"""Phrases by which an answer says that it didn't succeed."""

PROMISES: Final = PhraseSearch(
    {
        Language.EN: (
            r"(?:i will|i ll|i am going to|i m going to|let me) (?:now |first |just "
            r"|quickly )?(?:check|look|search|find|do|get|start|fetch|see|book|send|run|fix|read"
            r"|analy[sz]e|review|create|prepare|work)|one moment|give me a (?:moment|minute|second)"
            r"|please wait|get back to you|working on it|hold on"
        ),
        Language.DE: (
            r"ich (?:werde|schaue|prüfe|sehe|suche|kümmere mich) (?:\w+ ){0,5}(?:nach|buchen"
            r"|bestellen|prüfen|suchen|senden|verschicken|darum|machen|beginnen|analysieren"
            r"|erstellen|jetzt|gleich|nun)|(?:einen|ein) (?:moment|augenblick)"
            r"|melde mich (?:\w+ ){0,3}(?:wieder|bei)|bitte warten"
        ),
        Language.FR: (
            r"je (?:vais|m apprête à) (?:maintenant |d abord |tout de suite )?(?:vérifier|chercher"
            r"|regarder|faire|consulter|réserver|envoyer|créer|corriger|analyser|commencer|résumer"
            r"|préparer)|un instant|(?:je )?reviens vers vous|veuillez patienter"
            r"|laissez moi (?:vérifier|regarder|chercher)"
        ),
        Language.ES: (
            r"voy a (?:\w+ )?(?:revisar|buscar|comprobar|hacer|consultar|reservar|enviar|crear"
            r"|resumir|empezar|analizar|corregir|preparar|verificar|mirar)|un momento|espera un"
            r"|déjame (?:ver|revisar|buscar)|ahora mismo (?:lo|la) (?:miro|busco|reviso)"
        ),
        Language.IT: (
            r"(?:adesso |ora )?(?:controllo|verifico|cerco) subito|sto (?:per )?(?:controllando"
            r"|cercando|verificando|preparando|controllare|cercare)|un (?:momento|attimo)"
            r"|mi lasci (?:controllare|verificare)|vado a (?:controllare|verificare|cercare)"
        ),
        Language.PT: (
            r"vou (?:agora |já |primeiro )?(?:verificar|procurar|ver|fazer|consultar|reservar"
            r"|enviar|criar|corrigir|analisar|começar|preparar|resumir|tratar)|um momento"
            r"|só um instante|aguarde"
        ),
        Language.NL: (
            r"ik (?:ga|zal) (?:\w+ ){0,5}(?:regelen|kijken|zoeken|controleren|doen|boeken|versturen"
            r"|nagaan|maken)|een (?:ogenblik|moment)|ik kom (?:er )?bij u (?:op )?terug"
        ),
        Language.PL: (
            r"zaraz (?:sprawdzę|poszukam|to zrobię)|proszę (?:chwilę )?(?:czekać|poczekać)"
            r"|chwileczkę"
        ),
        Language.SV: (
            r"jag ska (?:nu |först )?(?:kolla|kontrollera|leta|se|göra|boka)|ett ögonblick"
            r"|vänta lite"
        ),
        Language.TR: (
            r"(?:hemen|şimdi) (?:kontrol ediyorum|bakıyorum)|bir dakika|lütfen bekleyin"
            r"|kontrol edeceğim"
        ),
        Language.RU: (
            r"(?:сейчас|сначала) (?:я )?(?:проверю|посмотрю|найду|сделаю|поищу)|я (?:проверю"
            r"|посмотрю|сделаю)|подождите|одну минут\w|минутку"
        ),
        Language.AR: r"سأقوم|سوف (?:أبحث|أتحقق)|سأتحقق|سأبحث|لحظة من فضلك|انتظر",
        Language.ZH: (
            r"(?:请)?(?:稍等|等一下|耐心等待)|我?(?:马上|现在|正在|这就|先)(?:为您|帮您|给您|去|来)?(?:查|整理|处理|检查|搜索|准备|分析|看"
            r"|安排)|我(?:将|会)(?:先)?(?:查|检查|整理|处理)"
        ),
        Language.JA: (
            r"少々お待ち|これから.{0,15}(?:ます|いたします)|確認(?:して|いたし)(?:みます|ます)|調べて(?:みます|まいります)|お調べします|しばらくお待ち"
        ),
        Language.KO: r"잠시만기다|확인해보겠|찾아보겠|확인하겠습니다|진행하겠습니다|조금만기다",
    }
)
"""Phrases by which an answer announces work instead of its result."""

_ACTS_EN: Final = (
    r"(?:cancell?ed|booked|rebooked|sent|created|deleted|removed|updated|changed|scheduled"
    r"|transferred|refunded|reserved|ordered|moved|added|renamed|uploaded|published|deployed|paid"
    r"|submitted|registered|notified|invited|saved|turned|emailed|posted|fixed|upgraded|activated"
    r"|forwarded)"
)
CLAIMS: Final = PhraseSearch(
    {
        Language.EN: (
            rf"(?:i|we) (?:have |ve )?(?:now |just |already |successfully |also )?{_ACTS_EN}|"
            rf"(?:is|are|has been|have been|was|were) (?:now |successfully |also )?{_ACTS_EN}"
        ),
        Language.DE: (
            r"(?:habe|haben|wurde|wurden|ist|sind|worden) (?:\w+ ){0,9}(?:storniert|gebucht"
            r"|gesendet|verschickt|angelegt|erstellt|gelöscht|geändert|überwiesen|reserviert"
            r"|bestellt|verschoben|hinzugefügt|umbenannt|hochgeladen|veröffentlicht|bezahlt"
            r"|angemeldet|beauftragt|erstattet|erledigt|gekündigt)|alles erledigt|liegt jetzt im"
        ),
        Language.FR: (
            r"(?:ai|avons|a été|ont été|est|sont|été) (?:\w+ ){0,3}(?:annulée?s?|réservée?s?"
            r"|envoyée?s?|créée?s?|supprimée?s?|modifiée?s?|ajoutée?s?|déplacée?s?|commandée?s?"
            r"|corrigée?s?|publiée?s?|transmise?s?|payée?s?|enregistrée?s?)"
        ),
        Language.ES: (
            r"(?:he|hemos|ha sido|han sido|está|están|queda|ha) (?:\w+ ){0,2}(?:anulad|cancelad"
            r"|enviad|reservad|cread|eliminad|borrad|cambiad|añadid|programad|pagad|movid"
            r"|actualizad|publicad|confirmad)[oa]s?|(?:he|hemos) (?:\w+ ){0,2}\w+(?:ado|ido)"
        ),
        Language.IT: (
            r"(?:ho|abbiamo|è|sono|stat[oaie]) (?:\w+ ){0,2}(?:annullat|prenotat|inviat|creat"
            r"|eliminat|cancellat|modificat|aggiunt|spostat|programmat|pagat|aggiornat|pubblicat"
            r"|corrett|avvisat)[oaie]"
        ),
        Language.PT: (
            r"(?:cancelei|enviei|reservei|criei|apaguei|alterei|adicionei|agendei|paguei|movi"
            r"|atualizei|publiquei|anulei|transferi)|(?:foi|foram|está"
            r"|estão) (?:\w+ ){0,2}(?:cancelad|enviad|reservad|criad|apagad|alterad|adicionad"
            r"|agendad|pag|movid|atualizad|publicad|anulad|transferid|redefinid)[oa]s?"
        ),
        Language.NL: (
            r"(?:heb|is|zijn|werd|hebben) (?:\w+ ){0,7}(?:geannuleerd|geboekt|verstuurd|verzonden"
            r"|aangemaakt|verwijderd|gewijzigd|toegevoegd|verplaatst|betaald|gereserveerd|stopgezet"
            r"|gepauzeerd|geregeld)"
        ),
        Language.PL: (
            r"(?:anulowałe?a?m|zarezerwowałe?a?m|wysłałe?a?m|utworzyłe?a?m|usunęłam|usunąłem"
            r"|zmieniłe?a?m)|(?:jest|została?o?|są|zostały) (?:\w+ )?(?:anulowan|zarezerwowan"
            r"|wysłan|utworzon|usunięt|zmienion|opłacon)\w+"
        ),
        Language.TR: (
            r"(?:iptal ettim|gönderdim|oluşturdum|sildim|değiştirdim|rezerve ettim|ayırttım"
            r"|iptal edildi|gönderildi|oluşturuldu|silindi|değiştirildi|rezerve edildi)"
        ),
        Language.RU: (
            r"(?:отменил|забронировал|отправил|создал|удалил|изменил|добавил|перенёс|оплатил"
            r"|перевёл)а?|(?:отменен|отменён|забронирован|отправлен|создан|удален|удалён|изменен"
            r"|изменён|добавлен|перенесён|оплачен|переведен|исправлен)[аоы]?"
        ),
        Language.AR: (
            r"تم (?:إلغاء|حجز|إرسال|إنشاء|حذف|تغيير|تحديث|دفع)|لقد (?:ألغيت|حجزت|أرسلت|أنشأت)"
        ),
        Language.ZH: (
            r"已(?:经)?(?:为您|帮您|成功|将)?.{0,16}?(?:取消|预订|预定|发送|发到|发给|创建|删除|修改|添加|更新|支付|提交|转账|清理|移动|退款"
            r"|设置)|(?:取消|预订|发送|创建|删除|清理|提交)(?:完毕|成功|好了)"
        ),
        Language.JA: (
            r"(?:予約|送信|キャンセル|設定|変更|登録|削除|作成|送付|更新|注文|移動|修正|公開|お取り)"
            r"(?:を)?(?:いた)?しました|承りました|完了(?:いた)?しました|(?:キャンセル|予約|変更)されました"
        ),
        Language.KO: (
            r"(?:예약|취소|전송|배포|생성|삭제|변경|추가|발송|등록)(?:을|를)?(?:완료)?"
            r"(?:했|하였|되었|됐)"
        ),
    }
)
"""Phrases by which an answer says that something was done outside of the conversation."""

COURTESIES: Final = PhraseSearch(
    {
        Language.EN: (
            r"anything else|help you (?:further|with anything)|else i can|other questions"
            r"|let me know"
        ),
        Language.DE: (
            r"(?:sonst )?noch (?:etwas|was|irgendetwas|fragen|weiter\w*)|weitere fragen"
            r"|weiterhelfen"
        ),
        Language.FR: r"autre chose|d autres questions|encore vous aider|vous aider davantage",
        Language.ES: r"(?:algo|alguna cosa|otra cosa) (?:más|en)|algo más|otra pregunta|más ayuda",
        Language.IT: r"(?:qualcos |)altro|altre domande|ancora aiut\w+",
        Language.PT: r"(?:mais alguma|outra) coisa|algo mais|mais perguntas|ajudar em mais",
        Language.NL: r"(?:nog )?(?:iets|ergens) anders|verder (?:nog )?helpen|nog vragen",
        Language.PL: r"(?:coś|czymś) jeszcze|inne pytania",
        Language.SV: r"något (?:annat|mer)|fler frågor",
        Language.TR: r"başka bir (?:şey|konu)|başka sorunuz",
        Language.RU: r"(?:ещё|еще) (?:чем|что|вопросы)|чем (?:ещё|еще)",
        Language.AR: r"شيء آخر|أي أسئلة أخرى|مساعدة أخرى",
        Language.ZH: r"还有(?:什么|其他|别的)|还需要|其他(?:需要|问题)",
        Language.JA: r"(?:他|ほか)に(?:何か|ご)|その他",
        Language.KO: r"(?:더|다른)(?:도움|필요|궁금|질문)",
    }
)
"""Phrases of a polite question at the end, which asks nothing about the request."""

NEGATIONS: Final = PhraseSearch(
    {
        Language.EN: (
            r"not|no|never|none|nobody|nothing|without|t|neither|nor|cannot|unable|non|only|closed"
            r"|sold"
        ),
        Language.DE: r"nicht|kein\w*|nie|niemals|ohne|weder|nichts|niemand|verboten|leider|nur",
        Language.FR: r"n|ne|pas|jamais|aucune?|sans|ni|rien|interdite?s?|seulement",
        Language.ES: r"no|nunca|ningun[oa]?|ningún|sin|ni|nada|nadie|tampoco|prohibid[oa]s?|solo",
        Language.IT: r"non|mai|nessun[oa]?|senza|né|niente|nulla|vietat[oa]|chius[oa]|solo",
        Language.PT: r"não|nunca|nenhuma?|sem|nem|nada|ninguém|proibid[oa]s?|só",
        Language.NL: r"niet|geen|nooit|zonder|noch|niets|niemand|verboden|alleen",
        Language.RU: r"не|нет|ни|никогда|без|нельзя|ничего|только",
        Language.UK: r"не|немає|ні|ніколи|без|не можна|лише",
        Language.PL: r"nie|nigdy|bez|żad\w+|ani|tylko",
        Language.ZH: r"[不没無无未非勿]|免费|仅|只",
        Language.JA: r"ない|ません|なく|ず|不可|無料|のみ|だけ|対象外|禁止",
        Language.KO: r"않|없|못|아니|안|금지|만",
    }
)
"""Words that negate or restrict a statement."""
