"""A frozen vision encoder: any ViT of Hugging Face's as pictures -> patch features, and where each patch looks.

The encoder is never trained. Its control is the same architecture with random weights: what a model learns from those
patches it learns from pixels alone (the paper's control). Pictures are prepared here, not by an image processor, so
that the geometry that `corpus.boxes` knows is the geometry that happened.
"""

import hashlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float16
from PIL import Image
from pydantic import Field
from torch import Tensor
from transformers import AutoConfig, AutoModel
from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file, extract_commit_hash

from groundscope.corpus.boxes import Patches, Size, View, centre_cropped, padded, stretched
from groundscope.errors import ModelError
from groundscope.files import atomic_file, read_json, sha256_file
from groundscope.models.hub import no_progress_bar
from groundscope.record import Record

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSOR = "preprocessor_config.json"
_UNUSED = ("pooler", "mask_token", "head")
"""Weights that no patch's feature depends on; a checkpoint may lack them."""


class EncoderOptions(Record):
    """Which encoder, and how it is shown a picture."""

    name: str = Field(description="folder or repository of a ViT (DINOv2, ViT, CLIP, SigLIP, ...)")
    revision: str | None = Field(default=None, description="branch, tag or commit of a repository")
    random_weights: bool = Field(default=False, description="the control: the same architecture, nothing learned")
    seed: int = Field(default=0, ge=0, description="of random weights")
    canvas: int | None = Field(
        default=None, ge=1, description="side of what the encoder sees, in pixels; none: what it was trained on"
    )
    fit: Literal["stretch", "crop", "pad"] = Field(
        default="stretch", description="how pictures that are not square become so: resized, centre crop, or padded"
    )
    layer: int = Field(
        default=-1, description="whose output is taken: -1 the last, after the encoder's final norm; -2 the one before"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16: matrix products in bfloat16, many times faster where hardware has it"
    )
    keep: tuple[Literal["cls", "registers"], ...] = Field(
        default=(), description="further tokens that stand before the patches: cls, registers"
    )


