"""The styles and scripts of the web pages: the explorer's and the service's."""

from pathlib import Path

PAGES = Path(__file__).parent / "show" / "templates"


def page_sources(page: str) -> dict[str, Path]:
    """Return {name: file} for a page's styles and scripts, beginning with the shared files."""
    folders = (PAGES / "shared", PAGES / page)
    files = [file for folder in folders for file in sorted(folder.iterdir())]
    return {file.name: file for file in files if file.suffix in (".css", ".js")}
