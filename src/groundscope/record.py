"""The one manner of what is read from study files and cards."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Named fields that never change once they are read: no field is unknown, every number is finite.

    Building one raises pydantic's ValidationError, which names each field that is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