class VisionEncoder:
    """A frozen ViT. ``d_patch`` is its width, ``name`` what tables call it."""

    def __init__(self, options: EncoderOptions, device: str = "cpu"):
        """Load it onto a device; raises ModelError when it cannot be had, is incomplete, or is no ViT over patches."""
        self.options = options
        model, whole = _load(options)
        self.model = model.to(device)
        self.device = device
        config = self.model.config
        self.patch: int = _first(config, "patch_size")
        if options.canvas is None and not hasattr(config, "image_size"):
            raise ModelError(f"'{options.name}' does not say which size of pictures it was trained on: set `canvas`.")
        self.canvas: int = options.canvas or _first(config, "image_size")
        self.d_patch: int = _first(config, "hidden_size")
        self.mean, self.std = _normalisation(options)
        if self.canvas < self.patch:
            raise ModelError(f"A canvas of {self.canvas} pixels holds no patch of {self.patch}; make it larger.")
        side = self.canvas // self.patch
        self.before = self._tried(side * self.patch).shape[1] - side * side
        self.kept_before = _kept(config, self.before, options.keep)
        self.identity = whole

    @property
    def positions(self) -> int:
        """How many positions a picture takes in a stream."""
        return len(self.kept_before) + (self.canvas // self.patch) ** 2

    @property
    def name(self) -> str:
        """The encoder's folder or repository, and whether its weights are random."""
        short = self.options.name.rstrip("/").split("/")[-1]
        return f"{short} (random weights)" if self.options.random_weights else short

    def view(self, size: Size) -> View:
        """Return how a picture of this size is seen."""
        canvas = Size(self.canvas, self.canvas)
        match self.options.fit:
            case "stretch":
                return stretched(size.whole, canvas, self.patch)
            case "crop":
                return centre_cropped(size, self.canvas, canvas, self.patch)
            case "pad":
                return padded(size, canvas, self.patch)

    def patches(self, size: Size) -> Patches:
        """Return where each position of a picture of this size looks."""
        return Patches.of(size, [self.view(size)], before=len(self.kept_before))

    def encode(
        self, pictures: Iterable[Image.Image], cache: Path | None = None, batch_size: int = 32
    ) -> Iterator[Float16[np.ndarray, "position d_patch"]]:
        """Yield each picture's features in fp16, from the ``cache`` folder where they were computed before.

        The cache is keyed by the picture's pixels and by everything about the encoder that they depend on. What is
        damaged there is computed anew. Raises ModelError where it cannot be written.
        """
        waiting = iter(pictures)
        with ThreadPoolExecutor(torch.get_num_threads()) as cores:  # a GPU sees a picture sooner than one core has it
            while batch := list(islice(waiting, batch_size)):
                files = [None] * len(batch) if cache is None else list(cores.map(partial(self._cached, cache), batch))
                features = [None if file is None else self._known(file) for file in files]
                wanted = [i for i, known in enumerate(features) if known is None]
                if wanted:
                    computed = self._features(list(cores.map(self.pixels, [batch[i] for i in wanted])))
                    for i, computed_features in zip(wanted, computed, strict=True):
                        features[i] = computed_features
                        if (file := files[i]) is not None:
                            _keep(file, computed_features)
                yield from (known for known in features if known is not None)

    def pixels(self, picture: Image.Image) -> Float[Tensor, "3 height width"]:
        """Return a picture as the encoder is shown it: through its view, normalised; padding has the mean colour."""
        size = Size(*picture.size)
        view = self.view(size)
        scaled = picture.convert("RGB").resize(
            (max(1, round(size.width * view.scale_x)), max(1, round(size.height * view.scale_y))),
            Image.Resampling.BICUBIC,
        )
        grey = tuple(round(255 * value) for value in self.mean)
        canvas = Image.new("RGB", (view.columns * view.patch, view.rows * view.patch), grey)
        canvas.paste(scaled, (round(view.shift_x), round(view.shift_y)))
        values = np.array(canvas, dtype=np.float32) / 255
        # numpy's: torch would share each of them among threads of its own, beside those of `encode`
        normalised = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(normalised).permute(2, 0, 1)

    def _features(
        self, pixels: Sequence[Float[Tensor, "3 height width"]]
    ) -> Float16[np.ndarray, "picture position d_patch"]:
        states = self._encode(torch.stack(list(pixels)))
        positions = [*self.kept_before, *range(self.before, states.shape[1])]
        features = states[:, positions].half()
        if not bool(features.isfinite().all()):
            raise ModelError(
                f"'{self.options.name}' gives features up to {float(states.abs().max()):.3g}, which fp16 does not "
                "hold: take its last layer, after its norm (`layer: -1`)."
            )
        return features.numpy()

    def _tried(self, side: int) -> Float[Tensor, "picture position d_patch"]:
        """Encode a blank picture; raises ModelError where that cannot be."""
        try:
            return self._encode(torch.zeros(1, 3, side, side))
        except IndexError:
            layers = getattr(self.model.config, "num_hidden_layers", "fewer")
            raise ModelError(
                f"'{self.options.name}' has {layers} layers, but `layer` is {self.options.layer}."
            ) from None
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"'{self.options.name}' does not take a colour picture of {side} x {side} pixels: {reason} Give a "
                "plain ViT, such as DINOv2, or another `canvas`."
            ) from None

    @torch.no_grad()
    def _encode(self, pixels: Float[Tensor, "picture 3 height width"]) -> Float[Tensor, "picture position d_patch"]:
        takes = inspect.signature(self.model.forward).parameters
        how = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        seen = pixels.to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.options.precision == "bf16"):
            if self.options.layer == -1:
                return self.model(pixel_values=seen, **how).last_hidden_state.float().cpu()
            states = self.model(pixel_values=seen, output_hidden_states=True, **how).hidden_states
            return states[self.options.layer].float().cpu()

    def _known(self, file: Path) -> Float16[np.ndarray, "position d_patch"] | None:
        """Read features from the cache; None where there are none, or none that could be of this encoder."""
        try:
            with file.open("rb") as stream:
                known = np.lib.format.read_array(stream, allow_pickle=False)
        except (OSError, ValueError):
            return None
        return known if known.shape == (self.positions, self.d_patch) and known.dtype == np.float16 else None

    def _cached(self, cache: Path, picture: Image.Image) -> Path:
        digest = hashlib.sha256(self.identity.encode())
        if self.options.random_weights:  # else the identity covers the processor's colours, too
            digest.update(repr((self.mean, self.std)).encode())
        digest.update(
            repr((self.options.model_dump(exclude={"name", "revision"}), picture.size, picture.mode)).encode()
        )
        digest.update(picture.tobytes())
        name = digest.hexdigest()
        return cache / name[:2] / f"{name}.npy"


