"""Text → terms that compare: those of the lexical index, with English verbs in one form however they are written.

A stemmer brings "starts" and "started" together, but not "wrote" and "written", and a question and its answer
rarely stand in the same tense: "When did it begin?", "It began in 1066."
"""

from __future__ import annotations

from functools import cache

from .terms import terms

_VERBS = """
arise arose arisen; awake awoke awoken; bear bore borne born; beat beaten; become became; begin began begun; bend
bent; bind bound; bleed bled; blow blew blown; break broke broken; breed bred; bring brought; build built; buy bought;
catch caught; choose chose chosen; cling clung; come came; creep crept; deal dealt; dig dug; draw drew drawn; drink
drank drunk; drive drove driven; eat ate eaten; fall fell fallen; feed fed; feel felt; fight fought; find found; flee
fled; fly flew flown; forbid forbade forbidden; forget forgot forgotten; forgive forgave forgiven; freeze froze
frozen; get got gotten; give gave given; go went gone; grow grew grown; hang hung; hear heard; hide hid hidden; hold
held; keep kept; know knew known; lay laid; lead led; leave left; lend lent; lose lost; make made; mean meant; meet
met; overcome overcame; overthrow overthrew overthrown; pay paid; ride rode ridden; ring rang rung; rise rose risen;
run ran; say said; see saw seen; seek sought; sell sold; send sent; shake shook shaken; shine shone; shoot shot; show
shown; shrink shrank shrunk; sing sang sung; sink sank sunk; sit sat; sleep slept; slide slid; speak spoke spoken;
spend spent; spin spun; spring sprang sprung; stand stood; steal stole stolen; stick stuck; strike struck; swear swore
sworn; sweep swept; swim swam swum; swing swung; take took taken; teach taught; tear tore torn; tell told; think
thought; throw threw thrown; undergo underwent undergone; understand understood; undertake undertook undertaken; wake
woke woken; wear wore worn; weave wove woven; win won; withdraw withdrew withdrawn; write wrote written
"""


def base_terms(text: str) -> list[str]:
    """The content terms of ``text``, in order.

    >>> base_terms("Who wrote it?") == base_terms("It was written by whom?") == ["write"]
    True
    """
    base = _bases()
    return [base.get(term, term) for term in terms(text)]


@cache
def _bases() -> dict[str, str]:
    """The stem of each form, and that of its infinitive."""
    verbs = [terms(forms) for forms in _VERBS.split(";")]
    return {form: infinitive for infinitive, *forms in verbs for form in forms}
