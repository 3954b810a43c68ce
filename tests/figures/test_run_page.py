"""The folder of figures and its page: everything is there, nothing runs, and nothing that a run says is markup."""

import base64
import hashlib
import html
import re
import shlex

import pytest
from typer.testing import CliRunner

from neural_plasticity.cli.figures import app
from neural_plasticity.errors import NotARun, SettingNotUsable
from neural_plasticity.figures.catalogue import CATALOGUE
from neural_plasticity.figures.page import Wish, write_figures
from tests.figures import runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.recorded(tmp_path_factory.mktemp("runs") / "told")


def sources(page):
    return re.findall(r'(?:src|href)="([^"]*)"', page.read_text())


def call(*arguments, code=0):
    shown = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert shown.exit_code == code
    return shown.stdout


def test_the_page_shows_all_that_could_be_drawn_and_says_why_the_rest_is_not_there(run, tmp_path):
    page = write_figures(run, tmp_path / "out")
    text = page.read_text()
    names = [name for name in CATALOGUE if name != "strategies"]
    assert [name for name in CATALOGUE if (tmp_path / "out" / f"{name}.png").exists()] == names
    for name in names:
        assert html.escape(CATALOGUE[name].caption) in text
    assert "strategies of told: The figure strategies is of 2 runs or more" in text
    for source in sources(page):
        assert (page.parent / source).is_file()


def test_a_figure_wished_for_by_name_that_cannot_be_drawn_is_an_error(run, tmp_path):
    with pytest.raises(SettingNotUsable, match="strategies"):
        write_figures(run, tmp_path, Wish(only=("entropy", "strategies")))
    assert not (tmp_path / "index.html").exists()
    for wish in (Wish(only=("beauty",)), Wish(form="bmp"), Wish(theme="neon"), Wish(moving="avi")):
        with pytest.raises(SettingNotUsable):
            write_figures(run, tmp_path, wish)


def test_nothing_in_the_page_runs_and_its_style_is_the_only_one_allowed(run, tmp_path):
    text = write_figures(run, tmp_path, Wish(only=("entropy",))).read_text()
    assert "<script" not in text
    assert not re.search(r"\son\w+=", text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert html.unescape(policy).startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in html.unescape(policy)


HOSTILE = '<img src=x onerror="alert(1)">&</title>\x1b[2J\u202e'


def test_what_a_run_says_is_text(tmp_path):
    run = runs.recorded(tmp_path / "a<b>&'\"x", model=HOSTILE, strategy=HOSTILE)
    for folder, made in (
        (tmp_path / "one", write_figures(run, tmp_path / "one", Wish(only=("maps", "pruning_decisions")))),
        (tmp_path / "two", write_figures([run, run], tmp_path / "two", Wish(only=("life", "summary"), source=(HOSTILE,)))),
    ):
        text = made.read_text()
        assert "<img src=x" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "<b>" not in text
        tags = set(re.findall(r"<(/?\w+)", text))
        assert tags <= {
            *(
                "html",
                "head",
                "meta",
                "title",
                "style",
                "body",
                "h1",
                "h2",
                "p",
                "figure",
                "a",
                "img",
                "figcaption",
                "pre",
                "ul",
                "li",
            ),
            *(
                "/html",
                "/head",
                "/title",
                "/style",
                "/body",
                "/h1",
                "/h2",
                "/p",
                "/figure",
                "/a",
                "/figcaption",
                "/pre",
                "/ul",
                "/li",
            ),
        }
        assert all(source.startswith("./") for source in sources(made))
        assert any(folder.rglob("*.png"))


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_files_are_of_the_format_and_a_pdf_has_a_picture_beside_it(run, tmp_path, form):
    page = write_figures(run, tmp_path, Wish(only=("entropy",), form=form))
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert (tmp_path / f"entropy.{form}").read_bytes().startswith(starts[form])
    assert sources(page) == [f"./entropy.{form}", "./entropy.png" if form == "pdf" else f"./entropy.{form}"]


def test_the_command_on_the_page_makes_the_same_figure_again(run, tmp_path):
    wish = ["--only", "entropy", "--theme", "dark", "--format", "svg", "--cycle", "1"]
    call(run.folder, *wish, "--out", tmp_path / "first", "--no-show")
    (command,) = re.findall("<pre>(.*?)</pre>", (tmp_path / "first" / "index.html").read_text())
    words = shlex.split(html.unescape(command))
    assert words[:2] == ["plasticity", "figures"]
    call(*words[2:], "--out", tmp_path / "again", "--no-show")
    made = [re.sub(rb'id="\w+"|#\w+|"\w{11}"', b"", (tmp_path / each / "entropy.svg").read_bytes()) for each in ("first", "again")]
    assert len(made[0]) == len(made[1])


def test_several_runs_are_compared_first_and_each_has_its_own_folder(tmp_path):
    for name in ("a", "b"):
        runs.recorded(tmp_path / "runs" / name)
    said = call(tmp_path / "runs", "--only", "strategies,life", "--out", tmp_path / "out", "--no-show")
    assert "index.html" in said
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")) == [
        "a/life.png",
        "b/life.png",
        "strategies.png",
    ]


def test_runs_of_one_name_have_files_of_their_own(tmp_path):
    several = [
        runs.recorded(tmp_path / place / name) for place, name in (("a", "told"), ("b", "told"), ("c", "TOLD"), ("d", "told-2"))
    ]
    page = write_figures(several, tmp_path / "out", Wish(only=("life",)))
    shown = [source for source in sources(page) if source.endswith("life.png")]
    assert len(set(shown)) == len(several)
    assert len({source.casefold() for source in shown}) == len(several)
    for source in shown:
        assert (page.parent / source).is_file()
    assert len(set(re.findall('figure id="([^"]*)"', page.read_text()))) == len(several)


def test_figures_of_one_run_lie_in_it_and_move_where_that_is_wished(tmp_path):
    run = runs.recorded(tmp_path / "told")
    call(run.folder, "--only", "maps,attention", "--head", "1.2", "--animate", "--no-show")
    made = sorted(path.name for path in (run.folder / "figures").iterdir())
    assert made == ["attention.gif", "attention.png", "index.html", "maps.gif", "maps.png"]
    assert "--animate" in (run.folder / "figures" / "index.html").read_text()


def test_the_list_names_every_figure_with_its_caption():
    said = call("--list")
    assert [line.split()[0] for line in said.splitlines()] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("arguments", "fault", "said"),
    [
        (["x.pkl"], NotARun, "pickles run code; run again or resume to get a run folder"),
        (["x.pickle"], NotARun, "pickles run code"),
        (["nowhere"], NotARun, "nowhere"),
        (["nowhere.zip"], NotARun, r"nowhere\.zip"),
        ([], SettingNotUsable, "No run is named"),
        (["x", "--head", "third"], SettingNotUsable, r"LAYER\.HEAD"),
        (["x", "--movie", "avi"], SettingNotUsable, "gif or mp4"),
    ],
)
def test_what_is_no_run_is_refused_in_one_sentence(arguments, fault, said):
    with pytest.raises(fault, match=said):
        call(*arguments, "--no-show")


def test_the_run_that_comes_with_the_package_can_be_drawn(tmp_path):
    call("--example", "--only", "growth", "--out", tmp_path, "--no-show")
    assert (tmp_path / "growth.png").exists()
    assert "plasticity figures --example --only growth" in (tmp_path / "index.html").read_text()
