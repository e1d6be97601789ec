"""HTML: what a reader of the page can open is read, navigation is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from langbert.documents import read_document

LONG = "<p>" + "The mixer is cleaned after every batch. " * 8 + "</p>"


def text_of(folder: Path, body: str) -> str:
    (folder / "a.html").write_text(f"<html><body>{body}</body></html>")
    return read_document(folder / "a.html").text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<h3><button class="x">Where is the key?</button></h3><div class="collapse">At the desk.</div>', "Where is"),
        ('<button aria-expanded="false">Opening hours</button><div hidden>From nine.</div>', "Opening hours"),
        ('<button aria-expanded="false">Opening hours</button><div hidden>From nine.</div>', "From nine."),
        ("<dl><dt>Bags?</dt><dd style='display:none'>Two per person.</dd></dl>", "Two per person."),
        ('<div role="tab">A</div><section role="tabpanel" aria-hidden="true">In tab A.</section>', "In tab A."),
        ('<div hidden="until-found">Found when searched.</div>', "Found when searched."),
        ('<div style="visibility: hidden"><p>A folded paragraph.</p></div>', "A folded paragraph."),
        (f"<main>{LONG}<aside>Wear gloves.</aside></main>", "Wear gloves."),
        (
            f"<main>{LONG}</main><div><h2>Specs</h2><table><tr><td>Mass</td><td>3 kg</td></tr></table></div>",
            "3 kg",
        ),
        (f"<h1>Mixer</h1><p>It holds 4 litres.</p><article>{LONG}</article>", "4 litres"),
        ('<div class="sidebar"><p>At most 3 bar, see <a href="#">norms</a>.</p></div>', "At most 3 bar"),
        ("<table><tr><th>A<th>B<tr><td>x<td><ul><li>one</li><li>two</li></ul></table>", "x | B: one two"),
        ("<p>10<sup>-6</sup> m and 5 m<sup>2</sup>, said<sup><a>1</a></sup></p>", "10^-6 m and 5 m^2, said1"),
        (f"{LONG}<footer><p>Open from nine to five.</p></footer>", "nine to five"),
        (f'{LONG}<div aria-hidden="true">Second slide</div>', "Second slide"),
        ('<ol type="a"><li>x<li value="4">y<li>z</ol>', "a. x\nd. y\ne. z"),
        ('<ol style="list-style: upper-roman" start="3"><li>x<li>y</ol>', "III. x\nIV. y"),
        ("<p>保修期为\n  两年，自\n购买日起，见 the\nmanual</p>", "保修期为两年，自购买日起，见 the manual"),
        ("<p><ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字</ruby>を読む", "漢字を読む"),
        ('<svg viewBox="0 0 9 9"><title>t</title><text>North: 45 %</text></svg>', "North: 45 %"),
        ("<table><tr><th>Day<th>Room<tr><td rowspan=0>Mon<td>A<tr><td>B</table>", "Mon | Room: B"),
        (
            "<table><tr><th>Plan<th>Has<tr><td>Basic<td><table><tr><td>Mail<td>5 GB</table><tr><td>Pro<td>All</table>",
            "Basic | Has: Mail 5 GB\nPro | Has: All",
        ),
        ("<p>Now <del>30</del> 20 euros</p>", "Now [struck out: 30] 20 euros"),
    ],
)
def test_what_can_be_opened_is_read(tmp_path: Path, body: str, words: str) -> None:
    assert words in text_of(tmp_path, body)


@pytest.mark.parametrize(
    "extra",
    [
        '<nav><a href="/">LEAVE OUT</a></nav>',
        '<div class="cookie-banner"><p>LEAVE OUT</p></div>',
        '<aside><ul><li><a href="/1">LEAVE OUT</a></li><li><a href="/2">LEAVE OUT too</a></li></ul></aside>',
        '<div class="modal" aria-hidden="true"><p>LEAVE OUT</p></div>',
        '<ul class="mobile-menu" style="display:none"><li>LEAVE OUT</li></ul>',
        "<button>LEAVE OUT</button>",
        '<span aria-hidden="true">LEAVE OUT</span>',
        '<script type="text/template"><p>LEAVE OUT</p></script>',
        "<dialog><p>LEAVE OUT</p></dialog>",
        '<footer><p><a href="/">LEAVE OUT</a> <a href="/b">LEAVE OUT</a> 2024</p></footer>',
    ],
)
def test_furniture_is_not(tmp_path: Path, extra: str) -> None:
    assert "LEAVE OUT" not in text_of(tmp_path, f"<h1>Mixer</h1>{LONG}{extra}")


def test_a_question_in_a_button_is_the_heading(tmp_path: Path) -> None:
    text_of(tmp_path, "<h1>FAQ</h1><h2><button>May I pay later?</button></h2><div class='collapse'>Yes.</div>")
    assert [h.text for h in read_document(tmp_path / "a.html").headings] == ["FAQ", "May I pay later?"]
