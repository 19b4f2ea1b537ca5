"""Is it going to learn? Images, network, schedule and first steps of a config, measured and judged."""
