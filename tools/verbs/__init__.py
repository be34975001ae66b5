"""The verbs of `python -m tools`, one module each; the library in tools/raft does the work."""

from __future__ import annotations

import typer

from tools.verbs.answer import answer
from tools.verbs.bench import bench
from tools.verbs.calibrate import calibrate
from tools.verbs.compare import compare
from tools.verbs.connect import connect
from tools.verbs.demo import demo
from tools.verbs.finetune import finetune
from tools.verbs.generate import generate
from tools.verbs.index import index
from tools.verbs.judge_check import judge_check
from tools.verbs.publish import publish
from tools.verbs.run_app import run_app
from tools.verbs.serve import serve
from tools.verbs.squad import squad
from tools.verbs.teach import teach

app = typer.Typer(
    help="RAFT: documents in, a verified fine-tuning dataset out.\n\nStart with: python -m tools demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (
    generate, finetune, publish, index, calibrate, answer, compare, judge_check, serve, connect, demo, squad,
    teach,
):  # fmt: skip
    app.command()(verb)
app.add_typer(bench, name="bench")


def main() -> None:
    """Run the command line."""
    run_app(app)
