"""DINO-family self-supervised learning for the OpenMMLab ecosystem."""

from dino_plugin.config_files import config_path, serve_configs
from dino_plugin.providers import require_openmmlab

__version__ = '0.1.0'
__all__ = ['__version__', 'config_path']

require_openmmlab()
# Waits until mmengine is imported.
serve_configs()
