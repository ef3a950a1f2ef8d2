"""`headrace topic`: what the log itself holds, looked at, checked, repaired and carried from and to files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..storage.findings import Checked, Finding

OK, DAMAGED = 0, 1
EXIT_CODES = "exit codes: 0 well, 1 damaged rows or files, 2 usage or the folder could not be opened, 130 interrupted"


class Action(NamedTuple):
    """One word after `headrace topic`: what it does, what it takes, and who does it."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def topic_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace topic ACTION FOLDER ...`."""
    parser = argparse.ArgumentParser(
        "headrace topic",
        description="Look into the topics of a folder, check and repair them, export and import rows.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        sub = actions.add_parser(
            name,
            help=action.help,
            description=f"{action.help[:1].upper()}{action.help[1:]}.",
            epilog=EXIT_CODES,
            allow_abbrev=False,
        )
        sub.add_argument("folder", metavar="FOLDER", type=Path, help="the database")
        action.add_arguments(sub)
        sub.set_defaults(run=action.run)
    return parser.parse_args(words)


def run_topic(arguments: argparse.Namespace) -> int:
    """Does what the word says; the exit code."""
    code: int = arguments.run(arguments)
    return code


# -- verify ---------------------------------------------------------------------------------------------------------


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """`verify FOLDER [TOPIC ...]`."""
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="only these topics")
    parser.add_argument("--format", choices=["csv", "jsonl"], help="the findings for programs; without, for people")


def run_verify(arguments: argparse.Namespace) -> int:
    """The findings, one after the other, and what was looked at."""
    from ..storage.verification import verify_folder

    checked = verify_folder(arguments.folder, arguments.topics)
    if arguments.format is not None:
        write_findings(checked.findings, arguments.format)
    else:
        for finding in checked.findings:
            print(described(finding))
        print(summary(checked))
        damaged = sorted({finding.topic for finding in checked.findings if finding.topic is not None})
        for topic in damaged:
            print(f"Hint: headrace topic repair {arguments.folder} {topic}")
    sys.stdout.flush()
    return DAMAGED if checked.findings else OK


def described(finding: Finding) -> str:
    """A finding in two lines: the rows and what is wrong, and the place on disk."""
    whose = "the folder" if finding.topic is None else finding.topic
    whose += "" if finding.partition is None else f", partition {finding.partition}"
    whose += "" if finding.start is None else f", offsets [{finding.start}, {finding.end})"
    place = finding.file if finding.position is None else f"{finding.file}, byte {finding.position:,}"
    return f"{whose}: {finding.what}\n  {place}"


def summary(checked: Checked) -> str:
    """How much was looked at, and what that came to."""
    counts = (("partition", checked.partitions), ("segment", checked.segments), ("row", checked.rows))
    seen = ", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for word, count in counts)
    if not checked.findings:
        return f"{seen}: no damage"
    rows = sum(finding.rows for finding in checked.findings)
    count = len(checked.findings)
    return f"{seen} intact; {count:,} finding{'' if count == 1 else 's'}, {rows:,} offsets affected"


def write_findings(findings: Sequence[Finding], format: str) -> None:
    """The findings as a table, one row each."""
    from dataclasses import asdict

    import pyarrow as pa

    from .formats import write_result

    names = {"topic": pa.string(), "partition": pa.int64(), "file": pa.string(), "position": pa.int64()}
    schema = pa.schema({**names, "start": pa.int64(), "end": pa.int64(), "what": pa.string()})
    table = pa.Table.from_pylist([asdict(finding) for finding in findings], schema)
    write_result(table.to_reader(), format, sys.stdout.buffer)


ACTIONS: Mapping[str, Action] = {
    "verify": Action("compare every checksum, and say which rows are damaged", verify_arguments, run_verify),
}
