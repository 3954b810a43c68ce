"""A folder of figures with a page that shows them: what to look at in each, and the command that made it."""

import base64
import hashlib
import html
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from neural_plasticity.errors import RecordError, SettingNotUsable
from neural_plasticity.figures.animation import SUFFIXES, animate, require_writer
from neural_plasticity.figures.catalogue import CATALOGUE, Picture, figure
from neural_plasticity.figures.chronicle import Chronicle, chronicles_of
from neural_plasticity.figures.theme import Theme, theme_of
from neural_plasticity.record.folder import write_whole

PAGE = "index.html"
FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Wish:
    """What is wanted of the figures: which, in which form, how they look."""

    only: tuple[str, ...] = ()
    theme: str = "light"
    form: str = "png"
    moving: str = ""  # gif or mp4, where they shall move too
    cycle: int | None = None
    head: tuple[int, int] | None = None
    source: tuple[str, ...] = ()  # how the command names the runs

    def command(self, name: str, *, moving: bool = False) -> str:
        """The command that makes one figure."""
        words = ["plasticity", "figures", *self.source, "--only", name]
        words += ["--theme", self.theme] if self.theme != "light" else []
        words += ["--format", self.form] if self.form != "png" else []
        words += ["--cycle", str(self.cycle)] if self.cycle is not None and CATALOGUE[name].takes("cycle") else []
        words += ["--head", "{}.{}".format(*self.head)] if self.head and CATALOGUE[name].takes("head") else []
        words += ["--animate"] if moving else []
        words += ["--movie", "mp4"] if moving and self.moving == "mp4" else []
        return shlex.join(words)


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its files, relative to it."""

    run: str
    picture: Picture
    image: str
    file: str
    moving: str


@dataclass(frozen=True)
class LeftOut:
    """A figure that a run has not what it takes for."""

    run: str
    name: str
    reason: str


def write_figures(runs: Any, folder: str | Path, wish: Wish = Wish()) -> Path:
    """All figures that these runs have what it takes for, or those wished for, with a page in the folder; returns the page.

    Where a figure is wished for by name and cannot be drawn, that is an error; else the page says why it is not there.
    """
    told, target = chronicles_of(runs), Path(folder)
    _require(wish)
    names = _own_names(told)
    shown: list[Shown] = []
    left: list[LeftOut] = []
    for picture in [CATALOGUE[name] for name in wish.only or CATALOGUE]:
        for group, run in [(told, "")] if picture.several else [([each], name) for each, name in zip(told, names, strict=True)]:
            try:
                shown.append(_draw(picture, group, target, wish, inside=run if len(told) > 1 else ""))
            except (SettingNotUsable, RecordError) as refusal:
                if wish.only and (len(told) == 1 or picture.several):
                    raise
                left.append(LeftOut(run or ", ".join(names), picture.name, str(refusal)))
    if not shown:
        raise SettingNotUsable(f"No figure could be drawn of {len(told)} runs; {left[0].reason}")
    target.mkdir(parents=True, exist_ok=True)
    write_whole(target / PAGE, page_of(told, shown, left, wish).encode())
    return target / PAGE


def _own_names(told: Sequence[Chronicle]) -> list[str]:
    """A name for each run that no other has, also where file systems do not tell large letters from small ones."""
    found: list[str] = []
    taken = {PAGE, *(f"{name}.{suffix}" for name in CATALOGUE for suffix in (*FORMATS, *SUFFIXES))}
    for name in (each.run.name or "run" for each in told):
        ways = chain([name], (f"{name}-{number}" for number in count(2)))
        found.append(next(way for way in ways if way.casefold() not in taken))
        taken.add(found[-1].casefold())
    return found


def _require(wish: Wish) -> None:
    for name in wish.only:
        if name not in CATALOGUE:
            raise SettingNotUsable(f"There is no figure {name!r:.60}; choose from {', '.join(CATALOGUE)}.")
    if wish.form not in FORMATS:
        raise SettingNotUsable(f"There is no format {wish.form!r:.40}; choose one of {', '.join(FORMATS)}.")
    theme_of(wish.theme)
    if wish.moving:
        require_writer(wish.moving)


def _draw(picture: Picture, told: list[Chronicle], target: Path, wish: Wish, *, inside: str) -> Shown:
    """Draw one figure into the folder; those of one run among several lie `inside` a folder of their own."""
    options: dict[str, Any] = {"theme": wish.theme}
    options |= {name: value for name, value in (("cycle", wish.cycle), ("head", wish.head)) if picture.takes(name)}
    base = f"{inside}/{picture.name}" if inside else picture.name
    drawn = figure(told if picture.several else told[0], picture.name, **options)
    file = f"{base}.{wish.form}"
    drawn.save(target / file)
    image = file
    if wish.form == "pdf":  # a page cannot show it
        image = f"{base}.png"
        drawn.save(target / image)
    moving = ""
    if wish.moving and picture.frames is not None:
        moving = f"{base}.{wish.moving}"
        animate(told[0], picture.name, target / moving, **{key: value for key, value in options.items() if key != "cycle"})
    return Shown(inside, picture, image, file, moving)


def page_of(told: Sequence[Chronicle], shown: Sequence[Shown], left: Sequence[LeftOut], wish: Wish) -> str:
    """The page as text; nothing in it runs, and nothing is fetched but the pictures beside it."""
    style = _style(theme_of(wish.theme))
    title = told[0].run.name if len(told) == 1 else f"{len(told)} runs"
    policy = f"default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src 'sha256-{_hash(style)}'"
    rows = "\n".join(_row(each, wish) for each in shown)
    missing = "\n".join(f"<li>{_safe(each.name)} of {_safe(each.run)}: {_safe(each.reason)}</li>" for each in left)
    ending = f"<h2>Not drawn</h2>\n<ul>\n{missing}\n</ul>" if left else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>Figures of {_safe(title)}</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n<h1>Figures of {_safe(title)}</h1>\n<p>{_safe(_about(told))}</p>\n"
        f"{rows}\n{ending}\n</body>\n</html>\n"
    )


def _row(each: Shown, wish: Wish) -> str:
    """One figure with its words."""
    name, caption = each.picture.name, each.picture.caption
    of = f" of {each.run}" if each.run else ""
    parts = [
        f'<figure id="{_safe(f"{each.run}-{name}" if each.run else name)}">',
        f"<h2>{_safe(name.replace('_', ' '))}{_safe(of)}</h2>",
        f'<a href="{_link(each.file)}"><img src="{_link(each.image)}" alt="{_safe(name + of)}"></a>',
        _moving(each.moving),
        f"<figcaption>{_safe(caption)}</figcaption>",
        f"<pre>{_safe(wish.command(name, moving=bool(each.moving)))}</pre>",
        "</figure>",
    ]
    return "\n".join(part for part in parts if part)


def _moving(path: str) -> str:
    if path.endswith(".mp4"):
        return f'<video src="{_link(path)}" controls loop muted></video>'
    return f'<img src="{_link(path)}" alt="the same from cycle to cycle">' if path else ""


def _about(told: Sequence[Chronicle]) -> str:
    """One line about the runs."""
    if len(told) > 1:
        return ", ".join(each.run.name for each in told)
    settings = told[0].settings
    known = [f"{name} {settings[name]}" for name in ("model", "text", "strategy", "level", "cycles", "seed") if name in settings]
    return ", ".join(known)


def _safe(text: str) -> str:
    """Text of others as text: no tags, no control characters."""
    return html.escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _link(path: str) -> str:
    """A relative path as a link: nothing in it can be read as a scheme or a query."""
    from urllib.parse import quote

    return html.escape("./" + quote(path))


def _style(theme: Theme) -> str:
    return (
        f"body{{background:{theme.background};color:{theme.ink};font:16px/1.5 system-ui,sans-serif;max-width:76rem;"
        f"margin:2rem auto;padding:0 1rem}}h1,h2{{font-weight:600}}h2{{font-size:1.1rem;margin:0 0 .5rem}}figure{{margin:2.5rem 0}}"
        f"img,video{{max-width:100%;height:auto;display:block}}figcaption{{max-width:46rem;margin:.6rem 0}}"
        f"pre{{color:{theme.muted};white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0}}a:focus{{outline:2px solid}}"
    )


def _hash(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
