"""Language models with mixing matrices that can be gated, and their next-token loss."""

from transformers import AutoConfig, AutoModelForCausalLM

from groundscope.models.base import LanguageModel as LanguageModel
from groundscope.models.gate import Gate as Gate
from groundscope.models.gate import gated as gated
from groundscope.models.grounded_vlm import GroundedVLM as GroundedVLM
from groundscope.models.grounded_vlm import GroundedVLMConfig as GroundedVLMConfig
from groundscope.models.language_model import GroundedLM as GroundedLM
from groundscope.models.language_model import GroundedLMConfig as GroundedLMConfig
from groundscope.models.load import load_model as load_model
from groundscope.models.loss import linear_cross_entropy as linear_cross_entropy
from groundscope.models.lstm import GroundedLSTM as GroundedLSTM
from groundscope.models.lstm import GroundedLSTMConfig as GroundedLSTMConfig
from groundscope.models.presets import PRESETS as PRESETS
from groundscope.models.presets import build as build
from groundscope.models.presets import preset as preset

for _config, _model in (
    (GroundedLMConfig, GroundedLM),
    (GroundedVLMConfig, GroundedVLM),
    (GroundedLSTMConfig, GroundedLSTM),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModelForCausalLM.register(_config, _model)
