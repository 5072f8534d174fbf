"""What documents hold: blocks of code, commands, links, and the paths of an annotated file tree."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import dataprophet
from dataprophet.cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(ROOT.glob("docs/**/*.md"))
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")), *DOCS]
DEMO_MODEL = str(Path(dataprophet.__file__).parent / "demo" / "model")
STAND_INS = {"OpenGVLab/InternVL3-2B-hf": "demo", "path/to/model": DEMO_MODEL}  # of models that are not here
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(text) if language.strip() in languages]


def lines(body: str) -> list[str]:
    """Lines of a shell block, those that end in a backslash joined with the next."""
    return [line for line in body.replace("\\\n", " ").splitlines() if line.strip()]


def commands(text: str) -> list[list[str]]:
    """The words of every `dataprophet` call in the shell blocks. In console blocks other lines are output."""
    shell = [line for body in blocks(text, "bash", "sh") for line in lines(body)]
    shell += [
        line.removeprefix("$ ") for body in blocks(text, "console") for line in lines(body) if line.startswith("$ ")
    ]
    found = []
    for line in shell:
        words = shlex.split(line, comments=True)
        if words[:1] == ["dataprophet"]:
            ends = [i for i, word in enumerate(words) if word in {"|", ">", "&&", ";"}]
            found.append(words[1 : ends[0] if ends else None])
    return found


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ", 1)[0]


def links(text: str) -> list[str]:
    """Paths that links and pictures name, without anchors; of the web none."""
    return re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", text)


def tree_paths(text: str) -> list[str]:
    """The paths that the annotated file tree names: the plain block in which csrc/ starts a line.

    Four columns of indentation a level, drawn with spaces or with lines; two spaces or a # end the names.
    """
    paths = []
    for body in blocks(text, "", "text"):
        if not re.search(r"^(?:[├└]── )?csrc/", body, re.MULTILINE):
            continue
        folders: list[str] = []
        for line in filter(str.strip, body.splitlines()):
            bare = re.sub(r"^[│├└─ ]*", "", line)
            names = re.split(r"\s{2,}|\s+#", bare)[0].split()
            folders = folders[: (len(line) - len(bare)) // 4]
            paths += ["/".join([*folders, name]) for name in names]
            folders.append(names[-1].rstrip("/"))
    return paths


def run(page: Path) -> str:
    """Run the Python and shell blocks of a page in order, in the folder that this process works in.

    `dataprophet` is called in this process, which has imported torch already, with the demo's model in the place of
    one that would have to be downloaded; all other lines go to bash.

    Returns:
        What Python and `dataprophet` printed.
    """
    namespace: dict[str, Any] = {"__name__": page.stem}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for number, (language, body) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), 1):
            if language == "python":
                exec(compile(body, f"{page.name}, block {number}", "exec"), namespace)
            for line in lines(body) if language == "bash" else []:
                words = [STAND_INS.get(word, word) for word in shlex.split(line, comments=True)]
                if words[0] == "dataprophet":
                    assert main(words[1:]) == 0, f"{page.name}: {line}"
                else:
                    subprocess.run(["bash", "-ec", line], check=True)
    return said.getvalue()
