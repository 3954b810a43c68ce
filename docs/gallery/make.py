"""Draw the gallery anew: python docs/gallery/make.py [--runs FOLDER]

Most figures are of the recorded run that comes with the package. Those that compare several, and the ablation map, are of runs
of the embedded model that are recorded now, which takes some minutes; with --runs they are kept there, or taken from there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from neural_plasticity.dashboard.example import EXAMPLE
from neural_plasticity.figures.animation import animate, indexed
from neural_plasticity.figures.catalogue import CATALOGUE, figure

HERE = Path(__file__).parent
COMPARED = "plasticity run tiny --quick --level 0.5 --seed {seed} --compare-strategies taylor,entropy,random --out runs/compared"
ABLATED = "plasticity analyze tiny --signals entropy,taylor,gradient,ablation --tokens 4096 --out runs/ablated"
SEEDS = (0, 1, 2)
MOST_BYTES, WIDEST = 100_000, 9.0  # inches
NARROW = {"attention_change": 8.0}  # whose colours are too many for a palette
SEVERAL = {"strategies": "compared", "quality_speed": "compared", "ablation": "ablated"}

OPENING = """# The gallery

Every figure of a run, by the name that `plasticity.figure(run, name)` and `plasticity figures RUN --only NAME` know it by. \
The run is real and comes with the package: the embedded model loses half of its heads and exchanges some of them in four \
further cycles. `plasticity figures --example` draws it; `python docs/gallery/make.py` draws this page.

```python
import neural_plasticity as plasticity

figure = plasticity.figure("runs/2026-11-20_143005_tiny", "life", theme="dark")
figure.save("life.svg")
plasticity.animate("runs/2026-11-20_143005_tiny", "maps", "maps.gif")
```

The functions for plain numbers that these stand on are described under [figures](figures.md).
"""


def record(folder: Path) -> None:
    """The runs that are compared, where they are not there yet."""
    commands = [(COMPARED.format(seed=seed), "compared", 3 * (turn + 1)) for turn, seed in enumerate(SEEDS)]
    for command, name, enough in [*commands, (ABLATED, "ablated", 1)]:
        if len(list(folder.glob(f"runs/{name}/*/run.json"))) < enough:
            words = [sys.executable, "-m", "neural_plasticity", *command.split()[1:]]
            subprocess.run(words, cwd=folder, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=Path)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = (chosen.runs or Path(place)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        record(folder)
        parts = [OPENING]
        for name, picture in CATALOGUE.items():
            source = folder / "runs" / SEVERAL[name] if name in SEVERAL else EXAMPLE
            run = source if name not in SEVERAL or picture.several else next(source.glob("*"))
            wide, high = figure(run, name).get_size_inches()
            fits = figure(
                run, name, figsize=(min(wide, NARROW.get(name, WIDEST)), high)
            )  # drawn narrower, since scaled letters are blurred
            write(fits.drawn("png"), HERE / f"{name}.png")
            parts.append(f"## {name}\n\n![{name}](gallery/{name}.png)\n\n{picture.caption}\n\n```bash\n{commands(name)}\n```\n")
    moving = animate(EXAMPLE, "maps", HERE / "maps.gif", figsize=(4.6, 3.2), annotate=False)
    parts.append(
        f"## Moving\n\n![maps from cycle to cycle](gallery/{moving.name})\n\nThose that show cycles move over them: "
        f"{', '.join(name for name, picture in CATALOGUE.items() if picture.frames)}.\n\n"
        "```bash\nplasticity figures --example --only maps --animate\n```\n"
    )
    (HERE.parent / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def commands(name: str) -> str:
    """What one types to get the figure."""
    if name not in SEVERAL:
        return f"plasticity figures --example --only {name}"
    made = [ABLATED] if SEVERAL[name] == "ablated" else [COMPARED.format(seed=seed) for seed in SEEDS]
    return "\n".join([*made, f"plasticity figures runs/{SEVERAL[name]} --only {name}"])


def write(content: bytes, target: Path) -> None:
    """A picture small enough for a repository: in 256 colours where all are too many."""
    target.write_bytes(content)
    with Image.open(target) as opened:
        picture = opened.convert("RGB")
    picture.save(target, optimize=True)
    if target.stat().st_size <= MOST_BYTES:
        return
    (few,) = indexed(np.asarray(picture)[None])
    few.save(target, optimize=True)
    if target.stat().st_size > MOST_BYTES:
        sys.exit(f"{target} takes {target.stat().st_size:,} bytes; draw it smaller.")


if __name__ == "__main__":
    main()
