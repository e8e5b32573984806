"""`python -m infra.grafana.build` writes the dashboards' JSON; with --check it only says whether that is up to date."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from infra.grafana.learning import learning
from infra.grafana.loop import loop
from infra.grafana.personalisation import personalisation
from infra.grafana.serving import serving

FOLDER: Final = Path(__file__).parent / "dashboards"
DASHBOARDS: Final = {
    "loop": loop,
    "serving": serving,
    "learning": learning,
    "personalisation": personalisation,
}


def rendered() -> dict[Path, str]:
    """What each file should hold."""
    return {FOLDER / f"{name}.json": as_json(build()) for name, build in DASHBOARDS.items()}


def as_json(dashboard: Dashboard) -> str:
    """A dashboard as Grafana reads it, with a number for each panel, by which its address names it."""
    document = json.loads(json.dumps(dashboard.build(), cls=JSONEncoder))
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def stale() -> list[Path]:
    """The files that are not what the code says, those too that it says nothing of."""
    wanted = rendered()
    differing = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    return differing + sorted(set(FOLDER.glob("*.json")) - wanted.keys())


def main() -> None:
    """Write or check the files."""
    parser = argparse.ArgumentParser("python -m infra.grafana.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    if parser.parse_args().check:
        sys.exit("\n".join(f"{path} is not what the code says: run `{parser.prog}`" for path in stale()) or None)
    texts = rendered()
    for path in stale():
        if path in texts:
            path.write_text(texts[path])
        else:
            path.unlink()
        print(path)


if __name__ == "__main__":
    main()
