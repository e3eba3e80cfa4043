"""How fast, and how completely, CHAT is read: our reader and rustling's on one corpus, then ours on the archive.

    GROUNDSCOPE_DATA=... python benchmarks/read_chat.py [--corpus Brown] [--archive PATH]

Seconds are CPU seconds of one core. rustling reads one transcript at a time, because it loses all transcripts of a
call when it refuses one; "lenient" is its strict=False.
"""

import argparse
import os
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import rustling.chat
from rich.console import Console
from rich.table import Table

from groundscope.corpus.chat import ChatOptions, ChatParser, read_chat
from groundscope.corpus.sources import decode, open_sources
from groundscope.corpus.utterance import Channel, Document


def ours(documents: Iterable[Document]) -> tuple[int, int, int, int, int]:
    """Count files, files refused, utterances, words said and words of the scene."""
    files = refused = utterances = said = shown = 0
    for document in documents:
        files += 1
        refused += any(problem.what == "file" for problem in document.problems)
        utterances += document.main_tiers
        for utterance in document.utterances:
            if utterance.channel is Channel.LAN:
                said += len(utterance.words)
            else:
                shown += len(utterance.words)
    return files, refused, utterances, said, shown


def rustlings(texts: Iterable[str], *, strict: bool) -> tuple[int, int, int, int, int]:
    files = refused = utterances = said = shown = 0
    for text in texts:
        files += 1
        try:
            read = rustling.chat.CHAT.from_strs([text], parallel=False, strict=strict)
        except ValueError:
            refused += 1
            continue
        for utterance in read.utterances():
            if utterance.tokens is not None:
                utterances += 1
                said += sum(token.word[0].isalnum() for token in utterance.tokens if token.word)
                tiers = utterance.tiers or {}
                shown += sum(len(tiers.get(f"%{tier}", "").split()) for tier in ("act", "sit", "gpx"))
    return files, refused, utterances, said, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="Brown", help="the corpus that both readers read")
    parser.add_argument(
        "--archive", type=Path, default=Path(os.environ.get("GROUNDSCOPE_DATA", ".")) / "childes.tar.xz"
    )
    arguments = parser.parse_args()

    with open_sources([arguments.archive], ".cha") as sources:
        texts = []
        for file in sources.files:
            if file.collection == arguments.corpus:
                with file.open() as stream:
                    texts.append(decode(stream.read(), file.name)[0])

    chat = ChatParser(ChatOptions())
    runs = {
        f"groundscope, {arguments.corpus}": lambda: ours(chat.parse(text, "", "") for text in texts),
        f"rustling lenient, {arguments.corpus}": lambda: rustlings(texts, strict=False),
        f"rustling, {arguments.corpus}": lambda: rustlings(texts, strict=True),
        "groundscope, whole archive": lambda: ours(read_chat([arguments.archive], ChatOptions())),
    }
    warnings.simplefilter("ignore")  # rustling warns of every %mor tier that does not fit its words
    table = Table("reader", "files", "refused", "utterances", "words said", "words shown", "seconds")
    table.columns[0].no_wrap = True
    for name, run in runs.items():
        started = time.process_time()
        counts = run()
        table.add_row(name, *(f"{count:,}" for count in counts), f"{time.process_time() - started:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
