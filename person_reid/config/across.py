"""The options of tools/across.py."""

from person_reid.config.demo import THRESHOLD
from person_reid.config.forms import output_path, picture_file
from person_reid.config.look import Look
from person_reid.config.option import option
from person_reid.config.search import PeriodOptions


class LinkOptions(PeriodOptions, title="linking"):
    """How tracks are linked, and what is known beforehand."""

    threshold: str | None = option(
        None,
        f"least mean cosine of one person's tracks: {THRESHOLD} (default: the "
        "network's threshold for as many people)",
    )
    travel: str | None = option(
        None, "least seconds between two cameras: columns from,to,seconds", metavar="CSV"
    )
    corrections: str | None = option(
        None, "list of images from people.html, or by hand: columns path,identity", metavar="CSV"
    )


class AcrossConfig(Look, LinkOptions, title="answers"):
    """All options of tools/across.py."""

    save: str = option("people", "folder to write", form=output_path)
    sheet: str | None = option(
        None, "picture of who was where and when", form=picture_file, metavar="FILE"
    )
    video: bool = option(
        False, "also write a copy of each video, annotated with boxes, identities and names"
    )
    truth: str | None = option(
        None,
        "print IDF1 and HOTA for the truth in its CAMERA/gt/gt.txt, with one number per person",
        metavar="FOLDER",
    )
    apply: bool = option(False, "also record the people in the index")

    def fault(self) -> str:
        """Return why the options conflict, or an empty string."""
        if self.truth and (self.after or self.before):
            return "truth needs all tracks: leave after and before out."
        return "" if self.sheet else self.ignored_without("sheet")
