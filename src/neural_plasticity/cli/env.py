"""`plasticity env`: what this machine offers, as a table or as JSON."""

import json
from typing import Any

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Section = list[tuple[str, str]]


@app.command()
def env(as_json: bool = typer.Option(False, "--json", help="Print JSON and nothing else.")) -> None:
    """Show what this machine offers: device, memory, versions, optional parts.

    \b
    Examples:
      plasticity env
      plasticity env --json > environment.json
    """
    from neural_plasticity.environment.survey import get_environment_info

    found = get_environment_info()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show([_computing(found), _host(found), list(found["versions"].items()), _extras(found["extras"])])


def _computing(found: dict[str, Any]) -> Section:
    gpus = [f"{name}, {_gib(size)}" for name, size in zip(found["gpu_names"], found["gpu_memory_bytes"], strict=True)]
    return [
        ("device", found["device"]),
        *[("gpu", gpu) for gpu in gpus or ["none"]],
        ("dtype", found["dtype"]),
        ("matrix product", found["matmul_path"]),
        ("cores", str(found["cores"])),
        ("threads", str(found["threads"])),
        ("memory", f"{_gib(found['memory_total_bytes'])}, {_gib(found['memory_available_bytes'])} available"),
    ]


def _host(found: dict[str, Any]) -> Section:
    return [
        ("platform", found["platform"]),
        ("python", found["python_version"]),
        ("Apple Silicon", _yes(found["is_apple_silicon"])),
        ("Colab", _yes(found["is_colab"])),
        ("notebook", _yes(found["is_notebook"])),
        ("browser", _yes(found["browser"])),
    ]


def _extras(extras: dict[str, bool]) -> Section:
    absent = 'not installed; pip install "neural-plasticity[{}]"'
    return [(name, "installed" if there else absent.format(name)) for name, there in extras.items()]


def _yes(statement: bool) -> str:
    return "yes" if statement else "no"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _show(sections: list[Section]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        width = max(len(label) for section in sections for label, _ in section)
        typer.echo("\n\n".join("\n".join(f"{label:<{width}}  {value}" for label, value in section) for section in sections))
        return
    table = Table(show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for section in sections:
        for label, value in section:
            table.add_row(Text(label), Text(value))  # as text, so that brackets in a value are not read as markup
        table.add_section()
    console.print(table)
