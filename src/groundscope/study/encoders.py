"""The vision encoders of a study of pictures, and their record beside its corpus: by it a checkpoint finds its own.

A record says how an encoder was asked for, as the study file has it (variables stay, a home is ``${HOME}``), and which
weights answered.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from groundscope.errors import ModelError, StudyError, did_you_mean
from groundscope.files import read_json, write_json
from groundscope.models.vision import EncoderOptions, VisionEncoder
from groundscope.record import Record
from groundscope.study.paths import from_home, located

ENCODERS = "encoders.json"


class EncoderRecord(Record):
    """One encoder of a corpus of pictures."""

    called: str = Field(description="what tables call it")
    options: EncoderOptions = Field(description="as the study file has them")
    identity: str = Field(description="SHA-256 of what was loaded: the files of a folder, or a repository's revision")


def load_encoder(options: EncoderOptions, device: str = "cpu") -> VisionEncoder:
    """Load an encoder whose name may hold variables; raises StudyError for one that is not set."""
    return VisionEncoder(options.model_copy(update={"name": str(located(Path(options.name)))}), device)


def load_encoders(asked: Mapping[str, EncoderOptions], device: str = "cpu") -> dict[str, VisionEncoder]:
    """Load a study's encoders; raises StudyError where they cut pictures into different numbers of patches."""
    loaded = {name: load_encoder(options, device) for name, options in asked.items()}
    positions = {name: encoder.positions for name, encoder in loaded.items()}
    if len({*positions.values()}) > 1:
        raise StudyError(f"corpus.encoders give a picture different numbers of positions, {positions}: set `canvas`.")
    return loaded


def keep_records(corpus: Path, asked: Mapping[str, EncoderOptions], loaded: Mapping[str, VisionEncoder]) -> None:
    """Write what the encoders of a corpus are into its folder."""
    records = {
        name: EncoderRecord(called=loaded[name].name, options=_from_home(options), identity=loaded[name].identity)
        for name, options in asked.items()
    }
    write_json(corpus / ENCODERS, {name: record.model_dump(mode="json") for name, record in records.items()})


def _from_home(options: EncoderOptions) -> EncoderOptions:
    if not Path(options.name).is_absolute():
        return options
    return options.model_copy(update={"name": str(from_home(Path(options.name)))})


def read_record(corpus: Path, name: str) -> EncoderRecord:
    """Return what an encoder of a corpus is; raises StudyError where the corpus does not say."""
    if not (corpus / ENCODERS).is_file():
        raise StudyError(f"{corpus} does not say which encoders its pictures were seen through: it has no {ENCODERS}.")
    kept = read_json(corpus / ENCODERS)
    if name not in kept:
        raise StudyError(f"{corpus / ENCODERS} knows no encoder '{name}', but {', '.join(kept)}."
                         f"{did_you_mean(name, kept)}")  # fmt: skip
    try:
        return EncoderRecord.model_validate(kept[name])
    except ValidationError:
        raise StudyError(
            f"{corpus / ENCODERS} does not say what encoder '{name}' is in a form that is read here. Run the study "
            "again: its pictures are seen once more, its trainings are kept."
        ) from None


def same_encoder(corpus: Path, name: str, device: str = "cpu") -> VisionEncoder:
    """Load the encoder of a corpus again, onto a kind of device.

    Raises ModelError where it cannot be had or other weights answer by now.
    """
    record = read_record(corpus, name)
    encoder = load_encoder(record.options, device)
    if encoder.identity != record.identity:
        raise ModelError(
            f"The vision encoder at {located(Path(record.options.name))} is not the one through which this corpus was "
            f"seen: its files, or the versions that draw random weights, differ from what {corpus / ENCODERS} says. "
            "Put the same encoder there, or run the study again."
        )
    return encoder
