"""In which language a sentence is written, as far as telling whether it denies something needs it.

A few function words of each language vote; scripts of one language decide at once. That is right for sentences; a few
words without any of them are taken for English, the language of most documents in Latin script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from .scripts import HANGUL, is_japanese, is_latin

_WORD = re.compile(r"[^\W\d_]+")
_FEW = 8  # words; fewer need not hold a function word

_FUNCTION_WORDS: Mapping[str, str] = {
    "en": "the a an of and or to in is are was were be been has have had that this these it he she they by for with on "
    "at from as its which who not no do does did can may must will would should",
    "de": "der die das den dem des ein eine einen einem einer und oder ist sind war waren wird werden wurde hat haben "
    "nicht kein keine mit von zu zum zur im in auf für sich auch es er sie bei nach aus durch als",
    "fr": "le la les l un une des du de d et ou est sont était a ont en dans par pour sur au aux ce cette ces se s il "
    "elle ils elles qui que ne n pas avec sa son ses leur",
    "es": "el la los las un una unos del de y o es son era fue ha han en por para con al se su sus lo que no como más "
    "este esta",
    "pt": "o a os as um uma de do da dos das e ou é são era foi tem em no na nos nas por para com ao à se seu sua que "
    "não como mais este esta",
    "it": "il lo la i gli le l un una uno di del della dei delle e o è sono era ha hanno in nel nella per con al alla "
    "si che non come più questo questa da dal",
    "nl": "de het een van en of is zijn was waren wordt worden heeft hebben in op te met voor door aan bij dat die dit "
    "niet geen er zich ook naar uit als",
    "sv": "och eller är var en ett den det de som i på av till för med att inte har hade från om sig kan ska blir",
    "da": "og eller er var en et den det de som i på af til for med at ikke har havde fra om sig kan skal bliver ble",
    "pl": "i lub jest są był była było w na z ze do od za po przez dla nie się że to ten ta który która jak oraz o",
    "cs": "a i se si na v je jsou byl byla by to že s z do o od za po pro při jako který která které ani ve ze podle",
    "tr": "ve veya bir bu şu ile için da de mi ki olarak olan çok daha gibi her ne değil",
    "id": "dan atau yang di ke dari untuk dengan ini itu adalah pada oleh akan tidak telah dalam sebagai",
    "vi": "và hoặc là của có được trong cho với này các những một không đã sẽ từ khi",
    "fi": "ja tai on ovat oli ei se ne joka että kun myös",
    "hu": "a az és vagy egy is nem van volt hogy meg ez ki el",
}
_SCRIPTS: Mapping[str, str] = {
    "ko": HANGUL,
    "ru": "\u0400-\u04ff",
    "el": "\u0370-\u03ff",
    "ar": "\u0600-\u06ff",
    "he": "\u0590-\u05ff",
    "hi": "\u0900-\u097f",
    "zh": "\u3400-\u9fff",
}
_ENGLISH = r"\b(?:not|no|never|none|nor|neither|nothing|nobody|without|cannot|unable|fail(?:s|ed)?)\b|n['’]t\b"
_NEGATORS: Mapping[str, str] = {
    "en": _ENGLISH,
    "de": r"\b(?:nicht|kein\w*|nie|niemals|niemand\w*|nichts|nirgends|ohne|weder)\b",
    "fr": r"\b(?:ne\b|n['’]\w)|\b(?:pas|jamais|aucune?|sans)\b",
    "es": r"\b(?:no|nunca|jamás|nada|nadie|ning[uú]n\w*|ni|sin|tampoco)\b",
    "pt": r"\b(?:não|nunca|jamais|nada|nenhum\w*|ninguém|nem|sem)\b",
    "it": r"\b(?:non|mai|niente|nulla|nessun\w*|né|senza|neanche)\b",
    "nl": r"\b(?:niet|geen|nooit|niemand|niets|nergens|zonder|noch)\b",
    "sv": r"\b(?:inte|ej|icke|ingen|inget|inga|ingenting|aldrig|utan|varken)\b",
    "da": r"\b(?:ikke|ingen|intet|ingenting|aldrig?|uden|uten|hverken)\b",  # and Norwegian
    "pl": r"\b(?:nie|nigdy|nikt|nic|żad\w+|bez|ani|brak)\b",
    "cs": r"\b(?:ne(?!j|bo\b|ž\b)\w{2,}|nejs\w+|není|ani|bez|nikdy|nikdo|nic|žádn\w+)\b",  # and Slovak
    "tr": r"\b(?:değil|yok|hiç|asla|\w+m[ae](?:z|d[ıi]|yacak|yecek)\w*|\w+m[ıiuü]yor\w*)\b",
    "id": r"\b(?:tidak|bukan|tanpa|belum|jangan|tak)\b",
    "vi": r"\b(?:không|chưa|chẳng|đừng)\b",
    "fi": r"\b(?:ei|en|et|emme|ette|eivät|älä|ilman)\b",
    "hu": r"\b(?:nem|ne|sem|nincs\w*|soha|senki|semmi|nélkül)\b",
    "ja": r"ない|なかっ|なく|なけれ|なし|ません|ずに|[不無未非]",
    "ko": r"않|못|없|아니|(?<!\S)안(?=\s)",
    "ru": r"\b(?:не|ни|нет|нельзя|никогда|никто|ничего|ничто|без|ні|немає|ніколи)\b",  # and Ukrainian
    "el": r"\b(?:δεν|δε|μη|μην|όχι|ποτέ|καν[εέ]ν\w*|χωρίς)\b",
    "ar": r"\b[وف]?(?:لا|لم|لن|ليس\w*|غير|دون|بدون)\b",
    "he": r"\bו?(?:לא|אין|אינ\w+|בלי|ללא)\b",
    "hi": r"(?<!\w)(?:नहीं|न|ना|मत|बिना)(?!\w)",
    "zh": rf"{_ENGLISH}|[不没沒未無无]|并非",
}
# Where two negators deny no less than one ("no … nunca", "ne … pas"); elsewhere two cancel out.
_CONCORD = frozenset({"fr", "es", "pt", "it", "pl", "cs", "tr", "hu", "ru", "el", "ar", "he"})


def languages_of(text: str) -> list[str]:
    """The codes (ISO 639-1) of the languages ``text`` may be in, all equally likely; none where it is unknown here.

    >>> [languages_of(text) for text in ("Le contrat ne se renouvelle pas.", "契約は更新されない。", "Срок не указан.")]
    [['fr'], ['ja'], ['ru']]
    """
    if not is_latin(text):
        if is_japanese(text):
            return ["ja"]
        return [code for code, script in _SCRIPTS.items() if re.search(f"[{script}]", text)][:1]
    words = _WORD.findall(text.lower())
    votes = {code: sum(word in known for word in words) for code, known in _known_words().items()}
    most = max(votes.values())
    if most:
        return [code for code, count in votes.items() if count == most]
    return ["en"] if len(words) <= _FEW else []


def agree_in_negation(one: str, other: str) -> bool:
    """Whether both deny or neither does; in a language that is not known here, whether they have the same words.

    >>> agree_in_negation("Le contrat se renouvelle.", "Le contrat ne se renouvelle pas.")
    False
    """
    languages = languages_of(f"{one} {other}")
    if not languages:
        return set(_WORD.findall(one.lower())) == set(_WORD.findall(other.lower()))
    return all(_denies(one, language) == _denies(other, language) for language in languages)


def _denies(text: str, language: str) -> bool:
    count = len(re.findall(_NEGATORS[language], text, re.IGNORECASE))
    return count > 0 if language in _CONCORD else count % 2 == 1


@cache
def _known_words() -> Mapping[str, frozenset[str]]:
    return {code: frozenset(words.split()) for code, words in _FUNCTION_WORDS.items()}
