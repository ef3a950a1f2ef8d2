"""`headrace topic`: what the log itself holds, looked at, checked, repaired and carried from and to files."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ..storage.findings import Checked, Finding
from ..storage.repair import carry_out, owned, plan_repair
from ..storage.verification import verify_folder
from .formats import write_result
from .topic_files import run_export, run_import
from .topic_reading import run_cat, run_describe, run_ls, run_tail

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
    names = {"topic": pa.string(), "partition": pa.int64(), "file": pa.string(), "position": pa.int64()}
    schema = pa.schema({**names, "start": pa.int64(), "end": pa.int64(), "what": pa.string()})
    table = pa.Table.from_pylist([asdict(finding) for finding in findings], schema)
    write_result(table.to_reader(), format, sys.stdout.buffer)


# -- what is read ---------------------------------------------------------------------------------------------------


def ls_arguments(parser: argparse.ArgumentParser) -> None:
    """`ls FOLDER`."""
    add_format(parser)


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """`describe FOLDER TOPIC`."""
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("--segments", action="store_true", help="its segment files, too")


def cat_arguments(parser: argparse.ArgumentParser) -> None:
    """`cat FOLDER TOPIC`."""
    parser.add_argument("topic", metavar="TOPIC")
    add_selection(parser)
    add_format(parser)


def tail_arguments(parser: argparse.ArgumentParser) -> None:
    """`tail FOLDER TOPIC`."""
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("-n", metavar="N", dest="rows", type=count, default=10, help="so many rows; without, 10")
    parser.add_argument("-f", "--follow", action="store_true", help="then the rows that come, until Ctrl-C")
    add_partition_and_columns(parser)
    add_format(parser)


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """`export FOLDER TOPIC FILE`."""
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("file", metavar="FILE", help="what to write, or - for standard output")
    add_selection(parser)
    add_file_format(parser)


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """`import FOLDER TOPIC FILE ...`."""
    parser.add_argument("topic", metavar="TOPIC", help="a stream; if there is none it is made, with the file's columns")
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument(
        "--key", metavar="A,B", type=names, help="a stream that is made is partitioned by these columns"
    )
    parser.add_argument("--partitions", metavar="N", type=number, help="a stream that is made has so many")
    add_file_format(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which rows."""
    parser.add_argument(
        "--from", metavar="OFFSET|TIME", dest="start", type=place,
        help="begin at an offset (-10: ten before the end), or at what was appended at a time, such as 2026-07-01T12:00"
        " (UTC unless it says otherwise)",
    )  # fmt: skip
    parser.add_argument("--limit", metavar="N", type=count, help="at most so many rows")
    add_partition_and_columns(parser)


def add_partition_and_columns(parser: argparse.ArgumentParser) -> None:
    """Which partition, which columns."""
    parser.add_argument("--partition", metavar="P", type=count, help="only this one, counted from 0")
    parser.add_argument("--columns", metavar="A,B", type=names, help="these; also _partition and _offset")


def add_format(parser: argparse.ArgumentParser) -> None:
    """How rows are shown."""
    parser.add_argument("--format", choices=["table", "csv", "jsonl"], help="without, a table")


def add_file_format(parser: argparse.ArgumentParser) -> None:
    """What files are."""
    formats = ["parquet", "arrow", "csv", "jsonl"]
    parser.add_argument("--format", choices=formats, help="of the file; without, what its name says")


def count(text: str) -> int:
    """A whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


def number(text: str) -> int:
    """A whole number from 1 on."""
    if count(text) == 0:
        raise argparse.ArgumentTypeError("there is at least 1")
    return count(text)


def names(text: str) -> list[str]:
    """Names with commas between."""
    return [name.strip() for name in text.split(",")]


def place(text: str) -> int | datetime.datetime:
    """An offset or a time."""
    with suppress(ValueError):
        return int(text)
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither an offset nor a time such as 2026-07-01T12:00") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)


# -- repair ---------------------------------------------------------------------------------------------------------


def repair_arguments(parser: argparse.ArgumentParser) -> None:
    """`repair FOLDER TOPIC [--yes]`."""
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("--yes", action="store_true", help="do it; without, say what would be done, and ask")


def run_repair(arguments: argparse.Namespace) -> int:
    """What would be done and which rows are lost; then, if that is wanted, it is done and verified."""
    with owned(arguments.folder) as root:
        plan = plan_repair(root, arguments.topic)
        for step in plan.steps:
            print(step)
        for lost in plan.lost:
            print(f"lost: partition {lost.partition}, offsets [{lost.start}, {lost.end})")
        if not plan.steps:
            print("nothing to repair")
            return OK
        print(f"{sum(lost.end - lost.start for lost in plan.lost):,} offsets are lost", flush=True)
        if not arguments.yes and not confirmed():
            print("Nothing was changed; --yes does it.")
            return DAMAGED
        carry_out(plan)
        checked = verify_folder(root, [arguments.topic])
    for finding in checked.findings:
        print(described(finding))
    print(f"Repaired. {summary(checked)}", flush=True)
    return DAMAGED if checked.findings else OK


def confirmed() -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and input("Repair it? [y/N] ").strip().lower() in ("y", "yes")


ACTIONS: Mapping[str, Action] = {
    "ls": Action("list the topics", ls_arguments, run_ls),
    "describe": Action("show a topic's options, columns and partitions", describe_arguments, run_describe),
    "cat": Action("show rows, partition after partition", cat_arguments, run_cat),
    "tail": Action("show the last rows, and with -f those that come", tail_arguments, run_tail),
    "export": Action("write rows to a file", export_arguments, run_export),
    "import": Action("append the rows of files to a stream", import_arguments, run_import),
    "verify": Action("compare every checksum, and say which rows are damaged", verify_arguments, run_verify),
    "repair": Action("save what is intact of a damaged topic", repair_arguments, run_repair),
}
