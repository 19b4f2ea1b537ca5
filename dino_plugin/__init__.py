"""DINO-family self-supervised learning for the OpenMMLab ecosystem."""

from dino_plugin.openmmlab.config_files import config_path, serve_configs
from dino_plugin.openmmlab.mmcv_operations import replace_compiled_operations
from dino_plugin.openmmlab.providers import require_openmmlab

__version__ = '0.1.0'
__all__ = ['__version__', 'config_path']

require_openmmlab()
# Both act only when mmengine and mmcv are imported, so this import stays quick.
serve_configs()
replace_compiled_operations()
