"""A preprocessor of mdBook: what leads out of docs/ becomes text.

On the site of a repository a link to a chart or an example leads there. The book has nothing there, and no address of the repository is
written down that would hold for every copy of it. So the book shows the file's path in the repository in the place of the link.
"""

import json
import posixpath
import re
import sys

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def in_book(link, folder):
    """What the book shows in the place of a link, from a page in this folder."""
    text, target = link.groups()
    path = posixpath.normpath(posixpath.join(folder, target.split("#")[0]))
    if ":" in target or not path.startswith("../"):
        return link.group()
    path = path.removeprefix("../")
    named = text.strip("`")
    return f"`{path}`" if path == named or path.endswith("/" + named) else f"{text} (`{path}`)"


def page(text, folder):
    """A page without links out of the book. Code stays as it is."""
    lines, is_code = [], False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        lines.append(line if is_code else LINK.sub(lambda link: in_book(link, folder), line))
    return "\n".join(lines)


def all_pages(items):
    for item in items:
        if chapter := isinstance(item, dict) and item.get("Chapter"):
            if chapter["path"]:
                chapter["content"] = page(chapter["content"], posixpath.dirname(chapter["path"]))
            all_pages(chapter["sub_items"])


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    all_pages(book["items"])
    json.dump(book, sys.stdout)


main()
