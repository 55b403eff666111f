"""One point of a sweep: everything except the model that changes its speed. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Operation = Literal["encode", "decode", "encode_text", "denoise", "train_step"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class SweepPoint(BaseModel):
    """An operation at a batch size, in a precision, with a memory layout, compiled or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Operation
    batch: Annotated[int, Field(ge=1, strict=True)]
    precision: Precision = "fp32"
    channels_last: bool = False
    compiled: bool = False

    @property
    def label(self) -> str:
        """The point in words, such as `encode ×64 bf16 channels-last`."""
        return f"{self.operation.replace('_', ' ')} ×{self.batch} {self.way}"

    @property
    def way(self) -> str:
        """The way in which the model is run, such as `bf16 channels-last compiled`."""
        return self.precision + " channels-last" * self.channels_last + " compiled" * self.compiled
