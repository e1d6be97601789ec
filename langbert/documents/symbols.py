"""Characters of Symbol, Wingdings and Webdings, which documents write as code points of their own (U+F020–F0FF)."""

from __future__ import annotations

_GREEK = "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"  # from 0x41
_SIGNS = {
    0x22: "∀", 0x24: "∃", 0x27: "∋", 0x2A: "∗", 0x2D: "−", 0x40: "≅", 0xA0: "€", 0xA2: "′", 0xA3: "≤", 0xA5: "∞",
    0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xB0: "°", 0xB1: "±", 0xB2: "″", 0xB3: "≥", 0xB4: "×",
    0xB5: "∝", 0xB6: "∂", 0xB7: "•", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡", 0xBB: "≈", 0xBC: "…", 0xC6: "∅", 0xC7: "∩",
    0xC8: "∪", 0xCE: "∈", 0xCF: "∉", 0xD0: "∠", 0xD1: "∇", 0xD2: "®", 0xD3: "©", 0xD4: "™", 0xD5: "∏", 0xD6: "√",
    0xD7: "⋅", 0xD8: "¬", 0xD9: "∧", 0xDA: "∨", 0xDB: "⇔", 0xDE: "⇒", 0xE5: "∑", 0xF2: "∫",
}  # fmt: skip
_WINGDINGS = {
    0x28: "☎", 0x2A: "✉", 0x46: "☞", 0x4A: "☺", 0x4C: "☹", 0x76: "❖", 0x9F: "•", 0xAB: "★", 0xE8: "➔", 0xF0: "⇨",
    **dict(enumerate("⓪①②③④⑤⑥⑦⑧⑨⑩⓿❶❷❸❹❺❻❼❽❾❿", 0x80)),
    0x6C: "●", 0x6E: "■", 0x6F: "☐", 0x71: "❑", 0x75: "◆", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xE0: "→", 0xDF: "←",
    0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
}  # fmt: skip
_WINGDINGS_2 = {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x97: "●", 0xA3: "☐"}
_WEBDINGS = {0x61: "✓", 0x63: "☐", 0x67: "■", 0x6E: "●", 0x72: "✗"}
_PICTURES = {"Wingdings": _WINGDINGS, "Wingdings 2": _WINGDINGS_2, "Wingdings 3": {}, "Webdings": _WEBDINGS}


def symbol(code: int, font: str) -> str:
    """The Unicode character for a code point in a font; itself where the font is an ordinary one.

    >>> symbol(0xF062, "Symbol"), symbol(0xF0FC, "Wingdings"), symbol(0x41, "Arial")
    ('β', '✓', 'A')
    """
    byte = code - 0xF000 if 0xF000 <= code <= 0xF0FF else code
    if font in _PICTURES:
        return _PICTURES[font].get(byte, "▪")
    if font == "Symbol":
        return _GREEK[byte - 0x41] if 0x41 <= byte < 0x41 + len(_GREEK) else _SIGNS.get(byte, chr(byte))
    return chr(code) if 0 < code < 0xE000 else "\ufffd" if code > 0xF8FF or byte < 0x20 else chr(byte)
