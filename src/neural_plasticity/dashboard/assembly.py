"""The page from its files: as the server sends it, and bound into one file that needs nothing else."""

import base64
import gzip
import html
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from neural_plasticity.dashboard import policy

PAGE = Path(__file__).parent / "page"

_FEED = re.compile(r'(<script type="application/json" id="feed">).*?(</script>)', re.S)
_STYLE = re.compile(r'[ \t]*<link rel="stylesheet" href="(?:\.?/?page/|\./)?([^"/]+)"\s*/?>\n?')
_MODULE = re.compile(r'[ \t]*<script type="module" src="(?:\.?/?page/|\./)?([^"/]+)">\s*</script>\n?')
_HEAD = re.compile(r"<head>\s*(?:<meta charset=[^>]*>)?", re.I)
_IMPORT = re.compile(r'^import\s*(?:\{[^}]*\}\s*from\s*)?"\./([^"/]+)";?[ \t]*\n?', re.M)
_EXPORTED = re.compile(r"^export\s+(?=(?:async\s+)?(?:function|class|const|let)\b)", re.M)
_FACTORY = re.compile(r"(this, )(\(\) => \{\n.*\n\})(\)\);\s*)\Z", re.S)
_LISTED = re.compile(r"^export\s*\{[^}]*\};?[ \t]*\n?", re.M)


def script_json(content: Any) -> str:
    """JSON that can stand inside a script element, whatever text is in it."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def live_page(names: list[str], page: Path = PAGE) -> str:
    """The page as the server sends it, with the names of the runs that there are."""
    return _fed(_text(page / "index.html"), {"mode": "live", "runs": names})


def bound(feed: Mapping[str, Any], page: Path = PAGE) -> str:
    """The page as one file, with everything that it shows inside."""
    before, after = _frame(page)
    return f"{before}{script_json(feed)}{after}"


@cache
def plotly_source() -> str:
    """The drawing library, from the package that is installed."""
    from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs]

    # Its street maps bring an inline style unless one is there: no policy of ours allows it, and no chart needs it.
    source = re.sub(r'document\.getElementById\("[0-9a-f]{64}"\)', "true", get_plotlyjs())
    # In parentheses its one great function is compiled as it is read, beside the page, and not when the page calls it.
    return _FACTORY.sub(lambda found: f"{found[1]}({found[2]}){found[3]}", source, count=1)


@cache
def plotly_gzipped() -> bytes:
    """The drawing library as it travels."""
    return gzip.compress(plotly_source().encode(), mtime=0)


def one_script(page: Path, entry: str) -> str:
    """All modules that one leads to, in the order of their imports, as a single script."""
    order: list[str] = []
    _visit(page, entry, order)
    return "\n".join(_unbound(_text(page / name)) for name in order)


def _visit(page: Path, name: str, order: list[str], underway: tuple[str, ...] = ()) -> None:
    if name in underway:
        raise ValueError(f"The modules of the page import each other in a circle: {' -> '.join([*underway, name])}.")
    if name in order:
        return
    for needed in _IMPORT.findall(_text(page / name)):
        _visit(page, needed, order, (*underway, name))
    order.append(name)


def _unbound(source: str) -> str:
    return _EXPORTED.sub("", _LISTED.sub("", _IMPORT.sub("", source)))


@cache
def _frame(page: Path) -> tuple[str, str]:
    """What stands before and after the feed in the bound page; the same for all reports of a process."""
    index = _text(page / "index.html")
    style = "\n".join(_text(page / name) for name in _STYLE.findall(index))
    script = "\n".join(one_script(page, name) for name in _MODULE.findall(index))
    for source in (style, script):
        if re.search(r"</(?:script|style)|<!--", source, re.I):
            raise ValueError("A file of the page holds '</script', '</style' or '<!--', which would end it when it is bound.")
    allowed = policy.offline([script, plotly_source()], [style])
    meta = f'\n<meta http-equiv="Content-Security-Policy" content="{html.escape(allowed)}">'
    index = _MODULE.sub("", _STYLE.sub("", index))
    index = _HEAD.sub(lambda found: found[0] + meta, index, count=1)
    index = index.replace("</head>", f"<style>{style}</style>\n</head>", 1)
    packed = base64.b64encode(plotly_gzipped()).decode("ascii")
    body, end = index.rsplit("</body>", 1)
    proof = policy.digest(plotly_source()).strip("'")
    plotly = f'<script type="application/octet-stream" id="plotly" data-proof="{proof}">{packed}</script>'
    index = f'{body}{plotly}\n<script type="module">{script}</script>\n</body>{end}'
    found = _FEED.search(index)
    if found is None:
        raise ValueError("The page has no place for its feed.")
    return index[: found.end(1)], index[found.start(2) :]


def _fed(index: str, feed: Mapping[str, Any]) -> str:
    return _FEED.sub(lambda found: found[1] + script_json(feed) + found[2], index, count=1)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
