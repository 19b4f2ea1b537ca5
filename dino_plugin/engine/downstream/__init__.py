"""A trained backbone in the models of other OpenMMLab packages."""
