"""From a checkpoint of a study of pictures to what its author sees: the model, its words, and the encoder behind it.

Nothing is guessed. The training's card names the encoder, the corpus says what that is, and its files must hash to what
the corpus was seen through.
"""

from pathlib import Path

from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import ModelError
from groundscope.files import read_json
from groundscope.mechanism.inspect_models import vocabulary_near
from groundscope.mechanism.picture_questions import GroundedSight
from groundscope.models.grounded_vlm import GroundedVLM
from groundscope.models.hub import from_pretrained
from groundscope.study.encoders import same_encoder
from groundscope.training.run import RUN, read_run
from groundscope.trajectory.checkpoints import Trajectory

_CHECKPOINT, _TRAININGS = "config.json", "train"
_SHOWN = 4


def is_ours(model: str) -> bool:
    """Tell whether ``model`` is a checkpoint, a training or a run of ours, and no model of Hugging Face's."""
    folder = Path(model)
    if (folder / _CHECKPOINT).is_file():
        return str(read_json(folder / _CHECKPOINT).get("model_type")).startswith("groundscope")
    return (folder / RUN).is_file() or (folder / _TRAININGS).is_dir()


def open_sight(
    folder: Path,
    revision: str | None = None,
    *,
    vocabulary: Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> GroundedSight:
    """Open a checkpoint, or a training at ``revision`` (``step600``; none: its last), with its encoder.

    ``vocabulary`` names the corpus where it does not stand near the model. Raises ModelError for a model that sees no
    pictures and where training, corpus or encoder are not what they were, StudyError where the corpus does not say.
    """
    place, training = _checkpoint(folder, revision)
    if not (training / RUN).is_file():
        raise ModelError(
            f"{place} does not say behind which encoder it was trained: that stands in {RUN}, two folders above a "
            "checkpoint. Give the checkpoint where its training left it."
        )
    encoder = read_run(training).provenance.get("encoder")
    model = from_pretrained(place, device=device, dtype=dtype)
    if not isinstance(model, GroundedVLM) or encoder is None:
        raise ModelError(
            f"{place} is a {type(model).__name__} that was trained without pictures: it can be shown none."
        )
    listed = vocabulary_near(place, vocabulary)
    words = Vocabulary.load(listed)
    if len(words) != model.config.vocab_size:
        raise ModelError(
            f"{listed} has {len(words)} entries, the model {model.config.vocab_size}: it is another corpus's. Name the "
            "right one with --vocabulary."
        )
    return GroundedSight(model, words, same_encoder(listed.parent, str(encoder), str(model.device)))


def _checkpoint(folder: Path, revision: str | None) -> tuple[Path, Path]:
    """The checkpoint that is meant, and its training's folder."""
    if (folder / RUN).is_file():
        trajectory = Trajectory.open(folder)
        if revision is None:
            return trajectory.checkpoints[-1].path, folder
        if not revision.removeprefix("step").isdigit():
            raise ModelError(f"The revisions of a training are its steps; '{revision}' is none.")
        return trajectory.at(int(revision.removeprefix("step"))).path, folder
    if (folder / _CHECKPOINT).is_file():
        if revision is not None:
            raise ModelError(f"{folder} is one checkpoint: it has no revision '{revision}'; its training's folder has.")
        return folder, folder.resolve().parents[1]
    trainings = sorted(card.parent for card in (folder / _TRAININGS).glob(f"*/*/{RUN}"))
    there = ", ".join(map(str, trainings[:_SHOWN])) or "none yet"
    more = f" and {len(trainings) - _SHOWN} more" if len(trainings) > _SHOWN else ""
    raise ModelError(f"{folder} is a run; name one of its trainings: {there}{more}.")