def _load(options: EncoderOptions) -> tuple[torch.nn.Module, str]:
    """Return the vision model, frozen, and a hash of what it is."""
    try:
        if options.random_weights:
            config = AutoConfig.from_pretrained(options.name, revision=options.revision)
            config = getattr(config, "vision_config", config)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(options.seed)
                model = AutoModel.from_config(config)
            identity = f"random:{options.seed}:{config.to_json_string()}"
        else:
            with no_progress_bar():
                model, report = AutoModel.from_pretrained(
                    options.name, revision=options.revision, dtype=torch.float32, output_loading_info=True
                )
            _refuse_incomplete(options.name, report["missing_keys"])
            identity = _weights_identity(options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(
            f"The vision encoder '{options.name}' could not be loaded: {reason} Give a folder that holds one, or the "
            "name of a repository that this machine can reach."
        ) from None
    model = getattr(model, "vision_model", model)  # CLIP and SigLIP: without their text tower
    if not hasattr(model.config, "patch_size"):
        raise ModelError(f"'{options.name}' is a {type(model).__name__}, which has no patches: give a ViT.")
    return model.eval().requires_grad_(False), hashlib.sha256(identity.encode()).hexdigest()


def _refuse_incomplete(name: str, missing: Iterable[str]) -> None:
    lacking = sorted(key for key in map(str, missing) if not any(part in key for part in _UNUSED))
    if lacking:
        raise ModelError(
            f"'{name}' lacks weights of its encoder ({', '.join(lacking[:3])}; {len(lacking)} in all): it is another "
            "kind of model, or incomplete. Random ones in their place would make any result worthless."
        )


def _weights_identity(options: EncoderOptions) -> str:
    """What was loaded: a folder's files, or a repository's commit, for a branch moves under its name."""
    folder = Path(options.name)
    if not folder.is_dir():
        config = cached_file(options.name, CONFIG_NAME, revision=options.revision)
        return f"{options.name}@{extract_commit_hash(config, None) or options.revision}"
    return " ".join(f"{file.name} {sha256_file(file)}" for file in sorted(folder.glob("*")) if file.is_file())


def _normalisation(options: EncoderOptions) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of colours as the encoder's own processor has them, else ImageNet's."""
    file = cached_file(
        options.name, PREPROCESSOR, revision=options.revision, _raise_exceptions_for_missing_entries=False
    )
    if file is None:
        return IMAGENET
    settings = read_json(Path(file))
    return tuple(settings.get("image_mean", IMAGENET[0])), tuple(settings.get("image_std", IMAGENET[1]))


def _keep(file: Path, features: Float16[np.ndarray, "position d_patch"]) -> None:
    try:
        with atomic_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, features)
    except OSError as error:
        raise ModelError(
            f"Features cannot be kept at {file} ({error.strerror}). Name another folder as `cache`, or none."
        ) from None


def _kept(config: object, before: int, keep: tuple[str, ...]) -> list[int]:
    """Positions before the patches that stay: the class token stands first, registers behind it."""
    if before < 0:
        raise ModelError("This encoder gives fewer states than it has patches (it pools them); give a plain ViT.")
    registers = int(getattr(config, "num_register_tokens", 0) or 0)
    has_cls = before - registers
    if "cls" in keep and has_cls < 1:
        raise ModelError("This encoder has no class token; leave 'cls' out of `keep`.")
    if "registers" in keep and not registers:
        raise ModelError("This encoder has no register tokens; leave 'registers' out of `keep`.")
    cls = list(range(has_cls)) if "cls" in keep else []
    return cls + (list(range(has_cls, before)) if "registers" in keep else [])


def _first(config: object, name: str) -> int:
    value = getattr(config, name)
    return int(value[0] if isinstance(value, list | tuple) else value)
