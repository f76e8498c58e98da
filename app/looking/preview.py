"""A picture of training images with the augmentation of some settings, for the form."""

from __future__ import annotations

from app.looking import images
from app.state import State
from trainer.config import AUGMENTATION, OPTIONS, TrainConfig
from trainer.packing import unpack

RELEVANT = {
    *("dataset", "csv_shape", "train_size", "image_size", "seed"),
    *(option.name for option in OPTIONS.values() if option.group == AUGMENTATION),
}
"""The settings that it depends on."""
IMAGES, DRAWS = 12, 3


def augmented(shared: State, config: TrainConfig) -> bytes:
    """PNG: a row of images as they are, and below it rows of them as they would be fed.

    Raises `FormError` where the data set is not there, `SidecarError` where nobody answers.
    """
    asked = {name: value for name, value in config.to_dict().items() if name in RELEVANT}
    # A batch larger than the few images of the set is no mistake here.
    asked |= {"batch_size": 1, "processes": 1}
    answer = shared.torch.ask(
        {"augmented": asked, "data_dir": str(shared.settings.data_dir), "images": IMAGES, "draws": DRAWS}
    )
    return images.png(images.tiled(unpack(answer)))
