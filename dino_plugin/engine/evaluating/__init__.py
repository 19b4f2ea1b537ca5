"""The models and loops that evaluators run in."""
