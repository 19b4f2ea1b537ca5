"""Stored numbers of any type -> levels in [0, 255], as floats."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Shaped

from dino_plugin.data.images.headers import UndecodableImageError

WHITE = 255
Pairs = Shaped[np.ndarray, 'pairs 2']


class ValueRange:
    """Which stored number becomes level 0 and which 255: level = 255 (value - low) / (high - low), cut to [0, 255].

    Levels are float32, so that 16 bits keep their steps. Without an argument, uint8 is taken as it is, and other types
    are refused, since nobody knows their range.

    Args:
        bits: Bit depth of the sensor, whatever the type of the file: 8, 10, 12, 14, 16. The range is 0 to 2^bits - 1.
        value_range: (low, high), in stored numbers; or one such pair for each channel, as
            ``tools/measure_normalisation.py`` prints them.
        percentiles: (low, high) in [0, 100]: those of each image, and of each channel by itself. The brightness of
            images can then no longer be compared.
        nodata: The number that stands for "not measured"; with one, NaN does so, too. ``float('nan')`` is NaN alone.

    Raises:
        ValueError: If more than one range is given, or one that is empty.
    """

    def __init__(
        self,
        bits: int | None = None,
        value_range: Sequence | None = None,
        percentiles: Sequence[float | int] | None = None,
        nodata: float | int | None = None,
    ) -> None:
        given = dict(bits=bits, value_range=value_range, percentiles=percentiles)
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f'one of bits, value_range and percentiles gives the range, got {given}: keep one')
        if bits is not None and not 1 <= bits <= 32:
            raise ValueError(f'bits is the bit depth of the sensor, 1 to 32, got {bits}')
        self.pairs: Pairs | None = None if bits is None else np.array([(0, 2**bits - 1)])
        if value_range is not None:
            self.pairs = np.array(value_range, dtype=float, ndmin=2)
            if self.pairs.ndim != 2 or self.pairs.shape[1] != 2 or not (self.pairs[:, 0] < self.pairs[:, 1]).all():
                raise ValueError(
                    f'value_range is (low, high) or one such pair a channel, low < high, got {value_range}'
                )
        if percentiles is not None and not (len(percentiles) == 2 and 0 <= percentiles[0] < percentiles[1] <= 100):
            raise ValueError(f'percentiles are (low, high) in [0, 100], low < high, got {percentiles}')
        self.bits, self.percentiles, self.nodata = bits, percentiles, nodata

    def __call__(
        self, stored: Shaped[np.ndarray, 'rows columns channels']
    ) -> Float32[np.ndarray, 'rows columns channels']:
        """Levels in [0, 255]; NaN where the number is ``nodata``. A channel of one value has level 0.

        Raises:
            ValueError: If the range does not fit the numbers: none is given, numbers have more than ``bits``, or there
                are other channels than pairs.
            UndecodableImageError: As for :meth:`numbers`.
        """
        values = self.numbers(stored)
        low, high = self._limits(values, stored.dtype).T
        span = high - low
        values -= low.astype(values.dtype)
        values *= (WHITE / np.where(span > 0, span, np.inf)).astype(values.dtype)
        return np.clip(values, 0, WHITE, out=values).astype(np.float32, copy=False)

    def numbers(
        self, stored: Shaped[np.ndarray, 'rows columns channels']
    ) -> Float[np.ndarray, 'rows columns channels']:
        """The numbers before scaling, as floats, with NaN for ``nodata``; a new array.

        Raises:
            UndecodableImageError: If numbers are infinite, or NaN without ``nodata``.
        """
        values = stored.astype(np.result_type(stored.dtype, np.float32))  # float64 for types of more than 16 bits
        if self.nodata is not None:
            values[stored == self.nodata] = np.nan
        if (~np.isfinite(values) if self.nodata is None else np.isinf(values)).any():
            raise UndecodableImageError('some values are NaN or infinite. Set nodata where they mean "not measured".')
        return values

    def _limits(self, values: Float[np.ndarray, 'rows columns channels'], dtype: np.dtype) -> Pairs:
        if self.percentiles is not None:
            known = (channel[~np.isnan(channel)] for channel in np.moveaxis(values, -1, 0))
            return np.array([np.percentile(channel, self.percentiles) if channel.size else (0, 0) for channel in known])
        if self.pairs is None and dtype == np.uint8:
            return np.array([(0, WHITE)])
        if self.pairs is None or self.bits is not None:
            ends = [float(end.reduce(values, axis=None)) for end in (np.fmin, np.fmax)]  # which NaN does not change
            self._require_range(ends[0], ends[1], dtype)
        if len(self.pairs) not in (1, values.shape[-1]):
            raise ValueError(
                f'value_range has {len(self.pairs)} pairs for {values.shape[-1]} channels: give each its own'
            )
        return self.pairs

    def _require_range(self, least: float, most: float, dtype: np.dtype) -> None:
        if self.pairs is None:
            raise ValueError(
                f'{dtype} values from {least:g} to {most:g}, whose range nobody knows. Set bits=12 (or 8, 10, 14, 16) '
                'for the depth of the sensor, value_range=(low, high), or percentiles=(1, 99).'
            )
        if least < 0 or most > self.pairs[0, 1]:
            raise ValueError(f'values from {least:g} to {most:g} do not fit bits={self.bits}: give the range they have')
