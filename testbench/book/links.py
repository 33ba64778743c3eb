"""Fails if a link in a built book leads nowhere: to no file of it, or to no heading of a page. Links to other sites are not looked at.

    links.py FOLDER
"""

import posixpath
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """The places that a page has, and the links that it makes."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.links = {""}, []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def main(book):
    # Neither is read where it lies: one is shown inside of all others, one for addresses of which there is no page.
    files = [file for file in book.rglob("*.html") if file.relative_to(book).as_posix() not in ("toc.html", "404.html")]
    pages = {file.relative_to(book).as_posix(): Page(file) for file in files}
    broken = set()
    for name, page in pages.items():
        for link in page.links:
            target, place = urldefrag(link)
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(target))) if target else name
            if path.startswith("../") or not (book / path).is_file():
                broken.add(f"{name}: no such page or file: {link}")
            elif path in pages and unquote(place) not in pages[path].ids:
                broken.add(f"{name}: no such heading: {link}")
    for line in sorted(broken):
        print(line, file=sys.stderr)
    return 1 if broken or not pages else 0


sys.exit(main(Path(sys.argv[1])))
