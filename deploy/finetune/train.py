"""Train an open model with TRL, in as many processes as were started: the command of job.yaml.

    python deploy/finetune/train.py --dataset DIR --model NAME --out DIR --merged DIR
    torchrun --nproc-per-node 2 deploy/finetune/train.py --dataset DIR --model NAME --out DIR

Run again with the same --out, it continues from the last checkpoint there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository, which is uploaded whole

from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.trl.cluster import train_in_job


def main() -> None:
    """Train; a mistake is one line and exit status 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="folder written by generate --format chat")
    add("--model", required=True, help="its name on the Hugging Face Hub, or its folder")
    add("--out", type=Path, required=True, help="folder of all machines for checkpoints and adapter")
    add("--merged", type=Path, help="folder for the model with the adapter merged into it")
    add("--format", dest="api", choices=["chat", "completion", "dsf"], default="chat", help="of the rows")
    add("--epochs", type=float, default=3, help="passes over the rows (3)")
    add("--patience", type=int, help="validations without a lower loss before it stops")
    add("--learning-rate", type=float, help="of AdamW (2e-4)")
    add("--batch-size", type=int, help="rows per step of all processes together (4, or one each)")
    add("--rank", type=int, help="of the adapter (16)")
    add("--quantize", choices=["none", "4bit", "8bit"], default="none", help="the base model")
    add("--seed", type=int, default=42)
    add("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a setting of TRL")
    add("--skip-long", action="store_true", help="leave out rows longer than the model takes")
    options = vars(parser.parse_args())
    out, merged, skip_long = (options.pop(name) for name in ("out", "merged", "skip_long"))
    spec = FineTuneSpec(**{**options, "overrides": tuple(options["overrides"])})
    try:
        made = train_in_job(spec, out, merged=merged, skip_long=skip_long)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    if made:
        print(made)


if __name__ == "__main__":
    main()
