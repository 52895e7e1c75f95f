"""Hooks of the documentation site: puts generated tables and files of the repository's root into their pages.

MkDocs calls `on_page_markdown` for every page. A page says with a comment what belongs in it:

* `<!-- include: ARCHITECTURE.md -->` is replaced by that file of the repository's root, without its title.
* `<!-- generate: pipeline.configuration.reference -->` is replaced by what `as_markdown()` of that module returns,
  without its title.
* `<!-- generate-sections: pipeline.commands.reference -->` is the same from the first section on.

So each text has one source, and the reference of commands and keys cannot be out of date.
"""

import importlib
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DIRECTIVE = re.compile(r"^<!-- (include|generate|generate-sections): (\S+) -->$", re.MULTILINE)
PAGES_OF_ROOT_FILES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def on_page_markdown(markdown: str, **_) -> str:
    """Replaces the directives of one page by what they name."""
    return DIRECTIVE.sub(_replacement, markdown)


def _replacement(directive: re.Match[str]) -> str:
    """What a directive stands for."""
    kind, name = directive.groups()
    if kind == "include":
        return _included(name)
    text = _generated(name)
    return text[text.index("## ") :] if kind == "generate-sections" else text


def _included(name: str) -> str:
    """The text of a file of the repository's root, with links that are right on a page of the site."""
    _title, text = (REPOSITORY / name).read_text(encoding="utf-8").split("\n", 1)
    return re.sub(r"\]\(([^)#:]+)", lambda link: f"]({_page_of(link[1])}", text)


def _page_of(path: str) -> str:
    """The page of the site that shows a path of the repository."""
    return PAGES_OF_ROOT_FILES.get(path, path.removeprefix("docs/"))


def _generated(module: str) -> str:
    """The Markdown that a module makes from the program's own definitions, without its title."""
    if str(REPOSITORY) not in sys.path:
        sys.path.insert(0, str(REPOSITORY))
    text: str = importlib.import_module(module).as_markdown()
    return re.sub(r"\A# .*\n", "", text)
