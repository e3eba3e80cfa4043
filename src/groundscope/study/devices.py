"""Which devices a study computes on: what its settings ask for, and what stands for that on this machine."""

from groundscope.errors import TrainingError
from groundscope.study.config import PicturesSource, Study
from groundscope.training.devices import device_of


def devices_asked(study: Study) -> set[str]:
    """Return what the settings ask for: of each training and, in a study of pictures, of what sees and paints them."""
    asked = {study.training_of(model).device for model in study.models}
    return asked | {study.training.device} if isinstance(study.corpus, PicturesSource) else asked


def device_here(asked: str) -> str:
    """Return the kind of device that stands for ``asked`` on this machine: the CPU where there is no such device."""
    try:
        return device_of(asked)
    except TrainingError:
        return "cpu"


def seen_on(study: Study) -> str:
    """Return the device on which pictures are seen and painted; raises TrainingError for one that is not there."""
    return device_of(study.training.device)


def measured_on(study: Study, training: str) -> str:
    """Return the device that the checkpoints of a training are measured on: the GPU, unless that is to be left alone.

    ``training`` is called MODEL or, in a study of pictures, MODEL.ENCODER. It is never Apple's device, which has no
    float64, in which measurements add up. What was trained on a GPU may be measured where there is none.
    """
    here = device_here(study.training_of(_model_of(study, training)).device)
    return "cpu" if here == "mps" else here


def _model_of(study: Study, training: str) -> str:
    if not isinstance(study.corpus, PicturesSource):
        return training
    named = {f"{model}.{encoder}": model for model in study.models for encoder in study.corpus.encoders}
    return named[training]  # each name once: a study that had one twice is refused
