"""Large networks on several processes: each holds a part of every network."""
