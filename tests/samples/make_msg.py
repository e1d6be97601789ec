"""Write ``letter.msg``: ``python tests/samples/make_msg.py``, with ``pip install msgforge``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from msgforge import Message

if __name__ == "__main__":
    letter = Message(
        subject="Rent for the Oak Street flat 橡树街",
        html_body="<p>Dear Bob,</p><p>the rent rises to <b>2,450 euros</b> in May 五月.</p><p>Ann</p>",
        to=[("bob@example.com", "Bob Baker")],
        cc=[("carol@example.com", "Carol")],
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {
            "rates.csv": "month,euros\nMay,2450\n",
            "note.md": "# Keys\n\nThe keys are at the porter's.\n",
        }.items():
            Path(folder, name).write_text(text)
            letter.attach(str(Path(folder, name)))
        Path(folder, "song.ogg").write_bytes(b"OggS")
        letter.attach(str(Path(folder, "song.ogg")))
        letter.save(str(Path(__file__).parent / "letter.msg"))
