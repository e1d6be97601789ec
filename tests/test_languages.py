"""Scripts, languages, and what denies in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.answering.grounding import find_support
from langbert.records import Candidate, Chunk
from langbert.text.languages import agree_in_negation, languages_of
from langbert.text.scripts import is_chinese, is_japanese, is_latin

CONTRACTS = [  # language, "The contract is renewed automatically.", and that it is not
    ("en", "The contract is renewed automatically.", "The contract is not renewed automatically."),
    ("fr", "Le contrat se renouvelle automatiquement.", "Le contrat ne se renouvelle pas automatiquement."),
    ("de", "Der Vertrag verlängert sich automatisch.", "Der Vertrag verlängert sich nicht automatisch."),
    ("es", "El contrato se renueva automáticamente.", "El contrato no se renueva nunca automáticamente."),
    ("it", "Il contratto si rinnova automaticamente.", "Il contratto non si rinnova mai automaticamente."),
    ("pt", "O contrato renova-se automaticamente.", "O contrato não se renova automaticamente."),
    ("nl", "Het contract wordt automatisch verlengd.", "Het contract wordt niet automatisch verlengd."),
    ("sv", "Avtalet förnyas automatiskt och kan ändras.", "Avtalet förnyas inte automatiskt och kan ändras."),
    ("da", "Aftalen fornyes automatisk af udlejer.", "Aftalen fornyes ikke automatisk af udlejer."),
    ("pl", "Umowa odnawia się automatycznie.", "Umowa nie odnawia się automatycznie."),
    ("cs", "Smlouva se automaticky obnovuje.", "Smlouva se automaticky neobnovuje."),
    ("tr", "Sözleşme otomatik olarak yenilenir.", "Sözleşme otomatik olarak yenilenmez."),
    ("fi", "Sopimus uusiutuu automaattisesti.", "Sopimus ei uusiudu automaattisesti."),
    ("hu", "A szerződés automatikusan megújul.", "A szerződés nem újul meg automatikusan."),
    ("id", "Kontrak diperpanjang secara otomatis.", "Kontrak tidak diperpanjang secara otomatis."),
    ("vi", "Hợp đồng được gia hạn tự động.", "Hợp đồng không được gia hạn tự động."),
    ("ru", "Договор продлевается автоматически.", "Договор не продлевается автоматически."),
    ("el", "Η σύμβαση ανανεώνεται αυτόματα.", "Η σύμβαση δεν ανανεώνεται αυτόματα."),
    ("ar", "يتجدد العقد تلقائيا.", "لا يتجدد العقد تلقائيا."),
    ("he", "החוזה מתחדש אוטומטית.", "החוזה לא מתחדש אוטומטית."),
    ("hi", "अनुबंध अपने आप नवीनीकृत होता है।", "अनुबंध अपने आप नवीनीकृत नहीं होता है।"),
    ("ja", "契約は自動的に更新されます。", "契約は自動的に更新されません。"),
    ("ko", "계약은 자동으로 갱신됩니다.", "계약은 자동으로 갱신되지 않습니다."),
    ("zh", "合同自动续签。", "合同不自动续签。"),
    ("unknown", "สัญญาต่ออายุโดยอัตโนมัติ", "สัญญาไม่ต่ออายุโดยอัตโนมัติ"),
]


@pytest.mark.parametrize(("language", "says", "denies"), CONTRACTS, ids=[language for language, *_ in CONTRACTS])
def test_what_denies_is_told_in_many_languages(language: str, says: str, denies: str) -> None:
    assert not agree_in_negation(says, denies)
    assert not agree_in_negation(denies, says)
    assert agree_in_negation(says, says)
    assert agree_in_negation(denies, denies)
    assert language == "unknown" or language in languages_of(f"{says} {denies}")


@pytest.mark.parametrize(("language", "says", "denies"), CONTRACTS, ids=[language for language, *_ in CONTRACTS])
def test_a_sentence_that_says_the_contrary_of_its_source_has_no_support(language: str, says: str, denies: str) -> None:
    source = [Candidate(Chunk("c", "d", f"§ 4.\n\n{denies}\n\nArt. 5."), 0.0)]
    assert find_support(says, source) is None
    assert find_support(denies, source) is not None


def test_two_negators_are_one_denial_in_some_languages_and_none_in_others() -> None:
    assert agree_in_negation("Il contratto non si rinnova mai.", "Il contratto non si rinnova.")
    assert not agree_in_negation("It is not without a limit.", "It is without a limit.")


def test_which_script() -> None:
    questions = ("优の良品是什么牌子？", "東京はどこですか", "", "Who?")
    assert [is_chinese(text) for text in questions] == [True, False, False, False]
    assert is_japanese("東京はどこですか")
    questions = ("Où est-ce ?", "Hợp đồng", "Где это?", "그것은 어디에 있습니까?", "42?")
    assert [is_latin(text) for text in questions] == [True, True, False, False, True]


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_comes_agreement_is_mutual(one: str, other: str) -> None:
    assert agree_in_negation(one, one)
    assert agree_in_negation(one, other) == agree_in_negation(other, one)
