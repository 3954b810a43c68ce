"""A run that was packed into a zip, drawn."""

from zipfile import ZipFile

from typer.testing import CliRunner

from neural_plasticity.cli.figures import app
from tests.figures import runs


def test_the_figures_of_a_packed_run_lie_beside_it(tmp_path):
    run = runs.recorded(tmp_path / "told")
    with ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in run.folder.rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    shown = CliRunner().invoke(app, [str(tmp_path / "sent.zip"), "--only", "life", "--no-show"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert (tmp_path / "sent-figures" / "life.png").exists()
