"""Files that someone brings become a data set: look (`guess`), read once (`convert`), look at all of it (`findings`).

Free of torch, web and database. The bytes are a stranger's, so a server runs this in a process of its own
(`python -m trainer.ingest`). Whatever the files hold, what is raised is an `IngestError` in words.
"""

from trainer.errors import IngestError
from trainer.ingest.contract import Choices, Converted, Finding, Findings, Guess, Part, Sample, Upload
from trainer.ingest.reading import convert, guess
from trainer.ingest.survey import findings

__all__ = [
    "Choices",
    "Converted",
    "Finding",
    "Findings",
    "Guess",
    "IngestError",
    "Part",
    "Sample",
    "Upload",
    "convert",
    "findings",
    "guess",
]
