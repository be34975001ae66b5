"""The verbs of `python -m tools`, one module each; the library in tools/raft does the work."""

from __future__ import annotations

import sys

import typer

from tools.raft.errors import UserError
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
    """Run the command line; a UserError, or a missing package, is one line and a non-zero exit status."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "tools"):
            raise
        print(f"error: this needs the package {package}: pip install -r requirements.txt", file=sys.stderr)
        sys.exit(UserError.status)
    except KeyboardInterrupt:
        print("interrupted: paid replies are kept; run the same command again to resume", file=sys.stderr)
        sys.exit(130)
