"""The long works of the pipeline as jobs: what any process needs to compute any rows of them, in plain values."""

from modescope.jobs.capturing import (
    CaptureJob,
    basis_config,
    capture_config,
    capture_job,
    folder_of,
    look_of,
    preprocessing_of,
    protocol_of,
    write_basis,
)
from modescope.jobs.generating import GENERATE_VERSION, GenerateJob, generate_config, generate_job
from modescope.jobs.inverting import INVERT_VERSION, InvertJob, invert_config, invert_job

__all__ = [
    "GENERATE_VERSION",
    "INVERT_VERSION",
    "CaptureJob",
    "GenerateJob",
    "InvertJob",
    "basis_config",
    "capture_config",
    "capture_job",
    "folder_of",
    "generate_config",
    "generate_job",
    "invert_config",
    "invert_job",
    "look_of",
    "preprocessing_of",
    "protocol_of",
    "write_basis",
]
