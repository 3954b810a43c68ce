"""A figure as the last value of a notebook cell, in a real kernel."""

import nbformat
from nbclient import NotebookClient

CELL = """
import sys
import neural_plasticity as plasticity
figure = plasticity.visualize_entropy_heatmap([[1.0, 2.0], [0.5, 1.5]])
figure
"""
AFTER = "assert 'matplotlib.pyplot' not in sys.modules; print('no pyplot')"


def test_a_figure_shows_itself_once_as_the_last_value_of_a_cell_and_without_pyplot(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL), nbformat.v4.new_code_cell(AFTER)])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for output in notebook.cells[0].outputs if "image/png" in output.get("data", {})]
    assert len(shown) == 1
    assert notebook.cells[1].outputs[0].text == "no pyplot\n"
