"""All measures that the data at hand allow, in one table."""
