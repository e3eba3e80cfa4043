"""Mismatches by a generative model: an object's box repainted by Stable Diffusion as another object. An extra.

Needs ``pip install groundscope[inpaint]`` and weights that are not shipped: any inpainting pipeline of diffusers', for
instance ``stabilityai/stable-diffusion-2-inpainting`` (the paper's kind).
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from groundscope.corpus.boxes import Box
from groundscope.corpus.repainting import repaint_inside
from groundscope.errors import CorpusError

PROMPT = "a photo of a {word}"


class Inpainter:
    """A diffusers inpainting pipeline, loaded or given."""

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "Inpainter":
        """Load a pipeline; raises CorpusError, with what to do, when diffusers, weights or the device are missing."""
        try:
            from diffusers import AutoPipelineForInpainting  # type: ignore[attr-defined]  # made when asked for
        except ImportError:
            raise CorpusError("Inpainting wants diffusers: pip install 'groundscope[inpaint]'.") from None
        try:
            pipeline = AutoPipelineForInpainting.from_pretrained(str(name), torch_dtype=dtype)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise CorpusError(
                f"The inpainting model '{name}' could not be loaded ({reason}). Download it where there is a network "
                "(hf download stabilityai/stable-diffusion-2-inpainting) and give its folder; or swap crops."
            ) from None
        try:
            return cls(pipeline.to(device))
        except (RuntimeError, AssertionError) as error:  # by build of torch, or it is full
            reason = str(error).strip().splitlines()[0][:200]
            raise CorpusError(
                f"The inpainting model cannot be put on '{device}' ({reason}); name another device, or swap crops."
            ) from None

    def repaint(self, picture: Image.Image, box: Box, word: str, *, seed: int = 0, steps: int = 50) -> Image.Image:
        """Return the picture with its box painted as ``word``; everything outside of the box stays, pixel by pixel."""
        canvas = self._canvas(picture.size)
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).rectangle(box.corners.tolist(), fill=255)
        painted = self.pipeline(
            prompt=PROMPT.format(word=word),
            image=picture.convert("RGB").resize(canvas, Image.Resampling.BICUBIC),
            mask_image=mask.resize(canvas, Image.Resampling.NEAREST),
            width=canvas[0],
            height=canvas[1],
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        return repaint_inside(picture.convert("RGB"), box, painted.resize(picture.size, Image.Resampling.BICUBIC))

    def _canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """The picture's size in whole cells of the pipeline's autoencoder, at least one."""
        cell = int(getattr(self.pipeline, "vae_scale_factor", 8)) * 2
        return max(cell, size[0] // cell * cell), max(cell, size[1] // cell * cell)
