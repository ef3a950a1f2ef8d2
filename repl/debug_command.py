"""`headrace debug`: a folder looked at epoch by epoch, with what went into each operator and what came out."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ..engine.operator import NO_WATERMARK
from ..sql.stepping import EpochStep, Stepper, ViewStep, stepping
from .console import UsageError
from .render import box_text, excerpt

OK = 0
KEYS = "n next · b back · g go to an epoch · p print to a file · q quit"
_ROWS_SHOWN = 20


def debug_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`headrace debug FOLDER [--view V] [--epoch N]`."""
    parser = argparse.ArgumentParser(
        "headrace debug",
        description="Step through the epochs of a folder, which stays as it is: what each took of the streams, and "
        "what went into each operator of a view, came out, and changed in its state. It may be open elsewhere.",
        epilog=f"keys: {KEYS}",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the database")
    parser.add_argument("--view", metavar="V", help="only this view, table or query that writes")
    parser.add_argument("--epoch", metavar="N", type=int, help="print this epoch and leave; on a terminal, begin there")
    return parser.parse_args(words)


def run_debug(arguments: argparse.Namespace) -> int:
    """On a terminal it waits for keys; elsewhere it prints one epoch."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if arguments.epoch is None and not terminal:
        raise UsageError("say which epoch to print, with --epoch")
    with stepping(arguments.folder, arguments.view) as stepper:
        if not stepper.epochs:
            raise UsageError(f"{arguments.folder} has no journal of epochs")
        if not terminal:
            sys.stdout.write(text_of(stepper.step(arguments.epoch)))
        else:
            walk(stepper, arguments.epoch, press, sys.stdout.write)
    return OK


def walk(
    stepper: Stepper, epoch: int | None, press: Callable[[Sequence[int]], str], write: Callable[[str], object]
) -> None:
    """Shows an epoch, then what the keys ask for: the next one, the one before, the one of a number; until `q`."""
    epochs = stepper.epochs
    shown = stepper.step(epochs[0] if epoch is None else epoch)
    write(text_of(shown))
    while (key := press(epochs)) != "q":
        place = epochs.index(shown.cut.epoch)
        if key == "p":
            path = Path(f"epoch-{shown.cut.epoch}.txt")
            path.write_text(text_of(shown), encoding="utf-8")
            write(f"{path} has it\n")
            continue
        if key.isdecimal():
            wanted = int(key)
        else:
            wanted = epochs[max(0, min(len(epochs) - 1, place + (1 if key == "n" else -1)))]
        if wanted == shown.cut.epoch:
            write(f"there is none {'after' if key == 'n' else 'before'} epoch {wanted}\n")
            continue
        shown = stepper.step(wanted)
        write(text_of(shown))


def press(epochs: Sequence[int]) -> str:
    """Waits for a key: n, b, p, q, or after g a number."""
    from prompt_toolkit import prompt
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.layout import Layout, Window
    from prompt_toolkit.layout.controls import FormattedTextControl

    bindings = KeyBindings()
    meant = {"n": "n", "right": "n", "b": "b", "left": "b", "g": "g", "p": "p", "q": "q", "c-c": "q", "c-d": "q"}
    for key, word in meant.items():

        @bindings.add(key)
        def _leave(event: KeyPressEvent, word: str = word) -> None:
            event.app.exit(result=word)

    line = Window(FormattedTextControl(KEYS), height=1, dont_extend_height=True, style="reverse")
    word = str(Application(layout=Layout(line), key_bindings=bindings, erase_when_done=True).run())
    if word != "g":
        return word
    number = prompt(f"epoch ({epochs[0]} to {epochs[-1]}): ").strip()
    return number if number.isdecimal() else press(epochs)


def text_of(step: EpochStep) -> str:
    """An epoch as a person reads it."""
    return "\n".join(_lines(step)) + "\n"


def _lines(step: EpochStep) -> Iterator[str]:
    cut = step.cut
    yield f"═══ epoch {cut.epoch} · {_moment(cut.clock)} · {cut.rows:,} rows"
    if cut.joined:
        yield f"    new since epoch {cut.after}: {', '.join(cut.joined)}"
    for name, read in cut.streams.items():
        known = None if step.before is None else step.before.streams.get(name)
        starts = [0] * len(read.ends) if known is None or known.created != read.created else known.ends
        mark = f", watermark {_moment(read.watermark)}" if read.watermark != NO_WATERMARK else ""
        news = [f"{n}: [{s}, {e})" for n, (s, e) in enumerate(zip(starts, read.ends, strict=True)) if s < e]
        if news or (known is not None and known.watermark != read.watermark):
            yield f"    {name}{' ' if news else ''}{', '.join(news)}{mark}"
    for view in step.views:
        yield from _view_lines(view)


def _view_lines(view: ViewStep) -> Iterator[str]:
    busy = [(name, seen) for name, seen in view.operators if not seen.idle]
    yield f"─── {view.view}" + ("" if busy or view.problem else ": nothing happened")
    if view.problem is not None:
        yield f"    cannot be shown: {view.problem.headline}. {view.problem.detail or ''}".rstrip()
    for name, seen in busy:
        yield f"  {name}"
        for port, table in seen.inputs.items():
            yield from _table(f"in{port if len(seen.inputs) > 1 or port else ''}", table)
        yield from _table("out", seen.output)
        if seen.state is None:
            yield "    state: too much to be compared"
        for part, table in (seen.state or {}).items():
            yield from _table(f"state {part}", table)


def _table(title: str, table: pa.Table | None) -> Iterator[str]:
    if table is None:
        return
    types = [str(field.type) for field in table.schema]
    yield f"    {title}"
    text = box_text(excerpt(table, types, rows_max=_ROWS_SHOWN)) or ""
    yield from (f"    {line}" for line in text.splitlines())


def _moment(us: int) -> str:
    try:
        return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=us)}"
    except OverflowError:
        return f"{us} µs"
