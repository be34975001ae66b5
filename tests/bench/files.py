"""Write the five benchmarks, as published but small, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ANIMALS = ("otter", "heron", "badger", "marten", "lynx", "stoat", "osprey", "newt", "vole", "shrew", "hare", "mole",
           "kite", "swift", "perch", "adder", "toad", "crane", "finch", "wren")  # fmt: skip
DECISIONS = ("yes", "no", "maybe")


def write_benchmarks(folder: Path, *, training: bool = False) -> Path:
    """Write the files of all columns, with or without those for training that can be left out."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pubmedqa(folder)
    write_json(folder / "hotpot_dev_distractor_v1.json", [hotpot_row("dev", n) for n in range(12)])
    for hub, published in (
        ("huggingface", "huggingface"),
        ("torchhub", "torchhub"),
        ("tensorflowhub", "tensorflow"),
    ):
        write_lines(folder / f"{hub}_api.jsonl", [api(hub, n) for n in range(16)])
        write_lines(folder / f"{published}_eval.json", [task(hub, n % 14, n) for n in range(20)])
        if training or hub == "torchhub":
            write_lines(
                folder / f"{published}_train.json", [training_task(hub, n % 16, n) for n in range(24)]
            )
    if training:
        write_json(folder / "hotpot_train_v1.1.json", [hotpot_row("train", n) for n in range(12)])
    return folder


def write_pubmedqa(folder: Path) -> None:
    """Write 24 questions with their abstracts, and the decisions of the last twelve."""
    rows = {
        str(1000 + n): {
            "QUESTION": f"Does the {ANIMALS[n % 20]} of site {n} sleep in winter?",
            "CONTEXTS": [
                f"The {ANIMALS[n % 20]} was watched at site {n}. Little was known of its winters there.",
                f"At site {n} the {ANIMALS[n % 20]} was asleep on {n + 40} of 90 winter days.",
            ],
            "LONG_ANSWER": f"The conclusion about site {n} gives it away.",
            "final_decision": DECISIONS[n % 3],
        }
        for n in range(24)
    }
    write_json(folder / "ori_pqal.json", rows)
    truth = {id: row["final_decision"] for id, row in list(rows.items())[12:]}
    write_json(folder / "test_ground_truth.json", truth)


def hotpot_row(part: str, number: int) -> dict[str, Any]:
    """Build a question whose answer needs two of its four paragraphs."""
    animal, other = ANIMALS[number], ANIMALS[(number + 7) % 20]
    home, town = f"Lake {part} {number}", f"Town {part} {number}"
    return {
        "_id": f"{part}{number}",
        "question": f"In which town's lake does the {animal} of {part} {number} live?",
        "answer": town,
        "type": "bridge",
        "level": "easy",
        "supporting_facts": [[f"The {animal} {part} {number}", 1], [home, 0]],
        "context": [
            [f"The {other} {part} {number}", [f"The {other} is another animal.", f" It is not in {part}."]],
            [
                f"The {animal} {part} {number}",
                [f"The {animal} is brown.", f" The {animal} of {part} {number} lives in {home}."],
            ],
            [home, [f"{home} belongs to {town}.", " It is deep."]],
            [f"Hill {part} {number}", [f"Hill {part} {number} is high.", " Nothing lives there."]],
        ],
    }


def api(hub: str, number: int) -> dict[str, Any]:
    """Build an entry of an API list; each hub's calls are of its own function."""
    name = f"{ANIMALS[number]}-net"
    call = {
        "torchhub": f"torch.hub.load(repo_or_dir='zoo/{name}', model='{name}', pretrained=True)",
        "tensorflowhub": f"hub.load('https://hub.example/zoo/{name}/1')",
        "huggingface": f"AutoModel.from_pretrained('zoo/{name}')",
    }[hub]
    return {
        "domain": "Images" if number % 4 else "Sound",
        "framework": hub,
        "functionality": f"Find every {ANIMALS[number]} in a picture",
        "api_name": name,
        "api_call": call,
        "api_arguments": {"pretrained": "True"},
        "python_environment_requirements": ["zoo"],
        "example_code": f"model = {call}",
        "performance": {"dataset": "Zoo", "accuracy": "93%"},
        "description": f"A model that finds every {ANIMALS[number]} in a picture of the zoo.",
    }


def task(hub: str, number: int, row: int) -> dict[str, Any]:
    """Build a row of an evaluation file."""
    entry = api(hub, number)
    code = (
        f"###Instruction: Task {row} of {hub}: count each {ANIMALS[number]} in my pictures.\n"
        f"###Output: <<<domain>>>: {entry['domain']}\n<<<api_call>>>: {entry['api_call']}"
    )
    return {"code": code, "api_call": entry["api_call"], "provider": hub, "api_data": entry}


def training_task(hub: str, number: int, row: int) -> dict[str, Any]:
    """Build a row of a training file, in the form of Torch Hub's: like Python, but not quoted."""
    entry = api(hub, number)
    code = (
        f"{{'Instruction': Practice {row}: is there a {ANIMALS[number]} here?, "
        f"'Output': {{'api_call': \"{entry['api_call']}\"}}}}"
    )
    return {"code": code, "api_call": entry["api_call"], "provider": hub, "api_data": entry}


def write_json(path: Path, value: object) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
