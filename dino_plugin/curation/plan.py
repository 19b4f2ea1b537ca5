"""What is to be chosen, and how."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dino_plugin.curation.hierarchy import refuse_rising
from dino_plugin.curation.search import index_for

MOST_CLUSTERS = 10_000  # of the first level, if nobody says how many: more take long


@dataclass
class Plan:
    """What is chosen.

    Attributes:
        keep: Images of the balanced choice; at most all that are left without near-duplicates.
        clusters: Of each level, falling. Empty: a quarter of the images, at most 10,000, and a tenth of that.
        duplicates: Cosine from which two images are near-duplicates; above 1: none are.
        held_out: Cosine from which an image is too near to a held-out one.
        whiten: Whiten the embeddings before these two cosines are taken. Those of most networks lie in a narrow cone,
            in which images of a kind are about as near as copies.
        neighbours: Nearest images of each that are looked at for near-duplicates.
        index: As in `build_index`; `auto`: as `index_for` says.
        per_seed: Nearest images of each seed that are added; 0: none.
        per_cluster: Random images that are added of each first-level cluster that has seeds.
        iterations: Of each k-means.
        resamples: As in `hierarchical_kmeans`.
        nearest_first: As in `balanced_sample`.
        repeats: Likewise.
        seed: Of all that is random.
    """

    keep: int
    clusters: Sequence[int] = ()
    duplicates: float = 0.6
    held_out: float = 0.45
    whiten: bool = True
    neighbours: int = 64
    index: str = 'auto'
    per_seed: int = 4
    per_cluster: int = 0
    iterations: int = 50
    resamples: int = 10
    nearest_first: bool = False
    repeats: int = 1
    seed: int = 0

    def of(self, *names: str) -> dict[str, Any]:
        """Some of the values by their names: the settings of a stage."""
        return {name: asdict(self)[name] for name in names}

    def refuse_impossible(self, images: int) -> None:
        """To be called before long work.

        Args:
            images: Their number; the first and largest one that is known.

        Raises:
            ValueError: If there are fewer images than asked for or than clusters, or a value is out of its range.
        """
        if not 1 <= self.keep <= self.repeats * images:
            raise ValueError(
                f'keep={self.keep} images are asked for, but there are {images}, near-duplicates left out if they are '
                'known: ask for fewer, allow repeats, or raise the cosine from which images are near-duplicates.'
            )
        refuse_rising(images, self.clusters_of(images))
        counts = dict(neighbours=self.neighbours, iterations=self.iterations, repeats=self.repeats)
        if wrong := {name: count for name, count in counts.items() if count < 1}:
            raise ValueError(f'{wrong}: give 1 or more.')
        counts = dict(per_seed=self.per_seed, per_cluster=self.per_cluster, resamples=self.resamples)
        if wrong := {name: count for name, count in counts.items() if count < 0}:
            raise ValueError(f'{wrong}: give 0 or more.')
        if not -1 <= self.held_out <= 1 or self.duplicates < -1:
            raise ValueError(
                f'held_out={self.held_out} is a cosine from -1 to 1, and duplicates={self.duplicates}, too, or more '
                'than 1, so that there are none.'
            )

    def index_of(self, rows: int) -> str:
        """The description of the index of so many rows."""
        return index_for(rows) if self.index == 'auto' else self.index

    def clusters_of(self, images: int) -> list[int]:
        """The number of clusters of each level for so many images."""
        first = max(1, min(images // 4, MOST_CLUSTERS))
        return list(self.clusters) or [first, *([first // 10] if first >= 20 else [])]
