"""Files -> decoded images: data sets, their order, decoding."""
