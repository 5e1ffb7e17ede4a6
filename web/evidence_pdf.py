"""Evidence of an opt-out as a PDF: text that can be selected and read aloud, the log's words whole. No look-ups.

Made with fpdf2; the font is Source Sans (SIL Open Font License), embedded in part. docs/adr/0027 says why.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import font_source_sans_pro
from fpdf import FPDF, XPos, YPos

from web.contexts import EvidencePage
from web.words import count, day_time, gettext, language, ngettext

FONTS: Final = Path(font_source_sans_pro.font_directory)
INK, SOFT, GREEN = (27, 29, 32), (89, 93, 99), (13, 107, 80)
MARGIN_MM: Final = 20
SIDE_MM: Final = 26
"""Of a thumbnail."""


@dataclass(frozen=True)
class Picture:
    """A thumbnail to print."""

    webp: bytes
    alt: str


class _Sheet(FPDF):
    """A4, with the claim's address and the page's number at the foot of each page."""

    def __init__(self, page_url: str) -> None:
        super().__init__(format="A4")
        self._page_url = page_url
        for style, file in (("", "Regular"), ("B", "Semibold")):
            self.add_font("Sans", style, FONTS / f"SourceSansPro-{file}.ttf")
        self.set_image_filter("DCTDecode")  # thumbnails as JPEG: a tenth of their pixels
        self.set_margin(MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=MARGIN_MM + 6)

    def footer(self) -> None:
        """The foot of a page."""
        self.set_y(-MARGIN_MM)
        self.set_font("Sans", size=8)
        self.set_text_color(*SOFT)
        self.cell(0, 5, self._page_url, link=self._page_url)
        self.cell(0, 5, f"{self.page_no()} / {{nb}}", align="R")

    def title_line(self, text: str) -> None:
        """The sheet's title."""
        self.set_font("Sans", "B", 22)
        self.set_text_color(*INK)
        self.multi_cell(0, 10, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def heading(self, text: str) -> None:
        """A heading, in the outline too."""
        self.ln(5)
        self.set_font("Sans", "B", 13)
        self.set_text_color(*GREEN)
        self.start_section(text)
        self.multi_cell(0, 7, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def text_block(self, text: str, *, size: float = 10.5, soft: bool = False) -> None:
        """A paragraph."""
        self.set_font("Sans", size=size)
        self.set_text_color(*(SOFT if soft else INK))
        self.multi_cell(0, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.ln(1.2)

    def strong_block(self, text: str) -> None:
        """A paragraph not to be missed."""
        self.set_font("Sans", "B", 12)
        self.set_text_color(*INK)
        self.multi_cell(0, 6, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.ln(1.2)

    def fact(self, name: str, value: str) -> None:
        """A line of a name and what it is."""
        self.set_font("Sans", size=10.5)
        self.set_text_color(*SOFT)
        top = self.get_y()
        self.cell(46, 5.6, name)
        self.set_text_color(*INK)
        self.set_xy(self.l_margin + 46, top)
        self.multi_cell(0, 5.6, value, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")


def make_pdf(page: EvidencePage, pictures: Sequence[Picture], *, now: datetime) -> bytes:
    """The sheet, in the visitor's language."""
    sheet, claim = _Sheet(page.page_url), page.claim
    title = gettext("Evidence of an opt-out") if not claim.is_grant else gettext("Evidence of a grant")
    sheet.set_lang(language())
    sheet.set_title(f"{title}: {claim.id}")
    sheet.set_author(page.origin)
    sheet.set_creation_date(now)
    sheet.add_page()
    sheet.title_line(title)
    sheet.text_block(summary(page), size=12)
    if page.standing:
        sheet.strong_block(page.standing)
    _print_pictures(sheet, pictures)

    sheet.heading(gettext("What was said, and when"))
    sheet.fact(gettext("Number"), claim.id)
    sheet.fact(gettext("Received"), day_time(claim.received_at))
    sheet.fact(gettext("Grants") if claim.is_grant else gettext("Excludes"), claim.what)
    sheet.fact(gettext("State"), claim.state_words)
    sheet.fact(gettext("Made by"), f"{claim.acting_as_words}. {page.meaning}")
    for note in page.notes:
        sheet.text_block(note, soft=True)

    sheet.heading(gettext("Where it is proved"))
    sheet.fact(gettext("Public log"), page.origin)
    sheet.fact(gettext("Place in the log"), claim.positions)
    sheet.fact(gettext("Size of the log"), count(page.tree_size))
    sheet.fact(gettext("Root of the log"), page.root_hash)
    sheet.fact(gettext("Key of the log"), page.verification_key)
    sheet.fact(gettext("In the exclusion list"), page.in_lists)
    sheet.fact(gettext("SHA-256 of the receipt"), page.receipt_sha256)

    sheet.heading(gettext("How to check it"))
    for step in steps(page):
        sheet.text_block(step)
    sheet.heading(gettext("What it shows, and what it does not"))
    sheet.text_block(limits())

    sheet.heading(gettext("The signed checkpoint"))
    sheet.text_block(page.checkpoint, size=8)
    if page.fingerprints:
        sheet.heading(gettext("Fingerprints of the pictures (PDQ)"))
        sheet.text_block("\n".join(mark for mark, _ in page.fingerprints), size=8)
        n_more = page.n_fingerprints - len(page.fingerprints)
        if n_more:
            more = ngettext("and one more", "and %(shown)s more", n_more, shown=count(n_more))
            sheet.text_block(more, size=8, soft=True)
    sheet.ln(2)
    sheet.text_block(gettext("Made on %(at)s.", at=day_time(now)), size=8, soft=True)
    return bytes(sheet.output())


def summary(page: EvidencePage) -> str:
    """The whole in two sentences."""
    claim = page.claim
    if claim.is_grant:
        return gettext(
            "On %(at)s it was declared that the works below may be used to train AI models. The declaration is in a "
            "public log that nobody can change unnoticed.",
            at=day_time(claim.received_at),
        )
    return gettext(
        "On %(at)s it was declared that the works below must not be used to train AI models. The declaration is in a "
        "public log that nobody can change unnoticed.",
        at=day_time(claim.received_at),
    )


def steps(page: EvidencePage) -> list[str]:
    """How somebody who trusts nobody here checks it."""
    claim = page.claim
    return [
        gettext("1. Open %(url)s. The page checks the receipt, in your browser if you wish.", url=page.page_url),
        gettext("2. Or download the receipt there and run, on any computer with Python:"),
        f"pip install heldout\nheldout verify {claim.receipt_name} --log-key '{page.verification_key}'",
        gettext(
            "3. Compare the key of the log with one that you got elsewhere: a key that comes along with what it is to "
            "check proves little."
        ),
    ]


def limits() -> str:
    """What evidence it is."""
    return gettext(
        "It shows that this was declared, of which pictures and addresses, and since when at the latest. It does not "
        "show who owns the works: how far that was checked is said above, beside “Made by”. The fingerprints let "
        "anybody who has a picture see whether it is one of these; the picture cannot be made from them."
    )


def _print_pictures(sheet: _Sheet, pictures: Sequence[Picture]) -> None:
    if not pictures:
        return
    sheet.ln(2)
    x, y = sheet.l_margin, sheet.get_y()
    for picture in pictures:
        if x + SIDE_MM > sheet.w - sheet.r_margin:
            x, y = sheet.l_margin, y + SIDE_MM + 3
        alt = picture.alt or gettext("picture without a caption")
        sheet.image(
            io.BytesIO(picture.webp), x, y, SIDE_MM, SIDE_MM, keep_aspect_ratio=True, alt_text=alt[:200], title=alt[:80]
        )
        x += SIDE_MM + 3
    sheet.set_y(y + SIDE_MM + 2)
