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
            "Basic | Has: Mail, 5 GB\nPro | Has: All",
        ),
        ("<p>Now <del>30</del> 20 euros</p>", "Now [struck out: 30] 20 euros"),
        ('<p>Now <span style="text-decoration: line-through">30</span> 20</p>', "Now [struck out: 30] 20"),
        (
            '<table><tr><th>Tent<th>Poles<th>Mat<tr><td>Alm<td><img alt="yes"><td><svg aria-label="no"></svg></table>',
            "Alm | Poles: yes | Mat: no",
        ),
        (
            "<table><tr><th>Duty<th>Done<th>By<tr><td>Bins<td><input type=checkbox checked><td>Eva"
            "<tr><td>Yard<td><input type=checkbox><td>Udo</table>",
            "Bins | Done: ☑ | By: Eva\nYard | Done: ☐ | By: Udo",
        ),
        ("<ul><li><input type=checkbox checked>Packed<li><input type=checkbox>Paid</ul>", "- ☑ Packed\n- ☐ Paid"),
        (
            "<table><tr><th>Boat<th>Seats<tr><td>Skiff<td>4<tr><th>Oar<th>Length<tr><td>Long<td>3 m</table>",
            "Oar | Length\nLong | Length: 3 m",
        ),
        ("<table><tr><th>Do<th>Say<tr><td>stop<td><pre>halt -p</pre></table>", "stop | Say: halt -p"),
        (
            "<table><tr><th>Hut<th>Beds<tr><td>Alm<td><table><tr><th>Room<th>Free<tr><td>A<td>2<tr><td>B<td></table>"
            "<tr><td>Egg<td>9</table>",
            "Alm | Beds: Room, Free; A, Free: 2; B, Free: –\nEgg | Beds: 9",
        ),
        (
            '<p>d = <span style="display:none"><math><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow>'
            "<mn>2</mn></mfrac><msup><mn>10</mn><mrow><mo>−</mo><mn>3</mn></mrow></msup><msqrt><mn>2</mn></msqrt>"
            '<annotation encoding="application/x-tex">tex</annotation></math></span></p>',
            "d = (a+b)/210^−3√2",
        ),
        (f"{LONG}<dialog open>The pool is shut on Monday.</dialog>", "shut on Monday"),
        (
            f"{LONG}</body></html>\n<hr><p>Sent by the list. 列表说明。</p><html><body>Second page</html>",
            "列表说明。\n\nSecond page",
        ),
        (
            "<div role='table'><div role='rowgroup'><div role='row'><b role='columnheader'>Depot</b>"
            "<b role='columnheader'>Head</b><b role='columnheader'>Bays</b></div></div>"
            "<ul role='rowgroup'><li role='row'><div><i role='cell'>Lund</i></div>"
            "<i role='cell'></i><i role='cell'>14</i></ul></div>",
            "Depot | Head | Bays\nLund | Head: – | Bays: 14",
        ),
        (
            "<div role='grid'><p role='row'><b role='rowheader'>甲</b><i role='cell' aria-colspan='2'>9 元</i></div>",
            "甲 | 9 元 | 9 元",
        ),
        ("<div role='grid'><p role='row'><b role='gridcell'>A</b> beside</p></div>", "A beside"),
        (f"{LONG}<footer><div>Open on workdays: 8 to 17</div></footer>", "Open on workdays"),
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
