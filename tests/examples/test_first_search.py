"""The example notebook runs as it stands, in a kernel of its own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import tempograd

NOTEBOOK = Path(tempograd.__file__).parent / "examples/first_search.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_it_does_the_three_things_in_fifteen_lines(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    *_, search, report = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = search.outputs[-1].data
    assert shown["text/plain"].startswith(("PASS", "FAIL"))
    assert "<table>" in shown["text/html"]
    assert (tmp_path / "report.html").is_file()
    assert "network.onnx" in report.outputs[-1].data["text/plain"]
