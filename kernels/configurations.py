"""Fixed shapes of the work of linear_logprobs: tables, since tuning at run time would change bits from run to run.

Nothing here depends on the number of rows, so that a row's result is the same bits in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_SPLITS = 64  # of the vocabulary: half of an H100's multiprocessors work where there are few rows
TILES_OF_SPLIT = 4  # at least: starting a program costs a few hundredths of them


@dataclass(frozen=True)
class Configuration:
    """How a program of the sweep computes.

    Attributes:
        rows: rows of hidden that a program owns.
        columns: tokens of a tile of logits; halves of a tile are summed one after the other, which saves registers.
        depth: of a step of the products.
        warps: of a program.
        stages: of the pipeline of loads.
        descriptors: whether tiles are read through tensor descriptors (TMA), from compute capability 9.0 on.
        flat: whether the loads of a tile start while the tile before is summed.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    descriptors: bool = False
    flat: bool = False

    def splits(self, vocabulary: int) -> int:
        """Into how many parts the vocabulary is cut: each is swept by programs of its own."""
        tiles = -(-vocabulary // self.columns)
        return max(1, min(MAX_SPLITS, tiles // TILES_OF_SPLIT))


DESCRIPTORS = {9: Configuration(128, 256, 64, 8, 4, True), 10: Configuration(128, 128, 64, 8, 4, True)}
"""By major compute capability: float16 and bfloat16 heads whose rows are aligned, which those of all models are.
On 10 the tiles are narrower: with 256 columns Triton 3.7.1 spills 88 bytes. No time was measured."""

POINTERS = {8: Configuration(128, 128, 64, 8, 3), 10: Configuration(128, 128, 32, 8, 4)}
"""By major compute capability, others as 8: the same on other architectures, and where Triton has no descriptors.
On 10 the steps are shorter: with those of 64 Triton 3.7.1 spills 16 bytes there. No time was measured."""

SCATTERED = Configuration(64, 128, 16, 8, 3)
"""float16 and bfloat16 heads that are not aligned, on every architecture."""

WIDE = {8: Configuration(64, 64, 16, 8, 3), 9: Configuration(64, 64, 16, 8, 2), 10: Configuration(64, 64, 16, 8, 2)}
"""By major compute capability, others as 8: float32, and hidden and weight of different dtypes, aligned or not.
Products are of fp32 numbers in fp32, without tensor cores."""


def configuration(capability: int, *, sixteen_bit: bool, regular: bool, descriptors: bool) -> Configuration:
    """The configuration of a head.

    Args:
        capability: ten times the compute capability.
        sixteen_bit: whether hidden and weight are both float16 or both bfloat16.
        regular: whether the weight's rows are aligned.
        descriptors: whether the Triton that is installed has tensor descriptors.
    """
    major = capability // 10
    if not sixteen_bit:
        return WIDE.get(major, WIDE[8])
    if not regular:
        return SCATTERED
    pointers = POINTERS.get(major, POINTERS[8])
    return DESCRIPTORS.get(major, pointers) if descriptors else pointers
