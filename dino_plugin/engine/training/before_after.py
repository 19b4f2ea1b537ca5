"""What several looks at a network found: the best one, and a table that says whether the training helped."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dino_plugin.evaluation.scorecard.image_scores import ImageScores, error_of_difference

ASSUMED = 2.0  # points that chance may explain where the error of a measure is not known


class Look(NamedTuple):
    """The scores of a network after so many steps, by the names of the measures.

    Args:
        step: Of the training.
        scores: All.
        by_image: What each image adds to a score, where that is known.
        images: Which images they are, in any words.
    """

    step: int
    scores: Mapping[str, float]
    by_image: Mapping[str, ImageScores] = {}
    images: str = ''


class BeforeAfter(NamedTuple):
    """Looks at a network, the first before training, and the measure that decides which one is best.

    A difference counts if it exceeds twice its standard error. Where a look knows what each image adds (k-NN, mIoU),
    that is `error_of_difference`. Where only the number n of images is known, a share p (in per cent) has at most

        s = sqrt(p (100 - p) / n),      a difference sqrt(s_before^2 + s_after^2)

    which is a careful bound, as the images are the same ones both times. Of other measures the error is not known. Of
    two looks at different images the verdict says so, and what each image adds is not compared.

    Args:
        looks: At least one, in the order of steps.
        watch: The measure that decides, in per cent; more is better.
        images: Number of images by the name of each measure that is a mean of shares.
    """

    looks: Sequence[Look]
    watch: str
    images: Mapping[str, int]

    @property
    def best(self) -> Look:
        """The first look with the highest score of the measure that decides."""
        return max(self.looks, key=self.value)

    @property
    def at_the_same_images(self) -> 'BeforeAfter':
        """The looks at the images of the last one."""
        return self._replace(looks=[look for look in self.looks if look.images == self.looks[-1].images])

    def value(self, look: Look) -> float:
        """Score of the measure that decides; minus infinity if there is none that is finite."""
        score = look.scores.get(self.watch, math.nan)
        return score if math.isfinite(score) else -math.inf

    def words(self, look: Look) -> str:
        """The same to be read: 'not a number' if there is none."""
        score = self.value(look)
        return f'{score:.1f}' if math.isfinite(score) else 'not a number'

    def columns(self) -> dict[str, Mapping[str, float]]:
        """Scores before training, of the best and of the last look."""
        best, last = self.best, self.looks[-1]
        return {
            'before': self.looks[0].scores,
            f'best, step {best.step}': best.scores,
            f'last, step {last.step}': last.scores,
        }

    def table(self) -> str:
        """Markdown: the columns, the difference of best and before, and what that means."""
        columns = self.columns()
        head = ['measure', *columns, 'best - before', 'chance', 'result']
        rows = [head, ['---'] * len(head)]
        before, best, *_ = columns.values()
        for name, score in before.items():
            values = [f'{column.get(name, math.nan):.1f}' for column in columns.values()]
            difference = best.get(name, math.nan) - score
            chance = self._chance(name, self.looks[0], self.best)
            shown, result = ('', '') if chance is None else (f'± {chance:.1f}', _result(difference, chance))
            title = f'**{name}**' if name == self.watch else name
            rows.append([title, *values, f'{difference:+.1f}', shown, result])
        return '\n'.join(f'| {" | ".join(row)} |' for row in rows)

    def verdict(self) -> str:
        """One sentence about the measure that decides: it helped, no difference or harm, and what weakens that."""
        changed = len(self.at_the_same_images.looks) < len(self.looks)
        return self._verdict() + (' The images changed meanwhile: a part of it may be theirs.' if changed else '')

    def _verdict(self) -> str:
        if not math.isfinite(self.value(self.best)):
            return f'{self.watch} was not a number in any look, so nothing can be said.'
        before, best, last = (self.value(look) for look in (self.looks[0], self.best, self.looks[-1]))
        known, harm = (self._chance(self.watch, self.looks[0], look) for look in (self.best, self.looks[-1]))
        chance, worse = (ASSUMED if each is None else each for each in (known, harm))
        was, became, ends = (self.words(look) for look in (self.looks[0], self.best, self.looks[-1]))
        of = f'{self.watch} went from {was} to {became} at best and {ends} at the end'
        by = f'points that {"chance explains" if known is not None else "we assume for chance"}'
        if best - before > chance:
            # The error is that of one comparison, but the best is one of many.
            chosen = f'The best was chosen among {len(self.looks)} looks and lies above the truth: ask unseen images.'
            return f'It helped: {of}, more than the {chance:.1f} {by}. {chosen}'
        if before - last > worse:
            size = f', worse by more than the {worse:.1f} {by}' if math.isfinite(last) else ''
            return f'It did harm: {of}{size}. The best network is close to that before training.'
        return f'No difference beyond the {max(chance, worse):.1f} {by}: {of}.'

    def looks_below(self, tolerance: float | None = None) -> int:
        """Looks in a row, up to the last, that lie below the best by more than the tolerance, all at the same images.

        Args:
            tolerance: In points. None: twice the standard error of the difference of the best and the last, or
                `ASSUMED`.
        """
        looks, best = self.at_the_same_images.looks, self.at_the_same_images.best
        if tolerance is None:
            chance = self._chance(self.watch, best, looks[-1])
            tolerance = ASSUMED if chance is None else chance
        values = [self.value(look) for look in looks]
        below = [self.value(best) - value > tolerance or not math.isfinite(value) for value in values]
        return next((number for number, each in enumerate(reversed(below)) if not each), len(below))

    def _chance(self, name: str, before: Look, after: Look) -> float | None:
        """Twice the standard error of a difference; None if it is not known."""
        shares = [look.scores.get(name, math.nan) for look in (before, after)]
        if not all(map(math.isfinite, shares)):
            return None
        if name in before.by_image and name in after.by_image and before.images == after.images:
            return 2 * error_of_difference(before.by_image[name], after.by_image[name])
        if name not in self.images:
            return None
        return 2 * math.hypot(*(math.sqrt(share * (100 - share) / self.images[name]) for share in shares))


def _result(difference: float, chance: float) -> str:
    return 'better' if difference > chance else 'worse' if difference < -chance else 'no difference'
