"""Pictures that the command draws, shown in a notebook or saved."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Union

#: Pixels; the viewer fits itself into the frame.
FRAME_HEIGHT = 720


class Picture:
    """A picture, as the text of an SVG or of an HTML page that needs nothing beside it.

    In Jupyter the value of a cell is shown. Elsewhere ``save`` writes it to a file for a browser.
    """

    text: str
    #: "svg" or "html"
    kind: str

    def __init__(self, text: str, kind: str) -> None:
        self.text, self.kind = text, kind

    def save(self, path: Union[str, "os.PathLike[str]"]) -> Path:
        """Writes the picture and returns the path."""
        Path(path).write_text(self.text, encoding="utf-8")
        return Path(path)

    def __repr__(self) -> str:
        return f"<strandline picture, {self.kind}, {len(self.text):,} characters: .save(path), or the value of a notebook's cell>"

    def _repr_html_(self) -> str:
        if self.kind == "svg":
            return self.text
        # A frame of its own keeps the page's styles and keys from the notebook's.
        page = html.escape(self.text, quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="width:100%;height:{FRAME_HEIGHT}px;border:0" '
            'title="strandline"></iframe>'
        )
