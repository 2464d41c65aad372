"""What one training works with: the job, its parameters, the data and the network."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.datasets.dataset import Dataset
from shared.models.recipes import ImageClassifierParameters
from workers.examples import Examples
from workers.run import Run
from workers.training.recipes.image_classifier import Network


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything about a training that does not change while it runs."""

    run: Run
    parameters: ImageClassifierParameters
    dataset: Dataset
    examples: Mapping[str, Examples]
    """The splits."""
    network: Network

    @property
    def is_ragged(self) -> bool:
        """Whether images differ in size, so that they are resized before they share a batch."""
        return self.dataset.image_shape is None
